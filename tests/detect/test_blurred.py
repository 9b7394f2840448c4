"""Late and skewed: rows that come and cannot be counted are no silence, and never a pass (C6, A4); what plans say of absence."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.healthy import NEW, OLD, context, pane, row, run

from tidegate.detect import absence
from tidegate.wire.absence import AbsenceRules, Blurred, Idleness, Muteness, Silence, Waiting
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

TROUBLE = 20
HOLD, PASS, FAIL = Outcome.HOLD, Outcome.PASS, Outcome.FAIL
PAUSE, ROLLBACK = Action.PAUSE, Action.ROLLBACK


def after(seconds, size, trouble, rules=None):
    """The verdict when trouble has lasted so many seconds; it says (nodes without a row, late rows, wrong clocks, mute nodes)."""
    canary, control = [f"c{at}" for at in range(size)], [f"k{at}" for at in range(5)]

    def make(second):
        away, late, skewed, mute = trouble(second - TROUBLE) if second >= TROUBLE else ((), {}, (), ())
        rows = {
            name: [row(node, version, requests=50, telemetry=node not in mute) for node in nodes if node not in away]
            for name, version, nodes in (("canary", NEW, canary), ("control", OLD, control))
        }
        expected = {"canary": tuple(canary), "control": tuple(control)}
        return pane(second, rows["canary"], rows["control"], expected=expected, late=late, skewed=skewed)

    placement = context(canary, control, default_guardrails=False, absence=rules or AbsenceRules())
    return run(make, TROUBLE + seconds, placement)[1][-1]


def all_late(_second):
    return (), {"c0": 1}, (), ("c0",)


def every_third_late(second):
    return ((), {"c0": 1}, (), ("c0",)) if second % 3 == 0 else ((), {}, (), ())


def late_once(second):
    return ((), {"c0": 1}, (), ("c0",)) if second == 0 else ((), {}, (), ())


def excluded(_second):
    return (), {}, ("c0",), ("c0",)


def shifted(_second):
    return (), {}, ("c0",), ()


def shifted_controls(_second):
    return (), {}, ("k0",), ()


def gone(_second):
    return ("c0",), {}, (), ()


def mute(_second):
    return (), {}, (), ("c0",)


PATIENT = AbsenceRules(silent=Silence(pause="20s", rollback="40s"), mute=Muteness(pause="never", rollback="never"))
EAGER = AbsenceRules(silent=Silence(pause="1s", rollback="4s"), mute=Muteness(pause="1s", rollback="9s"))
ASKING = AbsenceRules(late=Blurred(action=Waiting.PAUSE), skewed=Blurred(action=Waiting.PAUSE))
TOLERANT = AbsenceRules(late=Blurred(over="100%"), skewed=Blurred(over="100%"))


@pytest.mark.parametrize(
    ("sentence", "seconds", "size", "trouble", "rules", "outcome", "reason", "action"),
    [
        ("late for a minute is not silent", 60, 1, all_late, None, HOLD, Reason.LATE, None),
        ("late is no pass from the third row on", 3, 5, all_late, TOLERANT, HOLD, Reason.PARTLY_SILENT, None),
        ("a third of the rows late", 30, 1, every_third_late, None, HOLD, Reason.LATE, None),
        ("one of five nodes late: 6 % of the rows", 30, 5, every_third_late, None, PASS, Reason.CLEAN, None),
        ("one late row is no habit", 2, 1, late_once, None, PASS, Reason.CLEAN, None),
        ("a wrong clock is not silent", 60, 1, excluded, None, HOLD, Reason.SKEWED, None),
        ("a shifted one holds a canary of one", 5, 1, shifted, None, HOLD, Reason.SKEWED, None),
        ("and one of five", 5, 5, shifted, None, HOLD, Reason.SKEWED, None),
        ("not one of ten", 5, 10, shifted, None, PASS, Reason.CLEAN, None),
        ("controls are asked the same", 5, 10, shifted_controls, None, HOLD, Reason.SKEWED, None),
        ("the plan may ask a person for late rows", 60, 1, all_late, ASKING, FAIL, Reason.LATE, PAUSE),
        ("and for wrong clocks", 5, 1, shifted, ASKING, FAIL, Reason.SKEWED, PAUSE),
        ("or bear them", 5, 1, shifted, TOLERANT, PASS, Reason.CLEAN, None),
        ("the plan's pause comes later", 19, 1, gone, PATIENT, HOLD, Reason.PARTLY_SILENT, None),
        ("but it comes", 20, 1, gone, PATIENT, FAIL, Reason.SILENT, PAUSE),
        ("and so does its rollback", 40, 1, gone, PATIENT, FAIL, Reason.SILENT, ROLLBACK),
        ("never is never", 300, 1, mute, PATIENT, HOLD, Reason.PARTLY_SILENT, None),
        ("sooner is sooner", 1, 1, gone, EAGER, FAIL, Reason.SILENT, PAUSE),
        ("and after four seconds back", 4, 1, gone, EAGER, FAIL, Reason.SILENT, ROLLBACK),
        ("mute has its own deadline", 8, 1, mute, EAGER, FAIL, Reason.SILENT, PAUSE),
        ("which ends too", 9, 1, mute, EAGER, FAIL, Reason.SILENT, ROLLBACK),
        ("half may be away", 60, 4, gone, AbsenceRules(coverage="50%"), PASS, Reason.CLEAN, None),
        ("nobody may", 1, 20, gone, AbsenceRules(coverage="100%"), HOLD, Reason.PARTLY_SILENT, None),
    ],
)
def test_late_skewed_and_what_the_plan_says(sentence, seconds, size, trouble, rules, outcome, reason, action):  # noqa: PLR0917
    verdict = after(seconds, size, trouble, rules)
    assert (verdict.outcome, verdict.reason, verdict.action) == (outcome, reason, action), (sentence, verdict.sentence)


def test_who_is_late_or_skewed_is_named():
    assert "c0" in after(60, 1, all_late).sentence
    assert "c0" in after(5, 5, shifted).sentence


@pytest.mark.parametrize(
    "rules", [AbsenceRules(idle=Idleness(hold="1m", rollback="2m")), AbsenceRules(idle=Idleness(rollback="never"))]
)
@pytest.mark.parametrize("seconds", [9, 30, 119, 120, 2_000])
def test_the_plan_says_how_long_idle_may_last(rules, seconds):
    finding = absence.judge_idle(seconds * 1_000, rules.idle, compared=True, waits=False)
    hold_s, last_s = (60, 120) if rules.idle.hold == "1m" else (10, 1 << 60)
    expected = FAIL if seconds >= last_s else HOLD if seconds >= hold_s else None
    assert (finding.outcome if finding is not None else None) is expected


@st.composite
def seconds_of(draw, nodes):
    """Second to the nodes that are away in it."""
    return draw(st.lists(st.sets(st.sampled_from(nodes), max_size=len(nodes)), min_size=TROUBLE + 6, max_size=TROUBLE + 6))


@given(st.data(), st.integers(1, 12), st.sampled_from(["100%", "90%", "75%", "50%", "1%"]))
@settings(max_examples=60, deadline=None)
def test_coverage_below_its_floor_is_never_a_pass(data, size, floor):
    canary, control = [f"c{at}" for at in range(size)], [f"k{at}" for at in range(4)]
    away = data.draw(seconds_of([*canary, *control]))

    def make(second):
        rows = [
            [row(node, version, requests=50) for node in nodes if node not in away[second]]
            for version, nodes in ((NEW, canary), (OLD, control))
        ]
        return pane(second, *rows, expected={"canary": tuple(canary), "control": tuple(control)})

    placement = context(canary, control, default_guardrails=False, absence=AbsenceRules(coverage=floor))
    for second, verdict in enumerate(run(make, len(away), placement)[1]):
        if verdict.outcome is PASS:
            for cohort in (canary, control):
                assert len(away[second].intersection(cohort)) <= len(cohort) * (100 - int(floor[:-1])) // 100


def test_the_table_says_what_the_defaults_are():
    """The table in the docstring is what people read; the defaults stand in the schema."""
    told = dict(re.findall(r"`absence\.(\w+): ([^`]+)`", absence.__doc__))
    rules = AbsenceRules()
    assert told.pop("coverage") == rules.coverage
    for state, text in told.items():
        fields = getattr(rules, state)
        words = ", ".join(f"{name}: {getattr(fields, name)}" for name in fields.__struct_fields__)
        assert text == f"{{{words}}}"
    assert {*told, "coverage"} == {*AbsenceRules.__struct_fields__}
