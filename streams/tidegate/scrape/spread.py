"""Counts of foreign buckets in our slots (``tidegate.kpi.buckets``): whole numbers, and never one more or less.

Places are measured in slots: slot k is (k, k + 1], place 0 is 1 ms, eight places double the value. A bucket's count is spread
evenly over the places it spans, which is geometric in seconds; the bucket that begins at zero has no such middle and is spread
evenly in seconds. So the edges of a native histogram of schema 3 or finer are ours, and nothing is spread at all.
"""

from functools import lru_cache
from math import ceil, floor, inf, log2

from tidegate.kpi.buckets import UPPER_EDGES_S
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SCALE, HISTOGRAM_SLOTS

PER_DOUBLING = 1 << HISTOGRAM_SCALE
SHARES = 1 << 16
"""Shares of a bucket are whole numbers of this."""
_GOLDEN = 40_503
"""SHARES / golden ratio: multiples of it lie as evenly as numbers can."""


def place_of(seconds: float) -> float:
    """Return the place of a duration, within the range of slots.

    >>> place_of(1.0), place_of(2.0), place_of(0.0), place_of(1e9)
    (80.0, 88.0, 0.0, 160.0)
    """
    if seconds <= 0:
        return 0.0
    return within(log2(seconds) * PER_DOUBLING - HISTOGRAM_OFFSET) if seconds < inf else float(HISTOGRAM_SLOTS)


def within(place: float) -> float:
    """Return a place, or the end of the range that it lies beyond."""
    return min(max(place, 0.0), float(HISTOGRAM_SLOTS))


def phase_of(number: int) -> int:
    """Return where the count of the row of this number begins in its bucket.

    One request a second in a wide bucket must not always fall into the same slot: over the seconds it is spread as many in one
    second would be.
    """
    return number * _GOLDEN % SHARES


def spread(slots: list[int], count: int, low: float, high: float, phase: int) -> None:
    """Add a bucket's count to slots: ``low`` and ``high`` are its edges in places, ``low`` is -inf where it begins at zero."""
    if count > 0:
        before = 0
        for slot, share in _shares(low, high):
            upto = (count * share + phase) // SHARES
            slots[slot] += upto - before
            before = upto


@lru_cache(maxsize=4_096)
def _shares(low: float, high: float) -> tuple[tuple[int, int], ...]:
    """Return each slot of a bucket with the share of the count that lies up to its end; the last is all."""
    first = min(floor(within(low)), HISTOGRAM_SLOTS - 1)
    last = max(first, min(ceil(within(high)), HISTOGRAM_SLOTS) - 1)
    if low == -inf:
        bound_s = 2.0 ** ((high + HISTOGRAM_OFFSET) / PER_DOUBLING)
        parts = [UPPER_EDGES_S[slot] / bound_s for slot in range(last)]
    else:
        parts = [(slot + 1 - low) / (high - low) for slot in range(first, last)]
    return (*((first + at, round(part * SHARES)) for at, part in enumerate(parts)), (last, SHARES))
