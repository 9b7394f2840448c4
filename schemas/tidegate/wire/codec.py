"""JSON and MessagePack in and out, with errors that name the path.

Encoding is deterministic: equal values give equal bytes under every hash seed. NaN and infinity are refused in both
directions, since
JSON writers tend to turn them into null without a word.
"""

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_JSON = msgspec.json.Encoder(order="deterministic")
_AT = re.compile(r"^(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$?\.?(?P<path>.*)`)?$", re.DOTALL)


class Malformed(ValueError):
    """A document that cannot be read. ``path`` says where (empty: the whole of it), ``problem`` what is wrong there."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def told_faults(faults: Iterable[tuple[str, str]]) -> str:
    """Return faults, as (path, problem), in one line.

    >>> told_faults([("name", "is missing"), ("", "is too long")])
    'name: is missing; is too long'
    """
    return "; ".join(str(Malformed(path, problem)) for path, problem in faults)


def encode(value: Any) -> bytes:
    """Return JSON bytes of a struct; equal values give equal bytes. Malformed on NaN or infinity."""
    raw = _JSON.encode(value)
    if b"null" in raw:  # what becomes of NaN and infinity, as of None: only then it is worth a look at every number
        # Raw parts were JSON before, which knows neither.
        for path, number in _floats(msgspec.to_builtins(value, enc_hook=lambda _raw: None), ""):
            if not math.isfinite(number):
                raise Malformed(path, f"{number} is not a finite number")
    return raw


def decode(data: bytes | str, kind: type[T]) -> T:
    """Return the value that JSON holds. Unknown fields are ignored unless the struct forbids them. Malformed on
    anything else.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from error


def decode_strict(data: bytes, kind: type[T]) -> T:
    """Return the value that a signed JSON document holds: as decode, and a key that stands twice in one object is refused.
    Verbatim parts of it (``msgspec.Raw``) are for whoever looks into them to read strictly.
    """
    with contextlib.suppress(Malformed):
        value = decode(data, kind)
        if _JSON.encode(value) == data:
            return value  # what we write holds no key twice, so bytes that are just that need no second reading
    try:
        json.loads(data, object_pairs_hook=_unique)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("", f"not JSON: {error}") from error
    return decode(data, kind)


def checked(value: T) -> T:
    """Return a struct as its readers get it. Malformed where they would refuse it: constructors look at nothing."""
    return decode_strict(encode(value), type(value))


def convert(value: Any, kind: type[T]) -> T:
    """Return plain values (as a YAML reader gives them) as a struct. Malformed names the path of the first fault."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise malformed(error) from error


def malformed(error: Exception) -> Malformed:
    """Return a decoding library's error as one of ours, with the path taken out of its text.

    >>> malformed(ValueError("Expected `int`, got `str` - at `$.stages[0].setNodes`")).path
    'stages[0].setNodes'
    """
    match = _AT.match(str(error))
    if match is None or match["path"] is None:
        return Malformed("", str(error) or type(error).__name__)
    return Malformed(match["path"], f"{match['problem']}, as a key" if match["key"] else match["problem"])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(key, "this key stands twice in one object")
        found[key] = value
    return found


def _floats(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _floats(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _floats(item, f"{path}[{index}]")
