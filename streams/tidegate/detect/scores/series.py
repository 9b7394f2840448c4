"""One series after another: level, season, rank and crossing of a value, and the state that a checkpoint keeps of them."""

from collections.abc import Collection, Container, Mapping
from math import isfinite

from msgspec import Struct, field

from tidegate.detect.scores.crossing import Watch
from tidegate.detect.scores.level import WARM, follow, spread_of
from tidegate.detect.scores.rank import Past, bin_of
from tidegate.detect.scores.season import Season, nearer
from tidegate.kpi.caps import OTHER
from tidegate.wire.judgement import Kpi, Score

SERIES_MAX = 20_000
"""Beyond this the series known for longest is forgotten and learned anew. A series takes some 600 bytes of a checkpoint."""
VALUE_MAX = 1e30
"""Larger values are scored as this one: their squares must be numbers."""
CUSTOM_MAX = 8
"""Custom values of a service that are scored, the first by name: a service may publish many more than anybody looks at."""


CUSTOM = frozenset(("gauge", "ratio", "counter"))


class Series(Struct, array_like=True):
    """What is kept of one series. Fields are only added at the end (see ``judge.snapshot``)."""

    count: float = 0.0
    mean: float = 0.0
    variance: float = 0.0
    season: Season = field(default_factory=Season)
    past: Past = field(default_factory=Past)
    watch: Watch = field(default_factory=Watch)


class ScoreState(Struct):
    """Series by ``service/cohort/metric``, for the checkpoint. Changed in place: a partition scores many series a second."""

    series: dict[str, Series] = {}

    def forget(self, services: Collection[str]) -> None:
        """Drop the series of services."""
        for name in [name for name in self.series if name.partition("/")[0] in services]:
            del self.series[name]

    def forget_values(self, said: Mapping[str, Container[str]]) -> None:
        """Drop the series of gauges, ratios and counters that their service says no more. ``said``: service to what it says."""
        for name in [name for name in self.series if _unsaid(name, said)]:
            del self.series[name]


def _unsaid(name: str, said: Mapping[str, Container[str]]) -> bool:
    service, _, metric = name.split("/", 2)
    kind, _, of = metric.partition(".")
    return kind in CUSTOM and of != OTHER and metric not in said.get(service, ())


def scores_of(state: ScoreState, kpi: Kpi) -> list[Score]:
    """Return the scores of one pane of one cohort: of its rate, and where it had requests of errors, latencies and own values."""
    values: Mapping[str, float] = {"rate": kpi.rate}
    if kpi.requests:
        values = {
            "rate": kpi.rate,
            "error_ratio": kpi.error_ratio,
            "p50_ms": kpi.p50_ms,
            "p95_ms": kpi.p95_ms,
            "p99_ms": kpi.p99_ms,
        }
    found = [score(state, kpi.service, kpi.cohort, metric, value, kpi.end_ms) for metric, value in values.items()]
    custom = sorted(kpi.values)[:CUSTOM_MAX]
    return found + [score(state, kpi.service, kpi.cohort, metric, kpi.values[metric], kpi.end_ms) for metric in custom]


def score(state: ScoreState, service: str, cohort: str, metric: str, value: float, end_ms: int) -> Score:  # noqa: PLR0917
    """Return how many standard deviations a value lies from what is usual in its series, how rare that is, and whether the series
    leaves what is usual with it; and learn it.

    >>> state = ScoreState()
    >>> usual = [score(state, "shop", "rest", "rate", 100.0 + second % 3, second).score for second in range(60)]
    >>> usual[0], score(state, "shop", "rest", "rate", 150.0, 60).score > 20
    (0.0, True)
    """
    name = f"{service}/{cohort}/{metric}"
    series = state.series.get(name)
    if series is None:
        if len(state.series) >= SERIES_MAX:
            del state.series[next(iter(state.series))]
        series = state.series[name] = Series()
    value = float(value)  # a numpy number would not fit into a checkpoint
    unusual, p_value, crossing = _take(series, value, end_ms) if isfinite(value) else (0.0, -1.0, False)
    return Score(
        service=service,
        cohort=cohort,
        metric=metric,
        end_ms=end_ms,
        value=value,
        score=float(f"{unusual:.6g}"),
        conformal=float(f"{p_value:.6g}"),
        crossing=crossing,
    )


def _take(series: Series, value: float, end_ms: int) -> tuple[float, float, bool]:
    """Return (deviation, p-value, whether it crosses) of a value, and learn it."""
    value = min(max(value, -VALUE_MAX), VALUE_MAX)
    season, past, watch = series.season, series.past, series.watch
    season.take(value, end_ms)
    mean = series.mean
    if season.step:
        mean = nearer(season, value, mean, spread_of(mean, series.variance))
    warm = series.count >= WARM
    unusual, series.count, series.mean, series.variance = follow(series.count, mean, series.variance, value)
    if not warm:
        return 0.0, -1.0, False
    at = bin_of(unusual)
    p_value = past.p_value(at)
    crossing = p_value > 0.0 and watch.see(unusual, p_value, (at, past.highest))
    if crossing:
        past.pending.clear()
    elif watch.teaches:
        past.take(at, wait=watch.doubtful)
    return unusual, p_value, crossing
