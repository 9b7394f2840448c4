"""flagd's operators beside ``fractional``, and JSONLogic's own from the library that flagd's evaluator uses.

Each takes the data in scope and its evaluated arguments. What cannot be compared is null, which a rule takes for false. An
operator raises only what the library raises (TypeError, ZeroDivisionError, ...): an evaluation then ends with GENERAL.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from json_logic.builtins import BUILTINS
from semver import Version

Operator = Callable[..., Any]
VERSION_LENGTH_MAX = 256


def starts_with(_data: Any, *arguments: Any) -> bool | None:
    """Return whether a text begins with another; None unless both are texts."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or not isinstance(arguments[1], str):
        return None
    return arguments[0].startswith(arguments[1])


def ends_with(_data: Any, *arguments: Any) -> bool | None:
    """Return whether a text ends with another; None unless both are texts."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or not isinstance(arguments[1], str):
        return None
    return arguments[0].endswith(arguments[1])


def sem_ver(_data: Any, *arguments: Any) -> bool | None:
    """Return whether a version stands to another as ``=  !=  <  <=  >  >=  ^`` (same major) or ``~`` (same minor) says; None
    where one is no version or there is no such relation.
    """
    if len(arguments) != 3:
        return None
    left, relation, right = arguments
    try:
        one, other = version(str(left)), version(str(right))
    except ValueError:
        return None
    match relation:
        case "=":
            return one == other
        case "!=":
            return one != other
        case "<":
            return one < other
        case "<=":
            return one <= other
        case ">":
            return one > other
        case ">=":
            return one >= other
        case "^":
            return one.major == other.major
        case "~":
            return one.major == other.major and one.minor == other.minor
        case _:
            return None


@lru_cache(1 << 12)
def version(text: str) -> Version:
    """Return a semantic version: a leading v is dropped, missing parts are zero. ValueError where it is none.

    >>> str(version("v1.2"))
    '1.2.0'
    """
    if len(text) > VERSION_LENGTH_MAX:
        raise ValueError("too long for a version")
    text = text[1:] if text[:1] in ("v", "V") else text
    numeric = text.split("-")[0].split("+")[0]
    missing = 2 - numeric.count(".")
    if missing > 0:
        text = numeric + ".0" * missing + text[len(numeric) :]
    return Version.parse(text)


def log(_data: Any, value: Any = None, *_ignored: Any) -> Any:
    """Return its argument. JSONLogic prints it; an evaluator of a server does not."""
    return value


OPERATORS: dict[str, Operator] = BUILTINS | {
    "log": log,
    "sem_ver": sem_ver,
    "starts_with": starts_with,
    "ends_with": ends_with,
}
"""Every operator that takes its arguments evaluated, except ``fractional``, which needs to know the set's generation."""
