"""The level of a series and its spread: River's standard absolute deviation, taught carefully and kept as plain numbers.

A deviation never saturates: of two incidents the worse one scores higher, and scores have few ties. What is learned is clipped,
so that an anomaly does not teach the model to expect it; and the memory is held at ten minutes of seconds, so that old values
fade.

No null hypothesis and no guarantee here: how large a deviation must be is said by ``rank``. The model: Hochenbaum, Vallis and
Kejariwal, arXiv 1704.07706, as in River's ``anomaly.StandardAbsoluteDeviation``.
"""

import math

from river import anomaly, stats

MEMORY = 600
"""Values after which the oldest have faded to a third. Shorter, and an incident of a few minutes becomes usual while it lasts;
longer, and a new level stays an anomaly for hours."""
WARM = 30
"""Values before the first score; until then 0.0. With fewer the spread is a guess, and the first seconds would be anomalies."""
CLIP = 4.0
"""Standard deviations up to which a value teaches. Healthy values lie within; higher, and one burst hides the next."""
FLOOR_RELATIVE = 0.01
"""A KPI that stood quite still is scored as if it moved by 1 %: a tiny move is no news."""
FLOOR = 1e-3
"""The same for a KPI that stood at 0, in its own unit: of an error ratio 0.1 %."""


def spread_of(mean: float, variance: float) -> float:
    """Return the standard deviation that a score divides by, with its floors."""
    return math.sqrt(max(variance, (FLOOR_RELATIVE * mean) ** 2, FLOOR**2))


def follow(count: float, mean: float, variance: float, value: float) -> tuple[float, float, float, float]:
    """Return how many standard deviations a value lies from the level (0.0 before ``WARM``); and count, mean, variance with
    it.
    """
    model = _model(count, mean, variance)
    unusual, learned = 0.0, value
    if count >= WARM:
        unusual = float(model.score_one(None, value))  # type: ignore[no-untyped-call]
        most = CLIP * model.variance.get() ** 0.5
        learned = min(max(value, mean - most), mean + most)
    model.learn_one(None, learned)  # type: ignore[no-untyped-call]
    return unusual, min(model.variance.n, MEMORY), model.variance.mean.get(), model.variance.get()


def _model(count: float, level: float, variance: float) -> anomaly.StandardAbsoluteDeviation:
    """Return River's model with these moments: half of the weight a deviation below the mean, half above it."""
    mean = stats.Mean()
    model = anomaly.StandardAbsoluteDeviation(sub_stat=mean)
    if count:
        spread = spread_of(level, variance) * (max(0.0, count - 1.0) / count) ** 0.5
        mean.update(level, count)
        model.variance.update(level - spread, count / 2.0)
        model.variance.update(level + spread, count / 2.0)
    return model
