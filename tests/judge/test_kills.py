"""A judge that is killed, or whose state is lost, in the middle of rollouts: what it says afterwards (DESIGN 6, C7)."""

import random
from functools import cache

import pytest
from tests.judge.story import STEP_MS, story

from tidegate.judge import JudgeState, Outcome, restore, snapshot, step
from tidegate.wire.judgement import Outcome as Says
from tidegate.wire.nodeseconds import Context
from tidegate.wire.reasons import Reason

KILLS = 20
CHECKPOINT_EVERY_MS = 10_000


@cache
def log():
    return tuple(story())


@cache
def uninterrupted() -> tuple[Outcome, ...]:
    state = JudgeState(3)
    return tuple(step(state, record, append_ms) for append_ms, record in log())


def count(outcomes, name):
    return sum(len(getattr(outcome, name)) for outcome in outcomes)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_said_after_a_kill_was_said_without_it(seed):
    kills = sorted(random.Random(seed).sample(range(1, len(log())), KILLS))
    state, saved, saved_at_ms, at, again = JudgeState(3), (0, snapshot(JudgeState(3))), log()[0][0], 0, 0
    while at < len(log()):
        if kills and at == kills[0]:
            kills.pop(0)
            again += at - saved[0]
            at, state = saved[0], restore(saved[1], 3)
            saved_at_ms = log()[at][0]
            continue
        append_ms, record = log()[at]
        assert step(state, record, append_ms) == uninterrupted()[at]
        at += 1
        if append_ms - saved_at_ms >= CHECKPOINT_EVERY_MS:
            saved, saved_at_ms = (at, snapshot(state)), append_ms
    assert again > 0
    assert state.tally.accepted > 0


def test_the_log_holds_whole_rollouts():
    said = {(verdict.subject, verdict.outcome) for outcome in uninterrupted() for verdict in outcome.verdicts}
    assert {("svc/good", Says.PASS), ("svc/slow", Says.FAIL), ("svc/wrong", Says.FAIL)} <= said
    assert ("svc/good", Says.FAIL) not in said
    placements = {verdict.placement for outcome in uninterrupted() for verdict in outcome.verdicts}
    assert placements == {"good-p0", "good-p1", "good-p2", "slow-p0", "wrong-p0", "w10", "w50"}
    assert len(log()) > 90_000 // STEP_MS
    assert min(count(uninterrupted(), name) for name in ("kpis", "scores", "verdicts", "alarms")) > 0


@pytest.mark.parametrize("cut", [*range(20, 490, 39)])
def test_after_a_lost_state_a_verdict_is_a_hold_or_what_it_would_have_been(cut):
    state = JudgeState(3)
    state.lost = True
    would = {}
    for outcome in uninterrupted():
        for verdict in outcome.verdicts:
            would.setdefault((verdict.subject, verdict.last_pane_ms), set()).add((verdict.outcome, verdict.action))
    outcomes = [step(state, record, append_ms) for append_ms, record in log()[cut:]]
    for outcome in outcomes:
        for verdict in outcome.verdicts:
            said = (verdict.outcome, verdict.action)
            assert verdict.outcome is Says.HOLD or said in would[verdict.subject, verdict.last_pane_ms], verdict


@pytest.mark.parametrize("cut", [40, 137, 260, 330])
def test_after_a_lost_state_no_kpi_is_written_that_was_another_before(cut):
    """But for the seconds until the contexts are heard again, at most ten: all nodes are rest so long (C7)."""
    state = JudgeState(3)
    state.lost = True
    known = {kpi.id: kpi for outcome in uninterrupted() for kpi in outcome.kpis}
    heard_ms, outcomes = 0, []
    for append_ms, record in log()[cut:]:
        outcomes.append(step(state, record, append_ms))
        if isinstance(record, Context) and len(state.contexts) == 5 and not heard_ms:
            heard_ms = append_ms
    compared = [kpi for outcome in outcomes for kpi in outcome.kpis if kpi.start_ms > heard_ms]
    assert len(compared) > 50
    for kpi in compared:
        before = known[kpi.id]
        assert (kpi.requests, kpi.errors, kpi.nodes, kpi.p95_ms) == (before.requests, before.errors, before.nodes, before.p95_ms)


def test_a_lost_state_says_so_until_windows_and_requests_are_met_anew():
    state = JudgeState(3)
    state.lost = True
    cut = next(at for at, (append_ms, _) in enumerate(log()) if append_ms >= log()[0][0] + 62_000)
    outcomes = [step(state, record, append_ms) for append_ms, record in log()[cut:]]
    reasons = [verdict.reason for outcome in outcomes for verdict in outcome.verdicts if verdict.subject == "svc/good"]
    assert Reason.STATE_LOST in reasons
    assert not {Reason.CLEAN, Reason.CLEAN_WITHOUT_BASELINE} & {*reasons}
