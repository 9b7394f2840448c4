"""Fast plans: back further than undo goes, without the slow path (H2). argo-rollouts 3669, nomad 10882."""

import pytest
from msgspec.structs import replace
from tests.rollout.fleet import SHOP, Fleet, artifact, plan

from tidegate.rollout.history import HISTORY_KEPT
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import AlarmState, Outcome
from tidegate.wire.plans import Pause, Stage, WhenBusy, faults
from tidegate.wire.policies import Freeze, RollbackBudget
from tidegate.wire.reasons import Reason

EVERYONE = (Stage(set_weight=100),)


def fast(version: str, before: str, **fields):
    return plan(version, before, **({"stages": EVERYONE, "fast": True, "id": f"fast-{version}-{before}"} | fields))


@pytest.fixture
def fleet() -> Fleet:
    """1, 2 and 3 were settled one after the other."""
    made = Fleet()
    made.install()
    for version in ("2", "3"):
        made.submit(plan(version, str(int(version) - 1), watch="1s"))
        made.until(Phase.DONE)
    return made


def test_it_goes_back_two_versions_in_batches_without_bake_verdict_or_gate(fleet):
    fleet.outcome = None
    fleet.submit(fast("1", "3", max_unavailable="50%"))
    fleet.until(Phase.WATCHING, seconds=10)
    assert len(fleet.on("1")) == 12
    assert fleet.kinds()[-4:] == ["release", "release", "bake", "watch"]
    fleet.until(Phase.DONE)
    assert [one.version for one in fleet.ledger.history[SHOP]] == ["3", "2"]
    fleet.check_rebuilt()


def test_no_freeze_budget_dwell_or_critical_alarm_stops_it(fleet):
    fleet.policy(freezes=(Freeze(),), rollback_budget=RollbackBudget(rollbacks=1), dwell="1d")
    fleet.alarm(AlarmState.FIRING)
    fleet.submit(fast("1", "3"))
    fleet.until(Phase.WATCHING, seconds=30)
    assert len(fleet.on("1")) == 12


def test_a_policy_that_asks_for_a_second_person_holds_for_it_too(fleet):
    fleet.policy(second_approver=True)
    (queued,) = fleet.submit(fast("1", "3"))
    assert queued.reason is Reason.PLAN_QUEUED


@pytest.mark.parametrize("version", ["4", "9"])
def test_what_never_was_settled_does_not_come_fast(fleet, version):
    (refused,) = fleet.submit(fast(version, "3"))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.NOT_ALLOWED)
    assert "2, 1" in refused.message


def test_other_bytes_under_an_old_name_do_not_come_fast(fleet):
    other = replace(fast("2", "3"), artifact=replace(artifact("2"), sha256="f" * 64))
    assert fleet.submit(other)[0].reason is Reason.NOT_ALLOWED


def test_what_is_quarantined_stays_out(fleet):
    fleet.ask(Verb.UNDO)
    fleet.until(Phase.DONE)
    (refused,) = fleet.submit(fast("3", "2"))
    assert refused.reason is Reason.QUARANTINED


def test_guardrails_judge_it_like_any_other(fleet):
    fleet.submit(fast("1", "3"))
    fleet.until(Phase.WATCHING)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.ROLLED_BACK
    assert len(fleet.on("3")) == 12


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"stages": (Stage(set_nodes=1), Stage(set_weight=100))}, "stages"),
        ({"stages": (Stage(set_weight=100, pause=Pause()),)}, "stages"),
    ],
)
def test_a_fast_plan_with_a_slow_path_is_faulty(fields, path):
    assert path in [at for at, _ in faults(fast("1", "3", **fields))]


def test_a_first_plan_is_not_fast():
    assert "fast" in [at for at, _ in faults(plan("1", None, EVERYONE, fast=True))]


def test_history_is_bounded(fleet):
    for version in range(4, 4 + HISTORY_KEPT + 2):
        fleet.submit(plan(str(version), str(version - 1), EVERYONE, watch="1s"))
        fleet.until(Phase.DONE)
    assert [one.version for one in fleet.ledger.history[SHOP]] == [str(one) for one in range(14, 14 - HISTORY_KEPT, -1)]


@pytest.mark.parametrize("phase", [Phase.WATCHING, Phase.DONE])
def test_a_fast_plan_does_not_wait_behind_what_waits_for_a_freeze(phase):
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    fleet.submit(plan("3", "2", watch="1h"))
    fleet.until(Phase.WATCHING)
    if phase is Phase.DONE:
        fleet.turn(3_700)
    fleet.policy(freezes=(Freeze(),))
    fleet.submit(plan("4", "3"))
    fleet.submit(plan("1", "3", (Stage(set_weight=100),), id="back", fast=True))
    fleet.turn(2)
    assert (fleet.state().rollout, len(fleet.state().queue)) == ("back.1", 1)
    fleet.check_rebuilt()


def test_what_mends_an_incident_does_not_wait_behind_what_waits_for_its_end():
    fleet = Fleet()
    fleet.install()
    fleet.alarm(AlarmState.FIRING)
    fleet.submit(plan("2"))
    fleet.submit(plan("3", id="late"))
    fleet.submit(plan("4", id="fix", despite_alarms=True, reason="it mends what the alarm is about"))
    fleet.turn(2)
    assert fleet.state().rollout == "fix.1"
    assert [fleet.ledger.plans[name].plan.id for name in fleet.state().queue] == ["to-2", "late"]


@pytest.mark.parametrize("when_busy", [WhenBusy.QUEUE, WhenBusy.REFUSE])
def test_a_fast_plan_that_came_while_another_went_back_begins_before_what_a_spent_budget_stops(when_busy):
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    fleet.policy(rollback_budget=RollbackBudget(rollbacks=1))
    fleet.submit(plan("3", "2"))
    fleet.until_stage(0)
    fleet.submit(plan("4", "2", id="later"))
    fleet.judge(Outcome.FAIL)
    back = plan("1", "2", (Stage(set_weight=100),), id="back", fast=True, when_busy=when_busy)
    if when_busy is WhenBusy.REFUSE:
        fleet.until(Phase.DONE)
    fleet.submit(back)
    fleet.until(Phase.RUNNING, Phase.WATCHING)
    assert fleet.state().rollout == "back.1"
    assert [fleet.ledger.plans[name].plan.id for name in fleet.state().queue] == ["later"]
