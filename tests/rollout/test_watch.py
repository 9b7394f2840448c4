"""What a plan does to the watch of the version before it (D6): one that may start ends it, one that only waits does not."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan
from tests.rollout.waves import Mortal

from tidegate.rollout.acceptance import waiting
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import KeyRole, Phase, PublicKey, Verb
from tidegate.wire.judgement import AlarmState, Outcome
from tidegate.wire.plans import Action, Stage, WhenBusy
from tidegate.wire.policies import Freeze, RollbackBudget
from tidegate.wire.reasons import Reason

CART = "svc/cart"
WAITS = ["alarm", "freeze", "dwell", "budget", "second approver", "nodes of another rollout"]
BEN = PublicKey(id="ben-key", role=KeyRole.OPERATOR, public="0" * 64)


def watching(kind: type[Fleet] = Fleet) -> Fleet:
    """Version 2 of shop is everywhere and watched for an hour; cart shares its nodes."""
    fleet = kind(services=("shop", "cart"))
    fleet.install()
    fleet.submit(plan("1", None, (Stage(set_weight=100, bake="0s"),), id="cart-1", service="cart", watch="1s"))
    fleet.until(Phase.DONE, subject=CART)
    fleet.submit(plan("2", watch="1h"))
    fleet.until(Phase.WATCHING)
    return fleet


def held(why: str, kind: type[Fleet] = Fleet) -> Fleet:
    """The same, and something makes every plan of shop wait."""
    fleet = watching(kind)
    cart = plan("2", id="cart-2", service="cart", stages=(Stage(set_weight=100, bake="1h"),))
    match why:
        case "alarm":
            fleet.alarm(AlarmState.FIRING)
        case "freeze":
            fleet.policy(freezes=(Freeze(),))
        case "dwell":
            fleet.policy(dwell="5m")
        case "budget":
            fleet.policy(rollback_budget=RollbackBudget(rollbacks=1, within="3m"))
            fleet.submit(cart)
            fleet.turn(2)
            fleet.judge(Outcome.FAIL, CART)
            fleet.until(Phase.DONE, subject=CART)
        case "second approver":
            fleet.policy(second_approver=True)
        case "nodes of another rollout":
            fleet.submit(cart)
            fleet.turn(2)
    return fleet


def queued(fleet: Fleet, version: str = "3", before: str = "2", **fields) -> None:
    (accepted,) = fleet.submit(plan(version, before, actor="ada", **fields), "ada-key")
    assert (accepted.kind, accepted.reason) == (DecisionKind.ACCEPT, Reason.PLAN_QUEUED)


def freed(fleet: Fleet, why: str) -> None:
    """What made plans wait is over."""
    match why:
        case "alarm":
            fleet.alarm(AlarmState.RESOLVED)
        case "freeze":
            fleet.policy()
        case "dwell" | "budget":
            while fleet.state().phase is Phase.WATCHING and fleet.now_ms - fleet.state().watch_ms < 600_000:
                fleet.turn()
        case "second approver":
            fleet.ask(Verb.APPROVE, target="to-3", actor="ben", key=BEN)
        case "nodes of another rollout":
            fleet.ask(Verb.ABORT, CART)
            fleet.until(Phase.DONE, subject=CART)


@pytest.mark.parametrize("why", WAITS)
def test_a_plan_that_only_waits_ends_no_watch_and_a_fail_goes_back_still(why):
    fleet = held(why)
    queued(fleet)
    fleet.turn(5)
    assert fleet.state().phase is Phase.WATCHING
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.ROLLED_BACK
    assert len(fleet.on("1")) == 12
    fleet.check_rebuilt()


@pytest.mark.parametrize("why", WAITS)
def test_a_plan_that_came_in_a_watch_ends_it_once_nothing_makes_it_wait_any_more(why):
    fleet = held(why)
    queued(fleet)
    freed(fleet, why)
    at = next(at for at, one in enumerate(fleet.decisions) if one.reason is Reason.SUPERSEDED)
    ended, begun = fleet.decisions[at : at + 2]
    assert (ended.kind, ended.state.result, ended.part) == (DecisionKind.COMPLETE, Result.SUPERSEDED, True)
    assert (begun.kind, begun.state.rollout, begun.state.settled.version) == (DecisionKind.START, "to-3.1", "2")
    fleet.until(Phase.WATCHING)
    fleet.check_rebuilt()


@pytest.mark.parametrize("why", WAITS)
def test_what_a_plan_behind_a_watch_waits_for_is_told_and_not_the_watch(why):
    fleet = held(why)
    queued(fleet)
    assert "watching" not in waiting(fleet.ledger, fleet.view, SHOP, fleet.now_ms)
    assert waiting(fleet.ledger, fleet.view, SHOP, fleet.now_ms) in fleet.last().message


def test_a_plan_that_came_before_the_watch_waits_for_its_end():
    """Nobody is looking on when it starts."""
    fleet = watching()
    fleet.submit(plan("3", "2"))
    fleet.until_stage(0)
    fleet.submit(plan("4", "3"))
    fleet.until(Phase.WATCHING)
    queued(fleet, "5", "4")
    watched_from = fleet.now_ms
    while fleet.state().rollout == "to-3.1":
        fleet.turn()
    assert fleet.now_ms - watched_from >= 60_000
    fleet.until(Phase.WATCHING)
    fleet.turn(30)
    assert (fleet.state().rollout, fleet.state().phase) == ("to-4.1", Phase.WATCHING), "to-5 came in the watch of another"


def test_a_plan_that_refuses_to_be_queued_is_refused_for_what_it_would_wait_for_and_the_watch_goes_on():
    fleet = held("freeze")
    (refused,) = fleet.submit(plan("3", "2", when_busy=WhenBusy.REFUSE))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.FROZEN)
    assert fleet.state().phase is Phase.WATCHING


def test_who_refuses_to_be_queued_may_be_approved_of_while_the_version_before_is_watched():
    fleet = held("second approver")
    queued(fleet, when_busy=WhenBusy.REFUSE)
    freed(fleet, "second approver")
    assert fleet.state().rollout == "to-3.1"


def test_a_watch_that_is_paused_is_not_superseded_before_it_goes_on():
    fleet = held("freeze")
    queued(fleet)
    fleet.judge(Outcome.FAIL, action=Action.PAUSE)
    freed(fleet, "freeze")
    fleet.turn(5)
    assert fleet.state().phase is Phase.PAUSED
    fleet.ask(Verb.RESUME)
    assert fleet.state().rollout == "to-3.1"


def test_a_plan_behind_a_watch_that_goes_back_is_refused_for_its_ground():
    fleet = held("freeze")
    queued(fleet)
    fleet.ask(Verb.UNDO)
    freed(fleet, "freeze")
    fleet.until(Phase.DONE)
    assert fleet.state().queue == ()
    assert fleet.state().settled.version == "1"


def test_a_plan_that_expired_behind_a_watch_does_not_end_it():
    fleet = held("freeze")
    queued(fleet, expires_ms=fleet.now_ms + 60_000)
    fleet.turn(61)
    freed(fleet, "freeze")
    fleet.turn(5)
    assert fleet.state().phase is Phase.WATCHING


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_author_that_dies_while_it_supersedes_a_watch_leaves_it_to_the_next_one(number):
    fleet = held("freeze", Mortal)
    queued(fleet)
    fleet.dies_at = {len(fleet.records) + number}
    freed(fleet, "freeze")
    fleet.turn()
    assert (fleet.state().rollout, fleet.state().settled.version) == ("to-3.1", "2")
    fleet.check_rebuilt()
