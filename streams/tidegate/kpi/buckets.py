"""Latency buckets without numpy, for whoever records or shows a latency: base-2 exponential, scale 3, 160 slots from 1
ms to 1,024 s.

A value lies in (edge of the slot before, edge of its slot]; shown at the geometric middle it is off by at most 4.33 %
(``(b - 1) / (b + 1)`` with
b = 2 ** (1 / 8); OpenTelemetry's exponential histogram).
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil

from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SCALE, HISTOGRAM_SLOTS, Histogram

BASE = 2.0 ** (2.0**-HISTOGRAM_SCALE)
RELATIVE_ERROR = (BASE - 1) / (BASE + 1)
"""0.0433: how far a quantile may lie from the true value, relative."""

UPPER_EDGES_S: tuple[float, ...] = tuple(
    2.0 ** ((HISTOGRAM_OFFSET + slot + 1) / 2**HISTOGRAM_SCALE) for slot in range(HISTOGRAM_SLOTS)
)
"""Upper edge of each slot in seconds; the value itself belongs to the slot."""

MIDDLES_S: tuple[float, ...] = tuple(2 * edge / (BASE + 1) for edge in UPPER_EDGES_S)
"""What a slot is shown as: the value from which both edges are equally far, relative to themselves."""


def slot_of(seconds: float) -> int:
    """Return the slot of a duration; values outside the range fall into the outermost slots.

    >>> slot_of(0.0), slot_of(1.0), slot_of(1.01), slot_of(1e9)
    (0, 79, 80, 159)
    """
    return min(bisect_left(UPPER_EDGES_S, seconds), HISTOGRAM_SLOTS - 1)


def histogram_of(counts: Sequence[int]) -> Histogram | None:
    """Return counts of all slots as they stand in a row; None where nothing was counted.

    >>> histogram_of([0, 2, 0, 1] + [0] * 156)
    Histogram(offset=-79, counts=[2, 0, 1])
    """
    used = [slot for slot, count in enumerate(counts) if count]
    return Histogram(HISTOGRAM_OFFSET + used[0], list(counts[used[0] : used[-1] + 1])) if used else None


def rank_of(total: int, share: float) -> int:
    """Return which of ``total`` ordered values a share names, the first being 1."""
    return max(1, min(total, ceil(total * share)))


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """Return the value in seconds that a share of the counted ones does not exceed, within 4.33 %; None without any.

    >>> quantile_s([0] * 79 + [10] + [0] * 80, 0.5) == MIDDLES_S[79]
    True
    """
    total = sum(counts)
    if not total:
        return None
    rank = rank_of(total, share)
    seen = 0
    for slot, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return MIDDLES_S[slot]
    return MIDDLES_S[-1]
