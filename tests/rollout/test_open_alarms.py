"""Starts and advances wait for open critical alarms of their service; the fix and every way back do not (D4, D5)."""

import pytest
from msgspec.structs import replace
from tests.rollout.fleet import SHOP, START_MS, Fleet, plan

from tidegate.rollout.advance import blockers
from tidegate.rollout.events import AlarmArrived
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Alarm, AlarmState, Outcome, Severity
from tidegate.wire.plans import Stage, WhenBusy, faults
from tidegate.wire.reasons import Reason

OTHERS = {
    "a warning": {"severity": Severity.WARNING},
    "of another service": {"service": "cart"},
    "decide's own": {"writer": "decide"},
}


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet(nodes=12)
    made.install()
    return made


def tell(fleet: Fleet, state: AlarmState = AlarmState.FIRING, **fields) -> None:
    known = {"id": "a1", "writer": "judge", "name": "slo_burn_fast", "severity": Severity.CRITICAL, "service": "shop"}
    end_ms = fleet.now_ms if state is AlarmState.RESOLVED else 0
    fleet.feed(AlarmArrived(Alarm(state=state, start_ms=START_MS, end_ms=end_ms, **(known | fields))))


def test_amazon_a_plan_waits_for_the_end_of_an_alarm_and_starts_with_it(fleet):
    """Builders' Library, Automating safe hands-off deployments: an active alarm blocks new starts."""
    tell(fleet)
    (accepted,) = fleet.submit(plan("2"))
    assert (accepted.kind, accepted.reason) == (DecisionKind.ACCEPT, Reason.PLAN_QUEUED)
    assert "judge/a1" in accepted.message
    fleet.turn(100)
    assert fleet.state().phase is Phase.DONE
    tell(fleet, AlarmState.RESOLVED)
    assert fleet.state().phase is Phase.RUNNING


def test_a_plan_that_does_not_wait_is_refused_while_an_alarm_is_open(fleet):
    tell(fleet)
    (refused,) = fleet.submit(plan("2", when_busy=WhenBusy.REFUSE))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.ALARM_OPEN)


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_no_other_alarm_stops_anything(fleet, fields):
    tell(fleet, **fields)
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


def test_an_alarm_stops_unreleased_batches_and_nobody_is_blamed_for_the_time_it_took(fleet):
    fleet.submit(plan("2", max_unavailable="2", progress_deadline="60s"))
    fleet.until_stage(2, baking=False)
    released = fleet.state().released
    tell(fleet)
    fleet.turn(300)
    assert (fleet.state().phase, fleet.state().released) == (Phase.RUNNING, released)
    assert Reason.ALARM_OPEN in [reason for reason, _ in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)]
    node = fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]]
    node.slow.add("2")
    node.running.clear()
    fleet.turn(30)
    tell(fleet, AlarmState.RESOLVED)
    fleet.turn(55)
    assert fleet.state().phase is Phase.RUNNING
    fleet.turn(10)
    assert [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK] == [Reason.DEADLINE]


@pytest.mark.parametrize("how", ["fail", "abort", "undo", "fast"])
def test_an_alarm_never_stops_a_way_back(fleet, how):
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE) if how == "fast" else fleet.until(Phase.WATCHING)
    tell(fleet)
    match how:
        case "fail":
            fleet.judge(Outcome.FAIL)
        case "abort":
            fleet.ask(Verb.ABORT)
        case "undo":
            fleet.ask(Verb.UNDO)
        case "fast":
            fleet.submit(plan("1", "2", (Stage(set_weight=100, bake="0s"),), id="back", fast=True))
    fleet.until(Phase.DONE, Phase.WATCHING, seconds=300)
    assert len(fleet.on("1")) == 12


def test_argo_1774_the_fix_of_what_the_alarm_is_about_says_so_and_does_not_wait(fleet):
    tell(fleet)
    fleet.submit(plan("2", despite_alarms=True, reason="fixes the alarm"))
    fleet.until(Phase.DONE)
    assert (fleet.state().result, len(fleet.on("2"))) == (Result.PROMOTED, 12)


def test_the_fix_is_judged_like_any_other(fleet):
    tell(fleet)
    fleet.submit(plan("2", despite_alarms=True, reason="fixes the alarm"))
    fleet.until_stage(1)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    assert len(fleet.on("1")) == 12


def test_who_goes_on_despite_alarms_says_why():
    assert [path for path, _ in faults(plan("2", despite_alarms=True))] == ["despiteAlarms"]
    assert faults(replace(plan("2", despite_alarms=True), reason="fixes it")) == []
