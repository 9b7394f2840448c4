"""What stops a ramp and when it goes on: what a person or a fail has stopped, no other signal's end lets go (D5, G2)."""

import pytest
from tests.rollout.flags import Story, half_way, ramp, spec

from tidegate.rollout.step import wake_at
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.flagchanges import RampStage
from tidegate.wire.flagstates import Off
from tidegate.wire.judgement import AlarmState, Outcome
from tidegate.wire.plans import Action, GateDefault, Pause
from tidegate.wire.reasons import Reason

SIGNALS = (Reason.ALARM_OPEN, Reason.SILENT, Reason.ENVIRONMENT, Reason.EVIDENCE)


def stopped_by(reason: Reason, story: Story) -> Story:
    """The same story, paused for a signal that lifts itself."""
    if reason is Reason.ALARM_OPEN:
        story.alarm(AlarmState.FIRING)
    else:
        story.verdict(Outcome.FAIL, action=Action.PAUSE, reason=reason)
    assert (story.flag().phase, story.flag().paused_reason) == (Phase.PAUSED, reason)
    return story


def on_fail_pause(*stages: RampStage) -> Story:
    """A story in which a tenth has a new flag whose ramp says that a person decides about a fail."""
    story = Story()
    story.put(spec(), ramp(*stages, on_fail=Action.PAUSE))
    return story.grown(10)


@pytest.mark.parametrize("reason", SIGNALS)
def test_a_person_pauses_what_a_signal_has_paused_and_only_a_person_resumes_it(reason):
    story = stopped_by(reason, half_way())
    record = story.want(Verb.PAUSE, reason="it stays so")
    assert (record.kind, record.reason, record.message) == (DecisionKind.PAUSE, Reason.ASKED, "it stays so")
    story.alarms_over()
    story.pass_by(120)
    assert (story.flag().phase, story.flag().paused_reason, story.flag().weight) == (Phase.PAUSED, Reason.ASKED, 1_000)
    story.want(Verb.RESUME)
    story.grown(50)
    story.check_rebuilt()


def test_what_waits_for_a_person_already_is_not_paused_once_more():
    story = half_way()
    story.want(Verb.PAUSE)
    assert story.want(Verb.PAUSE).reason is Reason.NOTHING_TO_DO
    failed = on_fail_pause()
    failed.verdict(Outcome.FAIL)
    assert failed.want(Verb.PAUSE).reason is Reason.NOTHING_TO_DO


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("action", list(Action))
def test_a_fail_for_a_person_is_not_overruled_by_the_end_of_a_signal(signal, action):
    story = stopped_by(signal, on_fail_pause())
    (record,) = story.verdict(Outcome.FAIL, action=action)
    assert (record.kind, record.reason, record.facts["service"]) == (DecisionKind.PAUSE, Reason.LIMIT_BROKEN, "shop")
    story.alarms_over()
    story.pass_by(120)
    assert (story.flag().paused_reason, story.flag().weight) == (Reason.LIMIT_BROKEN, 1_000)
    story.want(Verb.RESUME)
    story.grown(50)


def test_a_fail_for_a_person_stands_though_a_signal_comes_after_it():
    story = stopped_by(Reason.SILENT, half_way())
    story.verdict(Outcome.FAIL, action=Action.PAUSE)
    story.verdict(Outcome.FAIL, action=Action.PAUSE, reason=Reason.SILENT)
    story.pass_by(120)
    assert (story.flag().paused_reason, story.flag().weight) == (Reason.LIMIT_BROKEN, 1_000)


def test_a_fail_for_a_person_in_one_service_stands_though_another_has_a_signal():
    story = half_way(guard=("cart", "shop"))
    stopped_by(Reason.SILENT, story)
    story.verdict(Outcome.FAIL, "cart", action=Action.PAUSE, reason=Reason.SILENT)
    story.verdict(Outcome.FAIL, "shop", action=Action.PAUSE)
    story.verdict(Outcome.FAIL, "shop", action=Action.PAUSE, reason=Reason.SILENT)
    story.pass_by(120)
    assert (story.flag().paused_reason, story.flag().weight) == (Reason.LIMIT_BROKEN, 1_000)


def test_a_fail_that_is_told_every_second_is_recorded_once():
    story = stopped_by(Reason.ALARM_OPEN, on_fail_pause())
    before = len(story.decisions)
    for reason in (Reason.LIMIT_BROKEN, Reason.EVIDENCE, Reason.SILENT) * 3:
        story.verdict(Outcome.FAIL, reason=reason)
    assert len(story.decisions) == before + 1


def test_an_alarm_and_a_burn_have_both_to_be_over():
    story = stopped_by(Reason.ALARM_OPEN, half_way())
    story.verdict(Outcome.FAIL, action=Action.PAUSE, reason=Reason.ENVIRONMENT)
    assert story.flag().paused_reason is Reason.ENVIRONMENT
    story.pass_by(60)
    assert story.told()[-1] == ("pause", Reason.ENVIRONMENT)
    story.alarms_over()
    assert wake_at(story.ledger, story.view, story.now_ms) <= story.now_ms + 30_000
    story.pass_by(29)
    assert story.told()[-1] == ("pause", Reason.ENVIRONMENT)
    story.pass_by(2)
    assert story.told()[-1] == ("resume", Reason.BURNED_OUT)
    story.grown(50)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_breach_switches_off_whatever_the_ramp_is_paused_for(signal):
    story = stopped_by(signal, half_way())
    story.verdict(Outcome.FAIL)
    assert story.flag().off is Off.SWITCHED_OFF


GATE = Pause(duration="20s", default=GateDefault.PROMOTE)
GATED = (RampStage(set_weight=10, bake="40s", pause=GATE), RampStage(set_weight=100, bake="10s"))


def at_its_gate() -> Story:
    story = Story()
    story.put(spec(), ramp(*GATED))
    story.grown(10).pass_by(45)
    assert story.told()[-1] == ("gate", Reason.GATE_OPENED)
    return story


def ended_by_a_person() -> Story:
    story = Story()
    story.put(spec(), ramp(*GATED))
    story.grown(10)
    story.judging["shop"] = Outcome.HOLD
    story.want(Verb.PROMOTE)
    assert story.flag().gate_passed
    story.judging["shop"] = Outcome.PASS
    return story


@pytest.mark.parametrize("where", [at_its_gate, ended_by_a_person])
@pytest.mark.parametrize("signal", [*SIGNALS, Reason.ASKED, Reason.RESTORED])
def test_who_goes_on_after_a_pause_waits_for_a_whole_bake_and_its_gate_anew(where, signal):
    story = where()
    match signal:
        case Reason.ASKED:
            story.want(Verb.PAUSE)
        case Reason.RESTORED:
            story.now_ms += 1_000
            story.restore()
            story.pass_by()
        case _:
            stopped_by(signal, story)
            story.alarms_over()
    story.pass_by(5)
    while story.flag().phase is Phase.PAUSED:
        if signal in (Reason.ASKED, Reason.RESTORED):
            story.want(Verb.RESUME)
        else:
            story.pass_by()
    resumed_ms = story.now_ms
    assert story.blockers()[0] is Reason.BAKING
    story.grown(100)
    assert story.now_ms - resumed_ms >= 60_000, "a bake of 40 s, then a gate of 20 s"
