"""A signal pauses a rollout and lifts itself; a fail that a person has to decide about is not lifted with it (D5)."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, Verb
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


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_alone_lifts_itself(signal):
    fleet = stopped_by(signal)
    fleet.turn(90)
    assert [one.kind for one in fleet.decisions if one.subject == SHOP and one.reason is signal] == [DecisionKind.PAUSE]
    assert fleet.state().phase is not Phase.PAUSED
