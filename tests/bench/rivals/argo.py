"""Argo Rollouts' way: a limit measured every minute; a metric that fails more than ``failureLimit`` times rolls back.

``argoproj/argo-rollouts``, analysis/analysis.go: a metric has failed when ``result.Failed > failureLimit``, so with the usual 3
the fourth bad measurement decides. Failures need not follow each other. No null hypothesis, no bound on false alarms.
"""

import numpy as np
from tests.bench.rivals.sides import Minutes, Sides, quantile_s

ERROR_RATIO_MAX = 0.01
P99_RATIO_MAX = 1.5
FAILURE_LIMIT = 3


class Argo:
    """Error ratio above 1 %, or p99 above 1.5 times that of history."""

    def __init__(self) -> None:
        self._canary = Minutes()
        self._p99_s = np.inf
        self._failed = [0, 0]

    def learn(self, counts: np.ndarray) -> None:
        self._p99_s = quantile_s(counts, 0.99)

    def look(self, sides: Sides) -> int | None:
        for end, requests, errors, counts in self._canary.over(sides.canary):
            if not requests:
                continue
            self._failed[0] += errors > ERROR_RATIO_MAX * requests
            self._failed[1] += quantile_s(counts, 0.99) > P99_RATIO_MAX * self._p99_s
            if max(self._failed) > FAILURE_LIMIT:
                return end
        return None
