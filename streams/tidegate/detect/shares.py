"""Quantiles as shares: "p95 is at most L" and "at most 5 % of requests are slower than L" are the same sentence.

A share is a count of a count, so a latency limit has the same small-sample arithmetic as an error limit. Buckets are those of
the wire (base 2 ** (1 / 8), slot 0 from 2 ** -10 s); inside a bucket values are taken as spread evenly over its logarithm,
which keeps a quantile within half a bucket, 4.33 %, of the truth.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SLOTS

BUCKETS_PER_OCTAVE = 8

Counts = NDArray[np.int64]


def quantile_ms(counts: Counts, share: float) -> float | None:
    """Return the value in ms below which ``share`` (0 to 1) of the counts lie; None where there are none."""
    below = np.cumsum(counts)
    total = int(below[-1])
    if total == 0:
        return None
    target = share * total
    slot = int(np.searchsorted(below, target))
    inside = (target - float(below[slot] - counts[slot])) / float(counts[slot])
    return float(1_000.0 * 2.0 ** ((slot + inside + HISTOGRAM_OFFSET) / BUCKETS_PER_OCTAVE))


def weights_above(limit_ms: float) -> NDArray[np.float64]:
    """Return, for each slot, which part of it lies above a latency in ms: the product with counts is how many were slower."""
    position = math.log2(limit_ms / 1_000.0) * BUCKETS_PER_OCTAVE - HISTOGRAM_OFFSET if limit_ms > 0 else 0.0
    slots = np.arange(HISTOGRAM_SLOTS, dtype=np.float64)
    return np.clip(slots + 1.0 - position, 0.0, 1.0)


def surprise_nats(part: float, whole: float, allowed: float) -> float:
    """Return how strongly ``part`` of ``whole`` speaks against a true share of at most ``allowed``, in nats (natural logarithms).

    This is Chernoff's bound: under any share up to ``allowed`` and independent events, a result at least this extreme has
    probability at most exp(-nats). 0.0 where the part is within the allowance.

    >>> round(surprise_nats(8, 150, 0.02), 2), surprise_nats(3, 150, 0.02)
    (2.93, 0.0)
    """
    if whole <= 0 or part <= allowed * whole:
        return 0.0
    if allowed <= 0:
        return math.inf
    share = min(1.0, part / whole)
    rest = (1.0 - share) * math.log((1.0 - share) / (1.0 - allowed)) if share < 1.0 else 0.0
    return whole * (share * math.log(share / allowed) + rest)
