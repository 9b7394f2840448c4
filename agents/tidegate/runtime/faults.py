"""Every fault of a hand-written document at once, each with its path.

A decoder stops at the first fault; a person who writes a file wants all of them.
"""

import difflib
import re
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from tidegate.wire.codec import malformed

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}

Fault = tuple[str, str]
"""Path (empty: the whole document) and problem."""


def faults_of(value: object, kind: type[Struct], *, strict: bool = True) -> list[Fault]:
    """Return every fault of plain values (as a YAML reader gives them) that are to become a struct; empty: there is none.

    ``strict`` False also takes text where a number or a boolean is meant, as environment variables give it.
    """
    return list(_struct(value, kind, "", strict=strict))


def _struct(value: object, kind: type[Struct], at: str, *, strict: bool) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield at, f"expected an object with {', '.join(_fields(kind))}, got {_name(value)}"
        return
    fields = _fields(kind)
    tag_field = kind.__struct_config__.tag_field
    for key, item in value.items():
        if key == tag_field:
            if item != kind.__struct_config__.tag:
                yield _join(at, key), f"must be {kind.__struct_config__.tag}"
        elif key not in fields:
            if kind.__struct_config__.forbid_unknown_fields:
                yield _join(at, str(key)), _unknown(str(key), list(fields))
        else:
            yield from _value(item, fields[key].type, _join(at, key), strict=strict)
    for name, field in fields.items():
        if field.default is NODEFAULT and field.default_factory is NODEFAULT and name not in value:
            yield _join(at, name), "is missing"


def _value(value: object, kind: Any, at: str, *, strict: bool) -> Iterator[Fault]:
    struct, item = _parts(kind)
    if struct is not None and (isinstance(value, Mapping) or _only_struct(kind)) and not (value is None and _nullable(kind)):
        yield from _struct(value, struct, at, strict=strict)
        return
    if item is not None and isinstance(value, list | tuple):
        inner = [fault for index, one in enumerate(value) for fault in _value(one, item, f"{at}[{index}]", strict=strict)]
        if inner:
            yield from inner
            return
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        found = malformed(error)
        inside = found.path if found.path.startswith("[") or not found.path else f".{found.path}"
        yield at + inside, found.problem if inside else _in_words(value, kind) or _plainly(found.problem, value)


def _in_words(value: object, kind: Any) -> str | None:
    """Return what is wrong with a value by what its type says of itself: its members, or its description."""
    for one in _members(kind):
        if isinstance(one, type) and issubclass(one, Enum):
            return f"{value!r} is none of {', '.join(str(member.value) for member in one)}"
        if get_origin(one) is Literal and isinstance(value, str):
            return f"{value!r} is none of {', '.join(map(str, get_args(one)))}"
    description = next((meta.description for meta in _metas(kind) if meta.description), None)
    return f"{value!r} is not {description}" if description else None


def _plainly(problem: str, value: object) -> str:
    """Return msgspec's complaint in the words of a person who writes YAML.

    >>> _plainly("Expected `int | null`, got `str`", "one"), _plainly("Expected `float` >= 0.0", -1)
    ("'one' is not a whole number", '-1 is not a number >= 0.0')
    """
    found = re.fullmatch(r"Expected `(\w+)(?: \| null)?`(?:, got `\w+`)?( [<>=]+ \S+)?", problem)
    if not found:
        return problem
    wanted = f"{WORDS.get(found[1], found[1])}{found[2] or ''}"
    return f"expected {wanted}, got {_name(value)}" if isinstance(value, Mapping | list) else f"{value!r} is not {wanted}"


def _metas(kind: Any) -> list[msgspec.Meta]:
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        return [*(meta for meta in metas if isinstance(meta, msgspec.Meta)), *_metas(inner)]
    if get_origin(kind) in (Union, types.UnionType):
        return [meta for one in get_args(kind) for meta in _metas(one)]
    return []


def _fields(kind: type[Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _parts(kind: Any) -> tuple[type[Struct] | None, Any]:
    """Return the struct that a type means, if it means one, and the type of the items where it is a sequence."""
    for one in _members(kind):
        if isinstance(one, type) and issubclass(one, Struct):
            return one, None
        if get_origin(one) in (tuple, list):
            return None, get_args(one)[0]
    return None, None


def _members(kind: Any) -> list[Any]:
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [member for one in get_args(kind) for member in _members(one)]
    return [kind]


def _nullable(kind: Any) -> bool:
    return type(None) in _members(kind)


def _only_struct(kind: Any) -> bool:
    return all(one is type(None) or (isinstance(one, type) and issubclass(one, Struct)) for one in _members(kind))


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; known are {', '.join(known)}"


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _name(value: object) -> str:
    names: dict[type, str] = {
        type(None): "nothing",
        str: "text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


__all__ = ["Fault", "faults_of"]
