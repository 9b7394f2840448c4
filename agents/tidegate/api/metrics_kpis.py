"""KPIs and scores by cohort for Prometheus: read from what was measured last, at each scrape.

Every API process shows the same. So in a query take ``max by``, not ``sum by``, over instances; the recording rules in
``deploy/prometheus`` do. A cohort that has not been measured for a minute is not shown.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tidegate.api.control.measured import WINDOW_S, Cohort, CohortKey, Measured
from tidegate.wire.flagstates import flag_key, is_flag
from tidegate.wire.judgement import Kpi

COHORT = ("service", "cohort")
VARIANT = ("set", "flag", "service", "variant")
MS = 1e-3

Value = tuple[str, str, Callable[[Kpi], float]]
"""Name, text, and how a window has it."""
Row = tuple[tuple[str, ...], Cohort]

OF_REQUESTS: tuple[Value, ...] = (
    ("error_ratio", "Errors per request", lambda kpi: kpi.error_ratio),
    ("latency_p50_seconds", "Median latency", lambda kpi: kpi.p50_ms * MS),
    ("latency_p95_seconds", "Latency that 95 % of requests do not exceed", lambda kpi: kpi.p95_ms * MS),
    ("latency_p99_seconds", "Latency that 99 % of requests do not exceed", lambda kpi: kpi.p99_ms * MS),
)
"""What there is only where there were requests."""
OF_NODES: tuple[Value, ...] = (
    ("nodes", "Nodes that reported", lambda kpi: kpi.nodes),
    ("expected_nodes", "Nodes that should have reported", lambda kpi: kpi.nodes_expected),
    ("coverage_ratio", "Seconds of nodes reported, of those expected", lambda kpi: kpi.coverage),
)


class KpiMetrics(Collector):
    """Counters and gauges by cohort and by variant of a flag."""

    def __init__(self, measured: Measured, now_ms: Callable[[], int]) -> None:
        self._measured = measured
        self._now_ms = now_ms

    def collect(self) -> Iterator[Metric]:
        """Yield the present values. Called from the serving thread, so it only looks."""
        now_ms = self._now_ms()
        rows = self._measured.cohorts(now_ms)
        cohorts: list[Row] = [((service, cohort), one) for (service, subject, cohort), one in rows if not is_flag(subject)]
        variants: list[Row] = [(_variant(key), one) for key, one in rows if is_flag(key[1])]
        yield from _counted("tidegate_kpi", COHORT, cohorts)
        yield from _windowed("tidegate_kpi", COHORT, _asked(cohorts), OF_REQUESTS)
        yield from _windowed("tidegate_kpi", COHORT, _windows(cohorts), OF_NODES)
        yield from _own(cohorts)
        yield from _counted("tidegate_flag", VARIANT, variants)
        yield from _windowed("tidegate_flag", VARIANT, _asked(variants), OF_REQUESTS)
        yield from self._scores(now_ms)

    def _scores(self, now_ms: int) -> Iterator[Metric]:
        labels = (*COHORT, "metric")
        found = self._measured.scores(now_ms)
        score = GaugeMetricFamily(
            "tidegate_score_deviations", "How unusual a KPI was in its last second, in robust standard deviations.", labels=labels
        )
        rank = GaugeMetricFamily(
            "tidegate_score_rank_ratio", "How rare such a score is in the last day of its series: its p-value.", labels=labels
        )
        for key, one in found:
            score.add_metric(key, one.score)
            if one.conformal >= 0:
                rank.add_metric(key, one.conformal)
        yield from (score, rank)


def _counted(prefix: str, labels: tuple[str, ...], rows: Iterable[Row]) -> Iterator[Metric]:
    requests = CounterMetricFamily(f"{prefix}_requests", "Requests in closed seconds.", labels=labels)
    errors = CounterMetricFamily(f"{prefix}_errors", "Requests of these that failed.", labels=labels)
    end = GaugeMetricFamily(f"{prefix}_end_timestamp_seconds", "End of the last second that was closed.", labels=labels)
    for key, one in rows:
        requests.add_metric(key, one.requests)
        errors.add_metric(key, one.errors)
        end.add_metric(key, one.end_ms * MS)
    yield from (requests, errors, end)


def _windowed(
    prefix: str, labels: tuple[str, ...], windows: Iterable[tuple[tuple[str, ...], Kpi]], values: Iterable[Value]
) -> Iterator[Metric]:
    rows = list(windows)
    for name, text, value in values:
        family = GaugeMetricFamily(f"{prefix}_{name}", f"{text}, in the last {WINDOW_S} s.", labels=labels)
        for key, kpi in rows:
            family.add_metric(key, value(kpi))
        yield family


def _windows(rows: Iterable[Row]) -> list[tuple[tuple[str, ...], Kpi]]:
    return [(key, one.kpi) for key, one in rows if one.kpi is not None]


def _asked(rows: Iterable[Row]) -> list[tuple[tuple[str, ...], Kpi]]:
    return [(key, kpi) for key, kpi in _windows(rows) if kpi.requests]


def _own(rows: Iterable[Row]) -> Iterator[Metric]:
    """Yield what runs in each cohort, and the values under names that its service chose."""
    info = GaugeMetricFamily("tidegate_kpi_info", "1: what a cohort runs.", labels=(*COHORT, "version"))
    custom = GaugeMetricFamily(
        "tidegate_kpi_custom",
        f"Gauges (mean over nodes), ratios, counters (a second) and probes, in the last {WINDOW_S} s.",
        labels=(*COHORT, "metric"),
    )
    for key, kpi in _windows(rows):
        info.add_metric((*key, kpi.version), 1)
        for name, value in kpi.values.items():
            custom.add_metric((*key, name), value)
    yield from (info, custom)


def _variant(key: CohortKey) -> tuple[str, ...]:
    service, subject, variant = key
    flag = flag_key(subject)
    return flag.set_id, flag.name, service, variant


__all__ = ["KpiMetrics"]
