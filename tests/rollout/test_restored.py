"""After a restore nothing goes forward before a person has spoken; ways back go on."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.rollout.levels import desired_of
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Move, Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.reasons import Reason


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet(nodes=12)
    made.install()
    made.turn()
    return made


def bring(fleet: Fleet, where: str) -> None:
    fleet.submit(plan("2"))
    match where:
        case "before its first batch":
            pass
        case "baking":
            fleet.until_stage(1)
        case "paused":
            fleet.until_stage(1)
            fleet.ask(Verb.PAUSE)
        case "silent":
            fleet.until_stage(1)
            fleet.judge(Outcome.FAIL, reason=Reason.SILENT, action="pause")
        case "watching":
            fleet.until(Phase.WATCHING)
    fleet.now_ms += 86_400_000 // 2  # the archive is of half a day ago


@pytest.mark.parametrize("where", ["before its first batch", "baking", "paused", "silent", "watching"])
def test_a_rollout_under_way_comes_back_paused_and_its_command_names_nobody(fleet, where):
    bring(fleet, where)
    before = fleet.versions()
    fleet.restore()
    fleet.turn()
    assert (fleet.state().phase, fleet.state().paused_reason) == (Phase.PAUSED, Reason.RESTORED)
    command = desired_of(fleet.ledger, SHOP, 1, "test")
    assert (command.move, command.cohorts, command.settled, command.newcomers, command.prefetch) == (
        Move.HOLD,
        (),
        None,
        None,
        False,
    )
    fleet.turn(1_000)
    assert fleet.versions() == before
    fleet.check_rebuilt()


def test_nodes_that_went_back_after_the_archive_are_not_sent_forward_again(fleet):
    """A rollback that the archive does not know: the canaries run the old version, and keep it."""
    bring(fleet, "baking")
    for node in fleet.nodes.values():
        node.running["shop"] = fleet.state().settled
    fleet.restore()
    fleet.turn(1_000)
    assert fleet.on("2") == []


@pytest.mark.parametrize("where", ["baking", "watching"])
def test_a_person_resumes_and_it_goes_on_where_it_was(fleet, where):
    bring(fleet, where)
    stage, watch_ms = fleet.state().stage, fleet.state().watch_ms
    fleet.restore()
    fleet.turn(100)
    assert fleet.ask(Verb.RESUME).kind is DecisionKind.RESUME
    fleet.turn(8)
    assert (fleet.state().stage, fleet.state().watch_ms) == (stage, watch_ms)
    assert fleet.state().phase is not Phase.PAUSED
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


@pytest.mark.parametrize("how", ["abort", "fail"])
def test_what_takes_it_back_waits_for_nobody(fleet, how):
    bring(fleet, "baking")
    fleet.restore()
    if how == "abort":
        fleet.ask(Verb.ABORT)
    else:
        fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE, seconds=60)
    fleet.turn(3)
    assert len(fleet.on("1")) == 12


def test_a_rollback_under_way_goes_on(fleet):
    bring(fleet, "baking")
    slow = fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]]
    slow.away = True
    fleet.judge(Outcome.FAIL)
    fleet.restore()
    slow.away = False
    fleet.until(Phase.DONE, seconds=200)
    fleet.turn(3)
    assert len(fleet.on("1")) == 12


def test_a_plan_of_before_does_not_begin_and_one_signed_since_does(fleet):
    fleet.submit(plan("2", issued_ms=fleet.now_ms))
    fleet.submit(plan("3", "1", issued_ms=fleet.now_ms))  # waits for it
    fleet.now_ms += 1_000
    fleet.restore()
    unread = fleet.submit(plan("4", "1", issued_ms=fleet.now_ms - 1))[0]
    assert (unread.kind, unread.reason) == (DecisionKind.REFUSE, Reason.RESTORED)
    fleet.turn()
    fleet.ask(Verb.ABORT, target="to-2")
    fleet.turn(10)
    waited = [one for one in fleet.decisions if one.kind is DecisionKind.REFUSE and one.reason is Reason.RESTORED]
    assert [one.message.partition(":")[0] for one in waited] == ["issuedMs", "Plan to-3 waited and cannot start"]
    assert fleet.state().phase is Phase.DONE
    fleet.submit(plan("5", issued_ms=fleet.now_ms))
    fleet.until(Phase.DONE)
    assert len(fleet.on("5")) == 12


@pytest.mark.parametrize("verb", [Verb.RESUME, Verb.RETRY])
def test_what_was_asked_before_and_goes_forward_is_refused_and_may_be_asked_again(fleet, verb):
    bring(fleet, "baking")
    fleet.ask(Verb.PAUSE if verb is Verb.RESUME else Verb.ABORT)
    fleet.turn(5)
    fleet.restore()
    fleet.turn(5)
    fleet.now_ms -= 5_001
    refused = fleet.ask(verb)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.RESTORED)
    fleet.now_ms += 5_001
    assert fleet.ask(verb).kind in (DecisionKind.RESUME, DecisionKind.START)


def test_a_second_restore_asks_again(fleet):
    bring(fleet, "baking")
    for _ in range(2):
        fleet.restore()
        fleet.turn(2)
        assert fleet.state().paused_reason is Reason.RESTORED
        fleet.ask(Verb.RESUME)
        fleet.turn(5)
        assert fleet.state().phase is Phase.RUNNING
