"""What Prometheus is shown of KPIs, rollouts, flags, nodes and alarms: the last of each, once, and nothing stale."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from tests.api.control.conftest import world
from tests.api.control.kit import NEW, Installation, installed

from tidegate.api.control import measured
from tidegate.api.control.measured import STALE_MS, Measured
from tidegate.api.metrics_kpis import KpiMetrics
from tidegate.api.metrics_rollouts import RolloutMetrics
from tidegate.api.roles import Role
from tidegate.ports import Record
from tidegate.wire.codec import encode
from tidegate.wire.decisions import GroupState, WaveState
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Alarm, AlarmState, Kpi, Score, Severity
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Stage

__all__ = ["world"]

T0 = 1_700_000_000_000


def kpi(second: int, window_s: int = 1, **fields: Any) -> Record:
    known = {
        "service": "shop",
        "cohort": "canary",
        "subject": "svc/shop",
        "placement": "p",
        "version": "v2",
        "window_s": window_s,
        "start_ms": T0 + 1_000 * (second - window_s),
        "end_ms": T0 + 1_000 * second,
        "requests": 10,
        "errors": 1,
        "nodes": 2,
        "nodes_expected": 4,
        "coverage": 0.5,
        "rate": 10.0,
        "error_ratio": 0.1,
        "p50_ms": 5.0,
        "p95_ms": 50.0,
        "p99_ms": 90.0,
    }
    one = Kpi(**(known | fields))
    return Record("kpis", 0, second, one.end_ms, one.service, one.flat(), {})


def score(second: int, metric: str = "error_ratio", **fields: Any) -> Record:
    known = {"service": "shop", "cohort": "canary", "metric": metric, "end_ms": T0 + 1_000 * second, "value": 0.1, "score": 7.5}
    one = Score(**(known | fields))
    return Record("scores", 0, second, one.end_ms, one.service, msgspec.json.encode(one), {})


class Shown:
    """Records in, samples out, at a time of the test's choice."""

    def __init__(self) -> None:
        self.measured = Measured()
        self.now_ms = T0
        self._registry = CollectorRegistry()
        self._registry.register(KpiMetrics(self.measured, lambda: self.now_ms))

    def see(self, *records: Record, at_s: float | None = None) -> None:
        self.now_ms = T0 + round(1_000 * (records[-1].offset if at_s is None else at_s))
        self.measured.see(records, self.now_ms)

    def of(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"tidegate_{name}", {"service": "shop", "cohort": "canary"} | labels)

    def of_flag(self, name: str, variant: str) -> float | None:
        labels = {"set": "web", "flag": "dark", "service": "shop", "variant": variant}
        return self._registry.get_sample_value(f"tidegate_flag_{name}", labels)

    def text(self) -> str:
        return generate_latest(self._registry).decode()


def test_seconds_are_counted_once_and_windows_of_ten_are_the_present_values():
    shown = Shown()
    shown.see(*(kpi(second) for second in range(1, 11)), kpi(10, 10, requests=100, errors=10), kpi(60, 60))
    shown.see(kpi(9), kpi(10), kpi(10, 10, p95_ms=1.0), at_s=11)  # a judge that was started again tells them once more
    assert (shown.of("kpi_requests_total"), shown.of("kpi_errors_total")) == (100, 10)
    assert shown.of("kpi_end_timestamp_seconds") == T0 / 1_000 + 10
    names = ("error_ratio", "latency_p50_seconds", "latency_p95_seconds", "latency_p99_seconds")
    assert [shown.of(f"kpi_{name}") for name in names] == pytest.approx([0.1, 0.005, 0.05, 0.09])
    assert [shown.of(f"kpi_{name}") for name in ("nodes", "expected_nodes", "coverage_ratio")] == [2, 4, 0.5]
    assert shown.of("kpi_info", version="v2") == 1


def test_without_requests_there_are_no_ratios_and_no_latencies():
    shown = Shown()
    shown.see(kpi(10), kpi(10, 10, requests=0, errors=0, error_ratio=0.0, p50_ms=-1.0, p95_ms=-1.0, p99_ms=-1.0))
    assert [shown.of(f"kpi_{name}") for name in ("error_ratio", "latency_p95_seconds", "nodes")] == [None, None, 2]


def test_what_has_not_been_measured_for_a_minute_is_gone():
    shown = Shown()
    shown.see(kpi(10), kpi(10, 10), score(10))
    shown.now_ms = T0 + 10_000 + STALE_MS
    assert (shown.of("kpi_error_ratio"), shown.of("score_deviations", metric="error_ratio")) == (0.1, 7.5)
    shown.now_ms += 1
    assert "shop" not in shown.text()
    shown.see(kpi(100, cohort="rest"), at_s=100)
    shown.now_ms = T0
    assert shown.of("kpi_requests_total") is None, "it is also forgotten"


def test_variants_of_flags_are_no_cohorts():
    shown = Shown()
    shown.see(kpi(10), *(kpi(10, window, subject="flag/web/dark", cohort="on", requests=4, errors=0) for window in (1, 10)))
    assert (shown.of_flag("requests_total", "on"), shown.of_flag("latency_p95_seconds", "on")) == (4, 0.05)
    assert (shown.of("kpi_requests_total"), shown.of("kpi_requests_total", cohort="on")) == (10, None)


def test_values_under_names_of_services_are_bounded(monkeypatch):
    monkeypatch.setattr(measured, "CUSTOM_KEPT", 3)
    shown = Shown()
    values = {f"gauge.queue{number}": float(number) for number in range(9)} | {"probe.rate": 1.0}
    shown.see(kpi(10), kpi(10, 10, values=values))
    assert shown.text().count('tidegate_kpi_custom{cohort="canary"') == 3
    assert shown.of("kpi_custom", metric="gauge.queue2") == 2


def test_cohorts_and_series_are_bounded_and_the_silent_ones_go_first(monkeypatch):
    monkeypatch.setattr(measured, "COHORTS_KEPT", 3)
    monkeypatch.setattr(measured, "SERIES_KEPT", 3)
    shown = Shown()
    shown.see(*(kpi(1, service=f"s{number}") for number in range(3)), kpi(2, service="s0"), kpi(2, service="s3"))
    shown.see(*(score(2, f"m{number}") for number in range(5)))
    assert [key[0] for key, _ in shown.measured.cohorts(T0)] == ["s0", "s2", "s3"]
    assert [key[2] for key, _ in shown.measured.scores(T0)] == ["m2", "m3", "m4"]


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'{"service": 1}', encode({"window_s": 10, "end_ms": "x"})])
def test_what_cannot_be_read_changes_nothing(raw):
    shown = Shown()
    shown.see(kpi(1), Record("kpis", 0, 2, T0, "shop", raw, {}), Record("scores", 0, 2, T0, "shop", raw, {}))
    shown.see(Record("kpis", 0, 3, T0, "shop", None, {}))
    assert shown.of("kpi_requests_total") == 10


def samples(here: Installation) -> dict[str, list[dict[str, str] | float]]:
    registry = CollectorRegistry()
    registry.register(RolloutMetrics(here.mirror))
    found: dict[str, Any] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            found.setdefault(sample.name.removeprefix("tidegate_"), []).append((dict(sample.labels), sample.value))
    return found


def named(rows: Iterable[tuple[dict[str, str], float]], *labels: str) -> dict[Any, float]:
    return {tuple(one[label] for label in labels) if len(labels) > 1 else one[labels[0]]: value for one, value in rows}


def test_groups_are_shown_with_the_wave_under_way(world):
    here = Installation(world, world.log)
    states = {
        "group/eu": GroupState(subject="group/eu", phase=Phase.RUNNING, wave=1, waves=(WaveState(members=()),) * 3),
        "group/us": GroupState(subject="group/us", phase=Phase.DONE, wave=2, waves=(WaveState(members=()),) * 3),
    }
    here.mirror.model.ledger = replace(here.mirror.model.ledger, groups=states)
    shown = samples(here)
    assert named(shown["group_phase"], "group", "phase") == {("eu", "running"): 1, ("us", "done"): 1}
    assert named(shown["group_wave"], "group") == {"eu": 2, "us": 0}
    assert named(shown["group_waves"], "group") == {"eu": 3, "us": 3}


async def test_a_rollout_is_shown_from_its_phase_to_its_nodes(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            assert "rollout_phase" not in samples(here)
            assert (await here.start("ci", stages=(Stage(set_weight=100, bake="1ms"),))).status_code == 200
            await here.until(lambda: here.mirror.model.ledger.subject("svc/shop").phase is Phase.DONE)
            assert (await here.start("ci", "p2", **here.upgrade())).status_code == 200
            await here.until(lambda: here.mirror.model.ledger.subject("svc/shop").baking_since_ms > 0)
            fire = Alarm(
                id="x",
                writer="judge",
                name="environment",
                state=AlarmState.FIRING,
                severity=Severity.CRITICAL,
                start_ms=1,
                service="shop",
            )
            await here.log.append("alarms", fire.key, encode(fire))
            await here.until(lambda: bool(here.mirror.model.view.alarms))
            shown = samples(here)
    assert {one for one, value in named(shown["rollout_phase"], "phase").items() if value} == {"running"}
    assert named(shown["rollout_stage"], "service") == {"shop": 1}
    assert named(shown["rollout_stages"], "service") == {"shop": 2}
    assert named(shown["rollout_info"], "rollout", "version", "settled") == {("p2.1", NEW.version, "v1"): 1}
    assert {"no_verdict", "alarm_open"} <= set(named(shown["rollout_blocked"], "reason"))
    nodes = named(shown["rollout_nodes"], "cohort", "state")
    assert [nodes["canary", state] for state in ("expected", "given", "ready")] == [1, 1, 1]
    assert named(shown["fleet_nodes"], "state") == {"reachable": 3, "unreachable": 0, "never_seen": 0, "cordoned": 0}
    assert named(shown["fleet_service_nodes"], "version", "state") == {("v1", "ready"): 2, ("v2", "ready"): 1}
    assert named(shown["alarms_firing"], "alarm", "service", "severity") == {("environment", "shop", "critical"): 1}
    kinds = named(shown["decision_timestamp_seconds"], "kind")
    assert {"accept", "start", "bake", "complete"} <= set(kinds)
    assert {one["service"] for one, _ in shown["decision_timestamp_seconds"]} == {"shop"}
    assert kinds["complete"] < kinds["bake"]
    assert service_subject("shop") in named(shown["decision_timestamp_seconds"], "subject")
