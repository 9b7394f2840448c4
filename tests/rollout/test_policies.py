"""Policies stop starts and advances, and never a retreat (D4, D5, H3)."""

import pytest
from msgspec.structs import replace
from tests.rollout.fleet import FLEET, SHOP, Fleet, plan
from tests.rollout.test_sharing import shared

from tidegate.rollout.advance import blockers
from tidegate.rollout.alarms import alarms_of
from tidegate.rollout.events import PolicyArrived
from tidegate.rollout.ledger import Retreat
from tidegate.rollout.policies import POLICIES_MAX
from tidegate.rollout.step import wake_at
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Outcome, Severity
from tidegate.wire.plans import GateDefault, Pause, Stage, WhenBusy
from tidegate.wire.policies import Freeze, Policy, Recurring, RollbackBudget
from tidegate.wire.reasons import Reason

BLOCKER = (Freeze(),)


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.install()
    return made


def waits_for(fleet: Fleet) -> set[Reason]:
    return {reason for reason, _ in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)}


def open_alarms(fleet: Fleet) -> set[str]:
    return {alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)}


# What becomes of a policy


def test_a_policy_is_answered_by_one_record_that_holds_its_envelope(fleet):
    decision = fleet.policy(freezes=BLOCKER, reason="incident 7")
    assert (decision.kind, decision.subject, decision.actor) == (DecisionKind.SETTING, "policy/calm", "kim")
    assert "incident 7" in decision.message
    assert fleet.ledger.policies["calm"].policy.freezes == BLOCKER
    fleet.check_rebuilt()


@pytest.mark.parametrize(
    ("fields", "reason", "path"),
    [
        ({"fleet": "other"}, Reason.WRONG_FLEET, "fleet"),
        ({"freezes": (Freeze(from_ms=5, until_ms=4),)}, Reason.BAD_DOCUMENT, "freezes[0].untilMs"),
        ({"issued_ms": 0}, Reason.DUPLICATE, "issuedMs"),
    ],
)
def test_a_faulty_policy_is_refused_with_its_path_and_the_one_in_force_stays(fleet, fields, reason, path):
    fleet.policy(freezes=BLOCKER)
    before = fleet.ledger.policies
    refused = fleet.policy(**({"dwell": "1m"} | fields))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, reason)
    assert refused.message.startswith(f"{path}:")
    assert fleet.ledger.policies == before


def test_an_old_policy_that_is_played_again_lifts_no_freeze(fleet):
    """Whoever may write to the broker has every policy that was ever signed."""
    old = Policy(name="calm", fleet=FLEET, dwell="1m", issued_ms=1)
    fleet.sign(old)
    fleet.sign(Policy(name="calm", fleet=FLEET, freezes=BLOCKER, issued_ms=2))
    assert fleet.sign(old) == ()
    (refused,) = fleet.feed(PolicyArrived(old, b"the same in other bytes", subject="policy/calm"))
    assert refused.reason is Reason.DUPLICATE
    assert fleet.ledger.policies["calm"].policy.freezes == BLOCKER


def test_a_policy_that_was_ended_does_not_come_back(fleet):
    first = Policy(name="calm", fleet=FLEET, freezes=BLOCKER, issued_ms=1)
    fleet.sign(first)
    fleet.sign(Policy(name="calm", fleet=FLEET, issued_ms=2))
    (refused,) = fleet.feed(PolicyArrived(first, b"the same in other bytes", subject="policy/calm"))
    assert refused.reason is Reason.DUPLICATE


def test_ending_what_is_not_in_force_is_refused(fleet):
    assert fleet.policy().reason is Reason.NOTHING_TO_DO


def test_a_policy_sent_under_another_name_is_refused(fleet):
    document = Policy(name="calm", fleet=FLEET, freezes=BLOCKER, issued_ms=1)
    (refused,) = fleet.feed(PolicyArrived(document, b"x", subject="policy/storm"))
    assert refused.reason is Reason.BAD_DOCUMENT
    assert fleet.ledger.policies == {}


def test_policies_are_bounded(fleet):
    for number in range(POLICIES_MAX):
        fleet.policy(f"p{number}", dwell="0s")
    assert fleet.policy("one-more", dwell="0s").reason is Reason.NOT_ALLOWED
    assert fleet.policy("p0", dwell="1s").kind is DecisionKind.SETTING


# Freezes (hawkbit 672, kptdev/kpt 3885)


def test_a_plan_waits_for_the_end_of_a_freeze_and_starts_at_that_time(fleet):
    ends_ms = fleet.now_ms + 3_600_000
    fleet.policy(freezes=(Freeze(until_ms=ends_ms),))
    (accepted,) = fleet.submit(plan("2"))
    assert accepted.reason is Reason.PLAN_QUEUED
    assert "calm" in accepted.message
    assert wake_at(fleet.ledger, fleet.view, fleet.now_ms) == ends_ms
    fleet.turn(3_599)
    assert fleet.state().phase is Phase.DONE
    fleet.turn()
    assert fleet.state().phase is Phase.RUNNING


def test_a_plan_that_does_not_wait_is_refused_in_a_freeze(fleet):
    fleet.policy(freezes=BLOCKER)
    (refused,) = fleet.submit(plan("2", when_busy=WhenBusy.REFUSE))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.FROZEN)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_blocker_stops_every_advance_until_it_is_lifted(fleet, stage):
    fleet.submit(plan("2"))
    fleet.until_stage(stage)
    fleet.policy(freezes=BLOCKER)
    fleet.turn(300)
    assert (fleet.state().stage, fleet.state().phase) == (stage, Phase.RUNNING)
    assert Reason.FROZEN in waits_for(fleet)
    fleet.policy()
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


def test_a_freeze_stops_unreleased_batches_and_nobody_is_blamed_for_the_time_it_took(fleet):
    fleet.submit(plan("2", max_unavailable="2", progress_deadline="60s"))
    fleet.until_stage(2, baking=False)
    released = fleet.state().released
    fleet.policy(freezes=BLOCKER)
    fleet.turn(300)
    assert fleet.state().released == released
    node = fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]]
    node.slow.add("2")
    node.running.clear()
    fleet.turn(30)
    fleet.policy()
    fleet.turn(55)
    assert fleet.state().phase is Phase.RUNNING
    fleet.turn(10)
    assert [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK] == [Reason.DEADLINE]


@pytest.mark.parametrize("how", ["fail", "abort", "undo"])
def test_a_freeze_never_stops_a_way_back(fleet, how):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING) if how == "undo" else fleet.until_stage(1)
    fleet.policy(freezes=BLOCKER)
    match how:
        case "fail":
            fleet.judge(Outcome.FAIL)
        case "abort":
            fleet.ask(Verb.ABORT)
        case "undo":
            fleet.ask(Verb.UNDO)
    fleet.until(Phase.DONE, seconds=60)
    assert len(fleet.on("1")) == 12


def test_a_gate_that_times_out_in_a_freeze_promotes_only_after_it(fleet):
    gate = Pause(duration="10s", default=GateDefault.PROMOTE)
    fleet.submit(plan("2", stages=(Stage(set_nodes=1, bake="5s", min_requests=1, pause=gate), Stage(set_weight=100))))
    fleet.until_stage(0)
    fleet.policy(freezes=BLOCKER)
    fleet.turn(100)
    assert fleet.state().stage == 0
    fleet.policy()
    fleet.turn(100)
    assert fleet.state().stage == 1


def test_a_freeze_of_another_service_stops_nothing(fleet):
    fleet.policy(freezes=BLOCKER, services=("till",))
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    assert len(fleet.on("2")) == 12


def test_a_weekly_freeze_holds_each_week(fleet):
    """The fleet's time begins on a Tuesday at 22:13 UTC."""
    fleet.policy(freezes=(Freeze(recurring=Recurring(start="tue 22:00", end="tue 23:00")),))
    fleet.submit(plan("2"))
    fleet.turn(60)
    assert fleet.state().phase is Phase.DONE
    wake_ms = wake_at(fleet.ledger, fleet.view, fleet.now_ms)
    assert wake_ms is not None
    assert 0 < wake_ms - fleet.now_ms <= 3_600_000
    fleet.now_ms = wake_ms
    fleet.turn()
    assert fleet.state().phase is Phase.RUNNING


def test_a_retry_in_a_freeze_is_refused_with_its_name(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    fleet.policy(freezes=BLOCKER)
    refused = fleet.ask(Verb.RETRY)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.FROZEN)


def test_a_plan_that_can_never_fit_is_refused_in_a_freeze_at_once(fleet):
    fleet.policy(freezes=BLOCKER)
    assert fleet.submit(plan("2", "0"))[0].reason is Reason.WRONG_ROLLBACK_TARGET


# Budgets (D5)


def rolled_back(fleet: Fleet, version: str) -> None:
    fleet.submit(plan(version))
    fleet.until_stage(0)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)


def test_with_the_last_rollback_of_a_budget_nothing_starts_and_someone_is_paged(fleet):
    fleet.policy(rollback_budget=RollbackBudget(rollbacks=2, within="1h"))
    rolled_back(fleet, "2")
    assert "rollback_budget_spent" not in open_alarms(fleet)
    rolled_back(fleet, "3")
    alarm = next(one for one in alarms_of(fleet.ledger, fleet.view, fleet.now_ms) if one.name == "rollback_budget_spent")
    assert alarm.severity is Severity.CRITICAL
    assert "2 rollbacks within 1h (shop)" in alarm.summary
    (queued,) = fleet.submit(plan("4"))
    assert queued.reason is Reason.PLAN_QUEUED
    fleet.turn(60)
    assert fleet.state().phase is Phase.DONE


def test_a_spent_budget_stops_the_advances_of_a_rollout_under_way_and_not_its_rollback():
    fleet = Fleet(nodes=12, services=("shop", "till"))
    for service in fleet.services:
        first = plan("1", None, (Stage(set_weight=100, bake="0s"),), id=f"{service}-1", service=service, watch="1s")
        fleet.submit(first)
        fleet.until(Phase.DONE, subject=f"svc/{service}")
    fleet.policy(rollback_budget=RollbackBudget(rollbacks=1))
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.submit(plan("2", id="till-2", service="till"))
    for _ in range(100):
        fleet.turn()
        if fleet.state("svc/till").baking_since_ms:
            break
    fleet.judge(Outcome.FAIL, "svc/till")
    fleet.turn(100)
    assert (fleet.state().stage, fleet.state().phase) == (0, Phase.RUNNING)
    assert Reason.BUDGET_SPENT in waits_for(fleet)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE, seconds=30)
    assert fleet.state().result is Result.ROLLED_BACK


def test_a_budget_comes_back_with_time_and_at_once_when_its_policy_is_signed_anew(fleet):
    budget = RollbackBudget(rollbacks=1, within="10m")
    fleet.policy(rollback_budget=budget)
    rolled_back(fleet, "2")
    fleet.submit(plan("3"))
    assert fleet.state().phase is Phase.DONE
    fleet.policy(rollback_budget=budget)
    assert fleet.state().phase is Phase.RUNNING
    fleet.until_stage(0)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    fleet.submit(plan("4"))
    fleet.turn(580)
    assert fleet.state().phase is Phase.DONE
    fleet.turn(20)
    assert fleet.state().phase is Phase.RUNNING


def test_what_a_person_aborts_costs_no_budget(fleet):
    fleet.policy(rollback_budget=RollbackBudget(rollbacks=1))
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    fleet.submit(plan("3"))
    assert fleet.state().phase is Phase.RUNNING


# Dwell


def test_a_service_rests_between_rollouts(fleet):
    fleet.policy(dwell="30m")
    rolled_back(fleet, "2")
    ended_ms = fleet.now_ms
    fleet.submit(plan("3"))
    assert fleet.state().phase is Phase.DONE
    wake_ms = wake_at(fleet.ledger, fleet.view, fleet.now_ms)
    assert wake_ms is not None
    assert wake_ms - ended_ms <= 1_800_000
    fleet.turn(1_795)
    assert fleet.state().phase is Phase.DONE
    fleet.turn(6)
    assert fleet.state().phase is Phase.RUNNING


def test_a_service_that_oscillates_is_changed_at_most_once_in_each_dwell(fleet):
    """A plan after every rollback, as a pipeline that retries for ever sends them."""
    fleet.policy(dwell="10m")
    begun = fleet.now_ms
    for number in range(200):
        if fleet.state().phase is Phase.DONE and not fleet.state().queue:
            fleet.submit(plan(str(number + 2)))
        fleet.turn(10)
        if fleet.state().baking_since_ms and fleet.state().phase is Phase.RUNNING:
            fleet.judge(Outcome.FAIL)
    starts = fleet.kinds().count("start") - 1
    assert 2 <= starts <= (fleet.now_ms - begun) // 600_000 + 1


@pytest.mark.parametrize("how", ["freeze", "budget", "narrowed"])
def test_whatever_held_a_stage_up_nobody_is_blamed_for_the_time_it_took(how):
    """The false rollback would spend the very budget that has just come back."""
    fleet = shared()
    if how == "budget":
        fleet.policy(rollback_budget=RollbackBudget(rollbacks=1, within="30m"))
        fleet.submit(plan("2", id="till-2", service="till", control="none"))
        while not fleet.state("svc/till").baking_since_ms:
            fleet.turn()
    stages = (Stage(set_nodes=6, bake="10s", min_requests=10), Stage(set_weight=100, bake="10s", min_requests=10))
    fleet.submit(plan("2", stages=stages, max_unavailable="2", control="none"))
    while fleet.state().released < 2:
        fleet.turn()
    if how == "budget":
        fleet.judge(Outcome.FAIL, "svc/till")
    elif how == "freeze":
        fleet.policy(freezes=(Freeze(until_ms=fleet.now_ms + 1_800_000),))
    else:
        fleet.policy(freezes=(Freeze(),), services=("shop", "till"))
    fleet.turn(1_620)
    canary = fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]]
    canary.slow.add("2")
    del canary.running["shop"]
    fleet.turn(180)
    if how == "narrowed":
        fleet.policy(freezes=(Freeze(),), services=("till",))
    fleet.turn(590)
    assert fleet.state().phase is Phase.RUNNING, "ten minutes from the end of what held it up"
    fleet.turn(20)
    assert fleet.state().result is Result.ROLLED_BACK


def test_a_recurring_freeze_that_is_long_over_puts_no_deadline_off(fleet):
    nightly = Recurring(start="23:00", end="07:00")
    fleet.policy(freezes=(Freeze(from_ms=1, until_ms=fleet.now_ms - 1_000_000_000, recurring=nightly),))
    fleet.submit(plan("2", progress_deadline="20h"))
    fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]].slow.add("2")
    for _ in range(21 * 60):
        fleet.now_ms += 59_000
        fleet.turn()
    assert fleet.state().result is Result.ROLLED_BACK


@pytest.mark.parametrize("how", ["another's policy", "a budget that is never spent"])
def test_what_holds_nothing_up_puts_no_deadline_off(how):
    fleet = shared()
    if how != "another's policy":
        fleet.policy(rollback_budget=RollbackBudget(rollbacks=50, within="7d"))
    fleet.submit(plan("2", control="none"))
    fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]].slow.add("2")
    began_ms, number = fleet.now_ms, 0
    while fleet.state().phase is Phase.RUNNING and fleet.now_ms - began_ms < 1_800_000:
        fleet.turn(240)
        number += 1
        if how == "another's policy":
            fleet.policy(reason=f"again {number}", freezes=(Freeze(),), services=("till",))
        else:
            fleet.ledger = replace(fleet.ledger, retreats=(*fleet.ledger.retreats, Retreat(fleet.now_ms, "svc/till")))
    assert fleet.now_ms - began_ms < 900_000
