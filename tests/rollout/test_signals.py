"""A signal pauses a rollout and lifts itself; a fail that a person has to decide about is not lifted with it (D5)."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan
from tests.rollout.waves import NAME, group, installed, state

from tidegate.rollout.breakglass import intent_of
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import BreakGlass, GlassAction, KeyRole, Phase, PublicKey, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

SIGNALS = (Reason.SILENT, Reason.ENVIRONMENT, Reason.EVIDENCE)


def stopped_by(signal: Reason, **fields) -> Fleet:
    """A fleet whose rollout bakes its second stage and is paused for a signal that lifts itself."""
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2", **fields))
    fleet.until_stage(1)
    fleet.judge(Outcome.FAIL, action=Action.PAUSE, reason=signal)
    assert (fleet.state().phase, fleet.state().paused_reason) == (Phase.PAUSED, signal)
    return fleet


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(("fields", "action"), [({}, Action.PAUSE), ({"on_fail": Action.PAUSE}, Action.ROLLBACK)])
def test_a_fail_for_a_person_is_not_overruled_by_the_end_of_a_signal(signal, fields, action):
    fleet = stopped_by(signal, **fields)
    (record,) = fleet.judge(Outcome.FAIL, action=action)
    assert (record.kind, record.reason) == (DecisionKind.PAUSE, Reason.LIMIT_BROKEN)
    fleet.judge(Outcome.FAIL, action=Action.PAUSE, reason=signal)  # once more, after it
    fleet.turn(120)
    assert (fleet.state().stage, fleet.state().paused_reason) == (1, Reason.LIMIT_BROKEN)
    assert fleet.last() == record
    fleet.ask(Verb.RESUME)
    fleet.until_stage(2)
    fleet.check_rebuilt()


def pauses(fleet: Fleet, how: str) -> Decision:
    """A person stops it, past the decision agent or through it."""
    if how == "asked":
        return fleet.ask(Verb.PAUSE, generation=0)
    fields = {"root_version": 1, "actor": "lee", "reason": "look at it first", "issued_ms": fleet.now_ms}
    glass = BreakGlass(
        id="g1", fleet="test", subject=SHOP, generation=fleet.state().generation, action=GlassAction.PAUSE, **fields
    )
    key = PublicKey(id="glass", role=KeyRole.BREAKGLASS, public="0" * 64)
    (answer,) = fleet.feed(intent_of(glass, key, fleet.ledger, fleet.now_ms))
    return answer


@pytest.mark.parametrize("how", ["asked", "break-glass"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_what_a_person_pauses_is_not_let_go_by_the_end_of_a_signal(signal, how):
    fleet = stopped_by(signal)
    before = fleet.state().generation
    answer = pauses(fleet, how)
    assert (answer.kind, answer.reason, answer.generation) == (DecisionKind.PAUSE, Reason.ASKED, before + 1)
    fleet.turn(120)
    assert fleet.last() == answer
    fleet.ask(Verb.RESUME)
    fleet.until_stage(2)
    fleet.check_rebuilt()


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_watch_that_a_signal_has_paused_is_paused_by_a_person_as_well(signal):
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2", watch="1h"))
    fleet.until(Phase.WATCHING)
    fleet.judge(Outcome.FAIL, action=Action.PAUSE, reason=signal)
    assert pauses(fleet, "asked").kind is DecisionKind.PAUSE
    fleet.turn(120)
    assert fleet.state().phase is Phase.PAUSED
    fleet.ask(Verb.RESUME)
    assert fleet.state().phase is Phase.WATCHING


def test_what_waits_for_a_person_already_is_not_paused_once_more():
    fleet = stopped_by(Reason.SILENT)
    pauses(fleet, "asked")
    assert fleet.ask(Verb.PAUSE).reason is Reason.NOTHING_TO_DO
    fleet.ask(Verb.RESUME)
    fleet.judge(Outcome.FAIL, action=Action.PAUSE)
    assert fleet.ask(Verb.PAUSE).reason is Reason.NOTHING_TO_DO
    assert fleet.state().paused_reason is Reason.LIMIT_BROKEN


def test_a_group_that_is_paused_holds_a_member_whose_signal_is_over():
    fleet = installed("a", "b")
    fleet.submit_group(group(fleet, ["a"], ["b"]))
    while fleet.state("svc/a").released == 0:
        fleet.turn()
    fleet.judge(Outcome.FAIL, "svc/a", action=Action.PAUSE, reason=Reason.SILENT)
    assert fleet.ask(Verb.PAUSE, NAME).kind is DecisionKind.PAUSE
    fleet.turn(60)
    assert (fleet.state("svc/a").phase, fleet.state("svc/a").stage) == (Phase.RUNNING, 0)
    assert state(fleet).phase is Phase.PAUSED
    assert fleet.state("svc/b").phase is Phase.DONE


@pytest.mark.parametrize("last", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_two_signals_lift_themselves_once_both_are_over(first, last):
    """A burn, then one server silent for three seconds: it was paused for ever."""
    fleet = stopped_by(first)
    assert fleet.judge(Outcome.FAIL, action=Action.PAUSE, reason=last) == (), "a second one is no record"
    needs = {Reason.SILENT: (5, Reason.REPORTING_AGAIN), Reason.ENVIRONMENT: (30, Reason.BURNED_OUT)}
    needs[Reason.EVIDENCE] = (60, Reason.EVIDENCE_FADED)
    fleet.turn(max(needs[first][0], needs[last][0]) - 1)
    assert (fleet.state().phase, fleet.state().paused_reason) == (Phase.PAUSED, first)
    fleet.turn(1)
    assert fleet.state().phase is not Phase.PAUSED
    told = next(reason for reason in (Reason.ENVIRONMENT, Reason.EVIDENCE, Reason.SILENT) if reason in {first, last})
    assert next(one.reason for one in reversed(fleet.decisions) if one.kind is DecisionKind.RESUME) is needs[told][1]
    fleet.check_rebuilt()


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_alone_lifts_itself(signal):
    fleet = stopped_by(signal)
    fleet.turn(90)
    assert [one.kind for one in fleet.decisions if one.subject == SHOP and one.reason is signal] == [DecisionKind.PAUSE]
    assert fleet.state().phase is not Phase.PAUSED
