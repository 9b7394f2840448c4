"""The plain sequential test: events are independent and fall on the canary with its share of the traffic.

Lindon & Malek, arXiv 2011.03567: given an event, its arm is multinomial with the traffic shares, so the load cancels; the e-value
is a Beta mixture of likelihood ratios. Null hypothesis: a simple one, share of events = share of requests. Under it the
probability of ever rolling back is at most alpha (Ville), however often one looks. Real fleets are never under it.
"""

from math import lgamma, log

import numpy as np
from tests.bench.rivals.sides import WARM_UP_S, Sides

ALPHA = 0.01
CONCENTRATION = 100.0
"""Of the Beta mixture around the null: sensitive to shares that differ by a tenth."""
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
THRESHOLD = log(2 / ALPHA)
"""Of each of the two families, errors and latency, whose mean is an e-value too."""


class IidSequential:
    """Errors, and requests above six quantiles of history, canary against all nodes of the old version."""

    def __init__(self) -> None:
        self._slots = np.zeros(0, dtype=np.int64)
        self._second = 0
        self._canary = np.zeros(2 + len(QUANTILES))
        self._old = np.zeros(2 + len(QUANTILES))

    def learn(self, counts: np.ndarray) -> None:
        below = np.cumsum(counts)
        self._slots = np.searchsorted(below, np.array(QUANTILES) * below[-1])

    def look(self, sides: Sides) -> int | None:
        skipped = max(0, min(len(sides.old.requests), WARM_UP_S - self._second))
        self._second += len(sides.old.requests)
        both = []
        for sums, before in ((sides.canary, self._canary), (sides.old, self._old)):
            above = np.flip(np.cumsum(np.flip(sums.counts, axis=1), axis=1), axis=1)[:, self._slots + 1]
            columns = np.column_stack((sums.requests, sums.errors, above))[skipped:]
            both.append(before + np.cumsum(columns, axis=0))
        for at, (canary, old) in enumerate(zip(*both, strict=True), start=skipped + 1):
            if self._rolls_back(canary, old):
                return at
        if len(both[0]):
            self._canary, self._old = both[0][-1], both[1][-1]
        return None

    def _rolls_back(self, canary: np.ndarray, old: np.ndarray) -> bool:
        requests = canary[0] + old[0]
        if not canary[0] or not old[0]:
            return False
        share = canary[0] / requests
        values = [log_e(float(x), float(y), share) for x, y in zip(canary[1:], old[1:], strict=True)]
        latency = max(values[1:]) + log(float(np.mean(np.exp(np.array(values[1:]) - max(values[1:])))))
        return values[0] >= THRESHOLD or latency >= THRESHOLD


def log_e(canary: float, old: float, share: float) -> float:
    """Return the logarithm of the e-value of one metric; 0 where the canary has no more than its share (one-sided)."""
    if canary <= share * (canary + old):
        return 0.0
    a, b = CONCENTRATION * share, CONCENTRATION * (1 - share)
    beta = lgamma(a + canary) + lgamma(b + old) - lgamma(a + b + canary + old) - lgamma(a) - lgamma(b) + lgamma(a + b)
    return beta - canary * log(share) - old * log(1 - share)
