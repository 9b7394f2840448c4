"""Timers are data: sleeping until ``wake_at`` misses nothing, and what is published is the same at any time."""

import pytest
from tests.rollout.fleet import FLEET, SHOP, Fleet, plan, wake_at

from tidegate.rollout.events import Tick
from tidegate.rollout.levels import desired_of
from tidegate.wire.codec import encode
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Move, Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import GateDefault, Pause, Stage
from tidegate.wire.reasons import Reason


def slept(fleet: Fleet, seconds: int) -> list[int]:
    """Let time pass in silence: every second a Tick that may do nothing before ``wake_at``; return when something was done."""
    done = []
    wake = wake_at(fleet.ledger, fleet.view, fleet.now_ms)
    for _ in range(seconds):
        fleet.now_ms += 1_000
        if fleet.feed(Tick()):
            assert wake is not None
            assert fleet.now_ms >= wake, "something was due before the time to wake"
            done.append(fleet.now_ms)
        if wake is not None and fleet.now_ms >= wake:
            wake = wake_at(fleet.ledger, fleet.view, fleet.now_ms)
    return done


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.install()
    return made


def test_a_watch_ends_at_the_time_to_wake(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    assert len(slept(fleet, 70)) == 1
    assert fleet.state().phase is Phase.DONE


def test_a_gate_ends_at_the_time_to_wake(fleet):
    gate = Pause(duration="20s", default=GateDefault.ROLLBACK)
    fleet.submit(plan("2", stages=(Stage(set_nodes=1, bake="5s", min_requests=1, pause=gate), Stage(set_weight=100))))
    fleet.until_stage(0)
    fleet.turn(8)
    slept(fleet, 25)
    assert fleet.last().reason is Reason.GATE_TIMED_OUT


def test_a_fleet_that_falls_silent_ends_at_the_deadline_with_no_other_news(fleet):
    fleet.submit(plan("2", progress_deadline="3m", stages=(Stage(set_nodes=1, bake="10s"), Stage(set_weight=100))))
    fleet.until_stage(0)
    slept(fleet, 700)
    assert [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK] == [Reason.DEADLINE]


def test_a_retreat_of_nodes_that_fall_silent_ends_at_the_time_to_wake(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    fleet.judge(Outcome.FAIL)
    slept(fleet, 95)
    assert (fleet.state().phase, len(fleet.state().missing)) == (Phase.DONE, 12)


def test_nothing_is_due_where_nothing_is_under_way(fleet):
    assert wake_at(fleet.ledger, fleet.view, fleet.now_ms) is None


def test_levels_do_not_depend_on_when_they_are_published(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    desired, context = encode(desired_of(fleet.ledger, SHOP, 1, FLEET)), fleet.context()
    fleet.now_ms += 5_000
    fleet.feed(Tick())
    assert encode(desired_of(fleet.ledger, SHOP, 1, FLEET)) == desired
    assert fleet.context() == context


def test_only_an_advance_expires_and_it_does_at_the_progress_deadline_after_its_decision(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    desired = desired_of(fleet.ledger, SHOP, 1, FLEET)
    assert (desired.move, desired.expires_ms - desired.issued_ms) == (Move.ADVANCE, 600_000)
    assert desired.issued_ms == fleet.last().now_ms
    for phase in (Phase.PAUSED, Phase.ROLLING_BACK, Phase.DONE):
        if phase is Phase.PAUSED:
            fleet.ask(Verb.PAUSE)
        elif phase is Phase.ROLLING_BACK:
            fleet.ask(Verb.ABORT)
        else:
            fleet.until(phase)
        assert desired_of(fleet.ledger, SHOP, 1, FLEET).expires_ms == 0


def test_a_queued_plan_prolongs_no_advance(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    before = desired_of(fleet.ledger, SHOP, 1, FLEET)
    fleet.now_ms += 3_000
    fleet.submit(plan("3", "2"))
    after = desired_of(fleet.ledger, SHOP, 1, FLEET)
    assert after.generation == before.generation + 1
    assert (after.expires_ms, after.reason) == (before.expires_ms, before.reason)


def test_a_plan_may_expire_once_its_version_is_everywhere(fleet):
    fleet.submit(plan("2", stages=(Stage(set_weight=100, bake="60s"),), max_unavailable="100%", expires_ms=fleet.now_ms + 30_000))
    fleet.until(Phase.WATCHING)
    assert fleet.now_ms > fleet.ledger.plans[fleet.state().plan_digest].plan.expires_ms
