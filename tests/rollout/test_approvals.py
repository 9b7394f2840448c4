"""The second approver (H3): who else must say yes, and whose yes does not count."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import KeyRole, Phase, PublicKey, Verb
from tidegate.wire.plans import WhenBusy
from tidegate.wire.reasons import Reason


def key(name: str, role: KeyRole = KeyRole.OPERATOR) -> PublicKey:
    return PublicKey(id=name, role=role, public="0" * 64)


@pytest.fixture
def fleet() -> Fleet:
    """A plan of ada, signed with her key, waits for somebody else's word."""
    made = Fleet()
    made.install()
    made.policy("four-eyes", second_approver=True)
    (queued,) = made.submit(plan("2", actor="ada"), "ada-key")
    assert queued.reason is Reason.PLAN_QUEUED
    assert "rollout approve shop to-2" in queued.message
    made.turn(60)
    assert made.state().phase is Phase.DONE
    return made


def approve(fleet: Fleet, **fields):
    return fleet.ask(Verb.APPROVE, **({"target": "to-2", "actor": "bob", "key": key("bob-key")} | fields))


def test_a_plan_begins_with_the_word_of_somebody_else_and_the_record_names_their_key(fleet):
    decision = approve(fleet)
    assert (decision.kind, decision.actor, decision.facts["key"]) == (DecisionKind.SETTING, "bob", "bob-key")
    assert fleet.state().phase is Phase.RUNNING
    fleet.check_rebuilt()


@pytest.mark.parametrize(
    "fields",
    [
        {"actor": "ada"},
        {"actor": "ada", "key": key("ada-key")},
        {"actor": "bob", "key": key("ada-key")},
        {"actor": "ada", "key": key("api", KeyRole.API)},
    ],
)
def test_self_approval_is_refused_under_whatever_name_or_key(fleet, fields):
    refused = approve(fleet, **fields)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.NOT_ALLOWED)
    fleet.turn(10)
    assert fleet.state().phase is Phase.DONE


def test_an_approval_is_of_one_plan_and_no_other(fleet):
    fleet.submit(plan("3", "2", actor="ada"), "ada-key")
    approve(fleet)
    fleet.until(Phase.WATCHING)
    fleet.until(Phase.DONE)
    fleet.turn(60)
    assert len(fleet.on("2")) == 12
    assert fleet.state().queue


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"target": "to-9"}, Reason.UNKNOWN), ({"target": ""}, Reason.UNKNOWN), ({"generation": 1}, Reason.STALE_GENERATION)],
)
def test_an_approval_of_nothing_or_of_what_was_not_seen_is_refused(fleet, fields, reason):
    assert approve(fleet, **fields).reason is reason
    assert fleet.state().approved == ()


def test_a_second_approval_is_refused_as_needless_while_a_freeze_holds_the_plan(fleet):
    fleet.submit(plan("3", "2", actor="ada", second_approver=True), "ada-key")
    assert approve(fleet, target="to-3").kind is DecisionKind.SETTING
    assert approve(fleet, target="to-3").reason is Reason.NOTHING_TO_DO


def test_what_was_approved_may_be_retried(fleet):
    approve(fleet)
    fleet.until_stage(0)
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    assert fleet.ask(Verb.RETRY).kind is DecisionKind.START


def test_the_plan_itself_may_ask_for_it_and_then_waits_even_where_it_refuses_to_queue():
    fleet = Fleet()
    fleet.install()
    (queued,) = fleet.submit(plan("2", actor="ada", second_approver=True, when_busy=WhenBusy.REFUSE), "ada-key")
    assert queued.reason is Reason.PLAN_QUEUED
    approve(fleet)
    assert fleet.state().phase is Phase.RUNNING


def test_a_way_back_needs_nobodys_word(fleet):
    approve(fleet)
    fleet.until(Phase.WATCHING)
    fleet.ask(Verb.UNDO, SHOP, actor="ada")
    fleet.until(Phase.DONE)
    assert len(fleet.on("1")) == 12
