"""Cardinality: what exceeds a cap is counted elsewhere, an alarm says so, and nobody pushes out who was honest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kpi.rows import T0, idle, record, row

from tidegate.judge import JudgeState, restore, snapshot, step
from tidegate.kpi import caps
from tidegate.wire.judgement import AlarmState, Severity
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import Guardrail
from tidegate.wire.telemetry import ServiceState, Source

OVERFLOW = "tidegate.overflow-7"


def play(records, state=None):
    state = state or JudgeState(7)
    return state, [step(state, one, T0 + 10_000_000) for one in records]


def seconds(kpis_of):
    return {(kpi.service, kpi.end_ms): kpi for outcome in kpis_of for kpi in outcome.kpis if kpi.window_s == 1}


def edges(outcomes):
    return [alarm for outcome in outcomes for alarm in outcome.alarms if alarm.name == "cardinality_exceeded"]


@pytest.fixture
def small(monkeypatch):
    for name, most in {
        "SERVICES_PER_NODE_MAX": 3,
        "BOOTS_PER_NODE_MAX": 8,
        "NODES_PER_SERVICE_MAX": 4,
        "SERVICES_MAX": 6,
        "BOOTS_MAX": 20,
    }.items():
        monkeypatch.setattr(caps, name, most)
    for name, most in {"METRICS_PER_NODE_MAX": 4, "METRICS_PER_SERVICE_MAX": 6}.items():
        monkeypatch.setattr(f"tidegate.kpi.metrics.{name}", most)


def test_a_node_that_invents_services_before_anybody_else_comes_pushes_nobody_out():
    hostile = [row("evil", service=f"x{number}", requests=1) for number in range(2_500)]
    honest = [row(f"n{number}", service=f"s{number}", requests=5) for number in range(500)]
    state, outcomes = play([record(hostile, 0.5), record(honest, 2)])
    found = {service: kpi.requests for (service, _), kpi in seconds(outcomes).items()}
    assert all(found[f"s{number}"] == 5 for number in range(500))
    assert found[OVERFLOW] == 2_500 - caps.SERVICES_PER_NODE_MAX
    assert len(state.seen) == 500 + caps.SERVICES_PER_NODE_MAX
    assert state.tally.refused == {"services_per_node": 2_500 - caps.SERVICES_PER_NODE_MAX}


def test_a_node_that_invents_boots_pushes_nobody_out():
    hostile = [row("evil", boot=f"b{number}", requests=1) for number in range(3_000)]
    state, outcomes = play([record(hostile, 0.5), record([row("n1", requests=5)], 2)])
    found = {service: kpi.requests for (service, _), kpi in seconds(outcomes).items()}
    assert found == {"shop": caps.BOOTS_PER_NODE_MAX + 5, OVERFLOW: 3_000 - caps.BOOTS_PER_NODE_MAX}
    assert len(state.dedupe) == caps.BOOTS_PER_NODE_MAX + 1


def test_the_alarm_names_cap_and_names_and_ends_when_it_is_over():
    records = [
        record([row("evil", service=f"x{second}.{number}", second=second) for number in range(200)], second + 2)
        for second in range(6)
    ]
    records += idle(90, 8)
    _, outcomes = play(records)
    firing, resolved = edges(outcomes)
    assert (firing.state, firing.severity, firing.service) == (AlarmState.FIRING, Severity.WARNING, OVERFLOW)
    assert firing.labels == {"cap": "services_per_node"}
    assert "evil/x" in firing.summary
    assert (resolved.state, resolved.key) == (AlarmState.RESOLVED, firing.key)


def test_an_overflow_is_missed_by_no_coverage_alarm():
    records = [record([row("evil", service=f"x{number}") for number in range(200)], 2)]
    _, outcomes = play([*records, *idle(30, 3)])
    lost = {alarm.service for outcome in outcomes for alarm in outcome.alarms if alarm.name == "coverage_lost"}
    assert OVERFLOW not in lost


@pytest.mark.usefixtures("small")
def test_what_a_rollout_names_has_room_though_all_is_full():
    crowd = [row(f"n{number}", service=f"x{number}") for number in range(6)]
    crowd += [row(f"m{number}") for number in range(4)]
    cohorts = (CohortMembers(name="canary", version="v1", nodes=("c1",)),)
    context = Context(subject="svc/late", service="late", epoch=1, generation=1, placement="p", rollout="r", cohorts=cohorts)
    own = [row("c1", service="late", requests=3), row("n9", service="late", requests=4), row("n8", service="other", requests=7)]
    _, outcomes = play([record(crowd, 0.5), context, record(own, 2)])
    found = {kpi.cohort: kpi.requests for outcome in outcomes for kpi in outcome.kpis if kpi.service == "late"}
    assert found == {"canary": 3, "rest": 4}
    assert seconds(outcomes)[OVERFLOW, T0 + 1_000].requests == 7


@pytest.mark.usefixtures("small")
def test_members_of_a_cohort_have_room_among_too_many_nodes():
    cohorts = (CohortMembers(name="canary", version="v1", nodes=("c1",)),)
    context = Context(subject="svc/shop", service="shop", epoch=1, generation=1, placement="p", rollout="r", cohorts=cohorts)
    rows = [row(f"m{number}", requests=1) for number in range(6)]
    _, outcomes = play([context, record(rows, 0.5), record([row("c1", requests=3)], 2)])
    found = {(kpi.service, kpi.cohort): kpi.requests for outcome in outcomes for kpi in outcome.kpis}
    assert found == {("shop", "canary"): 3, ("shop", "rest"): 4, (OVERFLOW, "rest"): 2}


def test_metrics_that_are_invented_each_second_are_summed_as_other_and_honest_ones_stay():
    honest = {f"h{number}": 1.0 for number in range(60)}
    records = []
    for second in range(20):
        fields = {"seq": second + 1, "second": second, "requests": 1}
        bad = {f"x{second}.{number}": 1 for number in range(60)}
        ratios = dict.fromkeys(bad, (1, 2))
        rows = [
            row("evil", counters=bad, ratios=ratios, gauges=dict.fromkeys(bad, 1.0), **fields),
            row("n1", gauges=honest, **fields),
        ]
        records.append(record(rows, second + 2))
    state, outcomes = play(records)
    kpis = [kpi for outcome in outcomes for kpi in outcome.kpis]
    assert max(len(kpi.values) for kpi in kpis) <= caps.METRICS_PER_SERVICE_MAX + 2
    assert len(state.metrics.services["shop"]) <= caps.METRICS_PER_NODE_MAX + len(honest)
    last = kpis[-1].values
    assert {f"gauge.{name}" for name in honest} <= last.keys()
    assert last["counter.other"] >= 59
    assert last["ratio.other"] == 0.5
    (edge,) = edges(outcomes)
    assert (edge.service, edge.labels) == ("shop", {"cap": "metrics_per_node"})


@pytest.mark.usefixtures("small")
def test_a_metric_that_a_guardrail_names_has_room():
    guard = (Guardrail(metric="gauge.late", max=1.0),)
    context = Context(subject="svc/shop", service="shop", epoch=1, generation=1, placement="p", rollout="r", guardrails=guard)
    full = row("n1", gauges={f"g{number}": 1.0 for number in range(9)})
    _, outcomes = play([context, record([full, row("n2", gauges={"late": 5.0, "later": 5.0, "last": 1.0, "more": 1.0})], 3)])
    kpi = seconds(outcomes)["shop", T0 + 1_000]
    assert "gauge.late" in kpi.values
    assert len(kpi.values) == 6


def test_a_name_that_is_not_said_for_ten_minutes_makes_room():
    state, _ = play([record([row(gauges={"old": 1.0})], 3), *idle(720, 4)])
    assert state.metrics.services == {}


NAMES = st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 2))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=80), st.integers(1, 20), st.integers(0, 9))
def test_no_request_is_lost_or_doubled_and_a_snapshot_changes_nothing(names, size, cut):
    most = {"SERVICES_PER_NODE_MAX": 3, "BOOTS_PER_NODE_MAX": 8, "NODES_PER_SERVICE_MAX": 4, "SERVICES_MAX": 6, "BOOTS_MAX": 20}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in most.items():
            patch.setattr(caps, name, value)
        rows, seqs = [], {}
        for (node, service, boot), requests in names:
            seq = seqs[node, service, boot] = seqs.get((node, service, boot), 0) + 1
            fields = {"service": f"s{service}", "boot": f"b{boot}", "requests": requests, "counters": {f"c{requests}": 1}}
            rows.append(row(f"n{node}", seq=seq, **fields))
        records = [*(record(rows[at : at + size], 1.5) for at in range(0, len(rows), size)), *idle(30, 3)]
        state, outcomes = play(records)
        assert sum(kpi.requests for kpi in seconds(outcomes).values()) == sum(requests for _, requests in names)
        tally = state.tally
        assert tally.accepted + tally.duplicate + tally.late + tally.excluded + tally.overflow == len(rows)
        first, before = play(records[: cut + 1])
        again = restore(snapshot(first), 7)
        assert before + play(records[cut + 1 :], again)[1] == outcomes


@pytest.mark.usefixtures("small")
def test_agent_rows_beyond_a_cap_are_counted_and_are_no_traffic():
    rows = [row("evil", service=f"x{number}", source=Source.AGENT, state=ServiceState.READY) for number in range(9)]
    state, outcomes = play([record(rows, 3)])
    assert (state.tally.accepted, state.tally.overflow) == (3, 6)
    assert (OVERFLOW, T0 + 1_000) not in seconds(outcomes)


def test_nobody_may_call_his_service_an_overflow():
    _, outcomes = play([record([row(service="tidegate.overflow-3", requests=2), row(requests=1)], 3)])
    assert {service for service, _ in seconds(outcomes)} == {"shop", OVERFLOW}
