"""What was counted between two pages: of one series, then of all that are selected.

A series that is lower than it was, or was created at another time, began again: then all of it is new. So is a series that was
not there a moment ago.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import fsum, inf, log2

from msgspec.structs import replace

from tidegate.scrape.page import Native, Page, base_of
from tidegate.scrape.selector import Selector, Series
from tidegate.scrape.spread import PER_DOUBLING, place_of, spread, within
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SLOTS

GROWN_MOST = float(1 << 53)
"""Beyond this a float does not count in ones; no service does so much between two pages."""
_NO_BUCKETS: Mapping[float, float] = {}


def increase(before: Page, after: Page, selectors: Sequence[Selector]) -> float:
    """Return by how much the selected numbers have grown together; a series that several select counts once."""
    return fsum(
        _grown(before, after, series, value)
        for series, value in after.numbers.items()
        if any(selector.takes(series) for selector in selectors)
    )


def level(page: Page, selectors: Sequence[Selector]) -> float | None:
    """Return the sum of the selected numbers as they are; None where none is there."""
    values = [value for series, value in page.numbers.items() if any(selector.takes(series) for selector in selectors)]
    return sum(values) if values else None


def latencies(before: Page, after: Page, selector: Selector, phase: int) -> list[int]:
    """Return what the selected histograms have counted, by our slots. Where one has native buckets, those count."""
    slots = [0] * HISTOGRAM_SLOTS
    unit_s = 0.001 if selector.name.endswith(("_milliseconds", "_ms")) else 1.0
    for series, native in after.native.items():
        if selector.takes(series):
            began = None if _anew(before, after, series) else before.native.get(series)
            add_native(slots, native_increase(began, native), unit_s, phase)
    for series, buckets in after.classic.items():
        if selector.takes(series) and series not in after.native:
            began_at = _NO_BUCKETS if _anew(before, after, series) else before.classic.get(series, _NO_BUCKETS)
            add_classic(slots, classic_increase(began_at, buckets), unit_s, phase)
    return slots


def measured(page: Page, selector: Selector) -> bool:
    """Return whether a page has a histogram that is selected."""
    return any(selector.takes(series) for series in chain(page.native, page.classic))


def classic_increase(before: Mapping[float, float], after: Mapping[float, float]) -> Mapping[float, float]:
    """Return by how much each cumulative count has grown. Other bounds than before are another life of the process."""
    if before.keys() != after.keys() or any(after[bound] < count for bound, count in before.items()):
        return after
    return {bound: count - before[bound] for bound, count in after.items()}


def native_increase(before: Native | None, after: Native) -> Native:
    """Return by how much each bucket has grown.

    A client that holds too many buckets makes them wider, or the zero bucket: then the older page is seen through the wider
    ones. They only become finer in a new life.
    """
    if before is None or before.schema < after.schema or before.zero_threshold > after.zero_threshold:
        return after
    began = _seen_through(before, after)
    if after.zero < began.zero or any(after.buckets.get(index, 0) < count for index, count in began.buckets.items()):
        return after
    grown = {index: count - began.buckets.get(index, 0) for index, count in after.buckets.items()}
    return replace(after, zero=after.zero - began.zero, buckets=grown)


def add_classic(slots: list[int], grown: Mapping[float, float], unit_s: float, phase: int) -> None:
    """Spread each bucket of cumulative counts by upper bound. What lies above the last bound is put right above it, for nothing
    more is known.
    """
    counted, below = 0, -inf
    for bound in sorted(grown):
        upto = max(counted, round(grown[bound]))
        if upto > counted:
            low = place_of(below * unit_s) if below > -inf else -inf
            if bound < inf:
                spread(slots, upto - counted, low, place_of(bound * unit_s), phase)
            elif low > -inf:  # with no other bound nothing at all is known of these latencies
                spread(slots, upto - counted, low, low, phase)
        counted, below = upto, bound


def add_native(slots: list[int], grown: Native, unit_s: float, phase: int) -> None:
    """Spread each bucket of a native histogram. Where its edges are ours, nothing is spread."""
    spread(slots, grown.zero, -inf, place_of(grown.zero_threshold * unit_s), phase)
    width = PER_DOUBLING * 2.0**-grown.schema
    start = log2(unit_s) * PER_DOUBLING - HISTOGRAM_OFFSET
    for index, count in grown.buckets.items():
        spread(slots, count, within(start + (index - 1) * width), within(start + index * width), phase)


def _grown(before: Page, after: Page, series: Series, value: float) -> float:
    was = 0.0 if _anew(before, after, series) else before.numbers.get(series, 0.0)
    if not (0.0 <= was < inf and 0.0 <= value < inf):
        return 0.0  # where it was no count, counting begins
    return min(value - was if was <= value else value, GROWN_MOST)


def _anew(before: Page, after: Page, series: Series) -> bool:
    """Return whether a series was created between two pages, where they say when."""
    if not after.created:
        return False
    base = Series(base_of(series.name), series.labels)
    return base in before.created and before.created[base] != after.created.get(base, before.created[base])


def _seen_through(before: Native, after: Native) -> Native:
    halvings = before.schema - after.schema
    zero, buckets = before.zero, dict[int, int]()
    widest = log2(after.zero_threshold) if after.zero_threshold > before.zero_threshold else -inf
    for index, count in before.buckets.items():
        if index * 2.0**-before.schema <= widest + 1e-9:
            zero += count
        else:
            wider = -(-index >> halvings)
            buckets[wider] = buckets.get(wider, 0) + count
    return replace(after, zero=zero, buckets=buckets)
