r"""Selectors, as PromQL knows them: ``name{label="value", label!="value", label=~"regex", label!~"regex"}``.

A label that a series does not have is empty; a regular expression must match the whole value. A string in quotes is written as
in JSON.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import assert_never

import msgspec
from msgspec import Struct

from tidegate.wire.codec import Malformed

_NAME = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")\s*(,|(?=\}))')
_FORM = 'write it as name or name{label="value", label=~"5.."}'


class Series(Struct, frozen=True, cache_hash=True):
    """Name and labels, sorted, of one series. Hashed once: every second looks it up again."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class How(StrEnum):
    """How a label is compared."""

    IS = "="
    IS_NOT = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


class Matcher(Struct, frozen=True):
    """One condition on one label."""

    label: str
    how: How
    value: str

    def takes(self, value: str) -> bool:
        """Return whether a value fulfils it."""
        match self.how:
            case How.IS:
                return value == self.value
            case How.IS_NOT:
                return value != self.value
            case How.MATCHES:
                return _whole(self.value).fullmatch(value) is not None
            case How.MATCHES_NOT:
                return _whole(self.value).fullmatch(value) is None
            case _:
                assert_never(self.how)


class Selector(Struct, frozen=True):
    """A name, and conditions that all hold."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def takes(self, series: Series) -> bool:
        """Return whether it selects a series."""
        return series.name == self.name and self.fits(series.labels)

    def fits(self, labels: tuple[tuple[str, str], ...]) -> bool:
        """Return whether labels fulfil every condition."""
        values = dict(labels)
        return all(matcher.takes(values.get(matcher.label, "")) for matcher in self.matchers)

    def and_also(self, matcher: Matcher) -> "Selector":
        """Return the selector narrowed by one more condition."""
        return Selector(self.name, (*self.matchers, matcher))


def parse(text: str) -> Selector:
    """Return the selector that a text writes; Malformed says where it goes wrong.

    >>> parse('http_requests_total{code=~"5.."}').takes(Series("http_requests_total", (("code", "503"),)))
    True
    """
    name = _NAME.match(text)
    if name is None:
        raise Malformed("", f"{text!r} begins with no metric's name; {_FORM}")
    rest = text[name.end() :]
    if not rest:
        return Selector(name[1])
    matchers = []
    at = 1
    while rest[at:].strip() != "}":
        found = _LABEL.match(rest, at) if rest.startswith("{") else None
        if found is None:
            raise Malformed("", f"{rest[at - 1 :]!r} in {text!r} is no condition on labels; {_FORM}")
        matchers.append(_matcher(found[1], How(found[2]), found[3]))
        at = found.end()
    return Selector(name[1], tuple(matchers))


def _matcher(label: str, how: How, quoted: str) -> Matcher:
    try:
        value = msgspec.json.decode(quoted, type=str)
    except msgspec.DecodeError as error:
        raise Malformed("", rf"{quoted} cannot be read: {error}; write a backslash as \\") from error
    if how in (How.MATCHES, How.MATCHES_NOT):
        try:
            _whole(value)
        except re.error as error:
            raise Malformed("", f"{value!r} is no regular expression: {error}") from error
    return Matcher(label, how, value)


@lru_cache(maxsize=1_024)
def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
