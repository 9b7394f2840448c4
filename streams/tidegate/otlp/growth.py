"""By how much one series has grown: from two cumulative points, or from one that says so itself.

Exact in count; buckets of any kind become ours as those of scraped pages do (``tidegate.scrape``). A bucket of an exponential
histogram of scale 3 or more lies within one of our slots. Any other is spread over the slots that it spans, so that a quantile
never leaves the bucket in which the true one lies by more than a slot.
"""

from math import inf

from tidegate.otlp.portions import NO_LATENCY
from tidegate.scrape.increase import add_classic, add_native, classic_increase, native_increase
from tidegate.scrape.page import Native
from tidegate.wire.otlp import Explicit, Point

Held = dict[float, float] | Native
"""A histogram as it was: cumulative counts by upper bound, or exponential buckets."""


def held(point: Point) -> Held:
    """Return the buckets of a point, in the form in which they are compared."""
    buckets = point.buckets
    if isinstance(buckets, Explicit):
        return _cumulative(buckets, point.count)
    # A bucket is named by its lower edge here, and by its upper one in a page.
    found = {buckets.offset + at + 1: count for at, count in enumerate(buckets.counts) if count}
    return Native(schema=buckets.scale, zero_threshold=buckets.threshold, zero=buckets.zero, buckets=found)


def growth(before: Held | None, after: Held) -> Held:
    """Return by how much a histogram has grown. One that is lower than it was, or of another kind, began again."""
    if isinstance(after, Native):
        return native_increase(before if isinstance(before, Native) else None, after)
    return dict(classic_increase(before if isinstance(before, dict) else {}, after))


def add(slots: list[int], grown: Held, unit_s: float, phase: int) -> None:
    """Add what has grown to counts by slot, the last of which is ``NO_LATENCY``."""
    if isinstance(grown, Native):
        add_native(slots, grown, unit_s, phase)
    elif len(grown) > 1:
        add_classic(slots, grown, unit_s, phase)
    else:
        slots[NO_LATENCY] += round(grown[inf])


def _cumulative(buckets: Explicit, count: int) -> dict[float, float]:
    if not buckets.counts:
        return {inf: count}
    found, upto = {}, 0
    for bound, inside in zip((*buckets.bounds, inf), buckets.counts, strict=True):
        upto += inside
        found[bound] = float(upto)
    return found
