"""Kayenta's way: Mann-Whitney on per-minute series of canary and control, looked at each minute from the fifth on.

``spinnaker/kayenta``, NetflixACAJudge: tolerance 0.25, confidence 0.98. A metric is High when the lower end of the confidence
interval of the shift exceeds a quarter of the Hodges-Lehmann estimate (MannWhitneyClassifier, MannWhitney: normal approximation
with corrections for ties and continuity, as R's ``wilcox.test``). Null hypothesis: both series come from one distribution,
independent from minute to minute; the level holds for one look at one metric, and nothing corrects for more.
"""

from statistics import NormalDist

import numpy as np
from tests.bench.rivals.sides import Minutes, Sides, quantile_s

TOLERANCE = 0.25
CONFIDENCE = 0.98
POINTS_MIN = 5
Z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)


class Kayenta:
    """Metrics: error ratio, median, p99. The canary is compared with the controls that were restarted with it."""

    def __init__(self) -> None:
        self._sides = (Minutes(), Minutes())
        self._series: tuple[list[tuple[float, ...]], list[tuple[float, ...]]] = ([], [])

    def learn(self, counts: np.ndarray) -> None:
        """History is not used."""

    def look(self, sides: Sides) -> int | None:
        canary, control = (minutes.over(sums) for minutes, sums in zip(self._sides, (sides.canary, sides.control), strict=True))
        for one, other in zip(canary, control, strict=True):
            if not one[1] or not other[1]:
                continue
            for series, (_, requests, errors, counts) in zip(self._series, (one, other), strict=True):
                series.append((errors / requests, quantile_s(counts, 0.5), quantile_s(counts, 0.99)))
            if len(self._series[0]) >= POINTS_MIN:
                experiment, baseline = (np.array(series) for series in self._series)
                if any(high(experiment[:, metric], baseline[:, metric]) for metric in range(experiment.shape[1])):
                    return one[0]
        return None


def high(experiment: np.ndarray, control: np.ndarray) -> bool:
    """Return whether a metric is classified as High.

    >>> high(np.arange(6.0), np.arange(6.0) + 0.5), high(np.arange(6.0) + 10, np.arange(6.0))
    (False, True)
    """
    differences = np.sort((experiment[:, None] - control[None, :]).ravel())
    if differences[-1] <= 0 or differences[0] == differences[-1]:
        return bool(differences[0] > 0)
    estimate = _shift(experiment, control, differences, 0.0)
    return bool(_shift(experiment, control, differences, Z) > TOLERANCE * abs(estimate))


def _shift(experiment: np.ndarray, control: np.ndarray, differences: np.ndarray, z: float) -> float:
    """Return the shift at which the statistic has a given value: it falls as the shift grows, so it is found by halving."""
    low, high_ = float(differences[0]), float(differences[-1])
    for _ in range(50):
        middle = (low + high_) / 2
        if _statistic(experiment - middle, control, corrected=z != 0.0) > z:
            low = middle
        else:
            high_ = middle
    return (low + high_) / 2


def _statistic(one: np.ndarray, other: np.ndarray, *, corrected: bool) -> float:
    both = np.concatenate((one, other))
    _, inverse, ties = np.unique(both, return_inverse=True, return_counts=True)
    ends = np.cumsum(ties)
    ranks = (ends - (ties - 1) / 2)[inverse]
    n, m = len(one), len(other)
    centred = float(ranks[:n].sum()) - n * (n + 1) / 2 - n * m / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - float((ties.astype(float) ** 3 - ties).sum()) / (total * (total - 1)))
    correction = 0.5 * np.sign(centred) if corrected else 0.0
    return (centred - correction) / np.sqrt(variance) if variance > 0 else 0.0
