"""Text pages: Prometheus 0.0.4 and OpenMetrics 1.0.

Parsing every line with a whole parser costs more than a node may spend (some 20 µs a series, each second). But names and labels
of a series are written the same way in every page, so they are parsed once, by the library's parser, and then known by their
text; lines that nobody wants are dropped by their first letters.
"""

import re

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from tidegate.node.scrape.fetch import ScrapeFailed
from tidegate.node.scrape.series import SERIES_MAX, TOO_MANY, bucket
from tidegate.scrape.page import Kind, Page, Wanted, base_of
from tidegate.scrape.selector import Series

_LINE = re.compile(r'([^\s{]+(?:\{[^"}]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^"}]*)*\}[ \t]*|[ \t]+))(\S+)')


class _Place(Struct, frozen=True):
    """Where the value of a series belongs."""

    kind: Kind | None
    series: Series
    bound_s: float = 0.0


class TextReader:
    """Reads the pages of one target. Remembers as many series as its last page had."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._begins = tuple(wanted.families)
        self._known: dict[str, _Place] = {}

    def read(self, body: bytes, *, openmetrics: bool) -> Page:
        """Return what a page says; ScrapeFailed where it is none, or where too much on it is wanted."""
        text = body.decode("utf-8", "replace")
        if openmetrics and not text.endswith(("# EOF\n", "# EOF")):
            raise ScrapeFailed("the page does not end with # EOF: it is not whole")
        page, seen = Page(), dict[str, _Place]()
        begins = self._begins
        for line in text.split("\n"):
            if line.startswith(begins):
                self._take(line, page, seen)
        self._known = seen
        return page

    def _take(self, line: str, page: Page, seen: dict[str, _Place]) -> None:
        found = _LINE.match(line)
        if found is None:
            raise ScrapeFailed(f"this line is no sample: {line[:200]!r}")
        text, number = found.groups()
        place = seen[text] = self._known.get(text) or self._place(text)
        if len(seen) > SERIES_MAX:
            raise ScrapeFailed(TOO_MANY)
        try:
            value = float(number)
        except ValueError as error:
            raise ScrapeFailed(f"this line has no number: {line[:200]!r}") from error
        if place.kind is Kind.NUMBER:
            page.numbers[place.series] = value
        elif place.kind is Kind.BUCKET:
            page.classic.setdefault(place.series, {}).update((bucket(place.bound_s, value),))
        elif place.kind is Kind.CREATED:
            page.created[place.series] = value
        elif place.kind is Kind.START:
            page.start_s = value

    def _place(self, text: str) -> _Place:
        """Parse name and labels; called once for each series."""
        try:
            (family,) = text_string_to_metric_families(f"{text} 0\n")
            (sample,) = family.samples
            labels = dict(sample.labels)
            kind = self._wanted.kind_of(sample.name)
            bound_s = float(labels.pop("le")) if kind is Kind.BUCKET else 0.0
        except (ValueError, KeyError, IndexError) as error:
            raise ScrapeFailed(f"this is no series: {text[:200]!r}: {error!r}") from error
        name = sample.name if kind is Kind.NUMBER else base_of(sample.name)
        return _Place(kind, Series(name, tuple(sorted(labels.items()))), bound_s)
