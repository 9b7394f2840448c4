"""One page of metrics, as far as it is wanted: whatever format it came in, the same values."""

import re
from collections.abc import Mapping
from enum import StrEnum
from math import isfinite

from msgspec import Struct, field

from tidegate.scrape.selector import Series

SCHEMA_MIN, SCHEMA_MAX = -4, 8
"""Native histograms of these schemas have exponential buckets: base 2 ** 2 ** -schema."""

REMEMBERED_MOST = 20_000
"""A process whose labels never end must not fill the memory: beyond this, series that are gone are forgotten."""
PROCESS_START = "process_start_time_seconds"
_SUFFIX = re.compile(r"_(total|count|sum|bucket|created)$")


class Kind(StrEnum):
    """What a series is good for."""

    NUMBER = "number"
    BUCKET = "bucket"
    CREATED = "created"
    START = "start"


class Wanted(Struct, frozen=True):
    """The names that are looked for: of numbers as they stand on the page, of histograms without suffix."""

    numbers: frozenset[str]
    histograms: frozenset[str]

    @property
    def families(self) -> frozenset[str]:
        """Every name without its suffix: nothing else on a page need be read."""
        return frozenset(map(base_of, self.numbers)) | self.histograms | {PROCESS_START}

    def kind_of(self, name: str) -> Kind | None:
        """Return what a series of a page is good for; None where it is not wanted."""
        base = base_of(name)
        if name in self.numbers:
            return Kind.NUMBER
        if base != name and base in self.histograms and name.endswith("_bucket"):
            return Kind.BUCKET
        if name.endswith("_created") and base in self.families:
            return Kind.CREATED
        return Kind.START if name == PROCESS_START else None


def base_of(name: str) -> str:
    """Return the name of a family: without the suffix that tells its series apart.

    >>> base_of("http_requests_total")
    'http_requests'
    """
    return _SUFFIX.sub("", name)


class Native(Struct, frozen=True, kw_only=True):
    """A native histogram, cumulative. ``buckets``: count by index; bucket i holds (base ** (i - 1), base ** i].

    ``zero`` counts what lies within the threshold of zero, and anything negative: no latency is.
    """

    schema: int
    zero_threshold: float
    zero: int
    buckets: Mapping[int, int]


class Page(Struct):
    """What a page says. Filled by a reader, and then left alone."""

    numbers: dict[Series, float] = field(default_factory=dict)
    """Counters, gauges, and of histograms and summaries ``_count`` and ``_sum``."""
    classic: dict[Series, dict[float, float]] = field(default_factory=dict)
    """Histograms, by series without ``le``: upper bound to cumulative count."""
    native: dict[Series, Native] = field(default_factory=dict)
    created: dict[Series, float] = field(default_factory=dict)
    """When a counter or histogram began to count, in seconds; by series without suffix."""
    start_s: float | None = None
    """When the process began, as it says itself (``process_start_time_seconds``)."""

    def over(self, before: "Page") -> "Page":
        """Return this page with what only an older one of the same process had.

        A collector that fails leaves its series out for once, or says NaN; when they are back they must not be taken for new.
        """
        if len(before.numbers) + len(before.classic) + len(before.native) > REMEMBERED_MOST:
            return self
        numbers = {series: value for series, value in self.numbers.items() if isfinite(value) or series not in before.numbers}
        return Page(
            before.numbers | numbers,
            before.classic | self.classic,
            before.native | self.native,
            before.created | self.created,
            self.start_s,
        )
