"""How unusual a KPI is, for the history view: River's standard absolute deviation, taught carefully and kept as plain numbers.

A score never saturates, so that thresholds can be set on it later. What is learned is clipped at four deviations, so that an
anomaly does not teach the model to expect it; and the memory is held at ten minutes of seconds, so that old values fade. Scores
decide nothing.
"""

from collections.abc import Collection

from msgspec import Struct
from river import anomaly, stats

from tidegate.wire.judgement import Score

MEMORY = 600
"""Values after which the oldest have faded to a third."""
WARM = 30
"""Values before the first score; until then 0.0."""
CLIP = 4.0
FLOOR_RELATIVE = 0.01
"""A KPI that stood quite still is scored as if it moved by 1 %."""
FLOOR = 1e-3
SERIES_MAX = 20_000
"""Beyond this the series known for longest is forgotten and learned anew."""


class Moments(Struct, frozen=True, array_like=True):
    """What is kept of one series: the count, mean and variance of River's model."""

    count: float = 0.0
    mean: float = 0.0
    variance: float = 0.0


class ScoreState(Struct):
    """Moments by ``service/cohort/metric``, for the checkpoint. Changed in place: a partition scores many series a second."""

    series: dict[str, Moments] = {}

    def forget(self, services: Collection[str]) -> None:
        """Drop the series of services."""
        for name in [name for name in self.series if name.partition("/")[0] in services]:
            del self.series[name]


def score(state: ScoreState, service: str, cohort: str, metric: str, value: float, end_ms: int) -> Score:  # noqa: PLR0917
    """Return how many standard deviations a value lies from what was usual in its series, and learn it.

    >>> state = ScoreState()
    >>> usual = [score(state, "shop", "rest", "rate", 100.0 + second % 3, second).score for second in range(60)]
    >>> usual[0], score(state, "shop", "rest", "rate", 150.0, 60).score > 20
    (0.0, True)
    """
    name = f"{service}/{cohort}/{metric}"
    before = state.series.get(name, Moments())
    model = _model(before)
    unusual, value = 0.0, float(value)  # a numpy number would not fit into a checkpoint
    learned = value
    if before.count >= WARM:
        unusual = float(model.score_one(None, value))  # type: ignore[no-untyped-call]
        most = CLIP * model.variance.get() ** 0.5
        learned = min(max(value, before.mean - most), before.mean + most)
    model.learn_one(None, learned)  # type: ignore[no-untyped-call]
    if name not in state.series and len(state.series) >= SERIES_MAX:
        del state.series[next(iter(state.series))]
    state.series[name] = Moments(min(model.variance.n, MEMORY), model.variance.mean.get(), model.variance.get())
    return Score(service=service, cohort=cohort, metric=metric, end_ms=end_ms, value=value, score=float(f"{unusual:.6g}"))


def _model(moments: Moments) -> anomaly.StandardAbsoluteDeviation:
    """Return River's model with these moments: half of the weight a deviation below the mean, half above it."""
    mean = stats.Mean()
    model = anomaly.StandardAbsoluteDeviation(sub_stat=mean)
    if moments.count:
        variance = max(moments.variance, (FLOOR_RELATIVE * moments.mean) ** 2, FLOOR**2)
        spread = (variance * max(0.0, moments.count - 1.0) / moments.count) ** 0.5
        mean.update(moments.mean, moments.count)
        model.variance.update(moments.mean - spread, moments.count / 2.0)
        model.variance.update(moments.mean + spread, moments.count / 2.0)
    return model
