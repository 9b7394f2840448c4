"""The slice ``probe`` (I2): judged by the same rules on its own counts; what it may carry, and what it must not touch."""

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.healthy import NEW, START_MS, context, pane, row, run

from tidegate.detect.drift.arrays import pack, unpack
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, judge_open, learn
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action, Guardrail
from tidegate.wire.probes import Probe
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import HISTOGRAM_SLOTS, ServiceState

PASS, FAIL, HOLD = Outcome
COUNTED = Probe(http="/health", counts=True)
ASKED = Probe(http="/health")
FAST, SLOW = 40, 67
"""Slots of 32 ms and of ten times as much."""
P95 = Guardrail(metric="p95", max_ratio_to_control=1.5, of="3/5")


def answers(node: str, version: str = "v1", *, probes: int = 1, errors: int = 0, slot: int = FAST, **fields):
    counts = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)
    counts[slot] = probes
    return row(node, version, requests=probes, errors=errors, counts=counts, **fields)


def people(node: str, version: str = "v1", *, requests: int = 0, errors: int = 0, telemetry: bool = False, **fields):
    return row(node, version, requests=requests, errors=errors, telemetry=telemetry or requests > 0, **fields)


def story(bad=None, *, probes: int = 1, nodes: int = 1, of_people=None, from_s: int = 0):
    """``bad``: how the canary answers probes from a second on; ``of_people``: what people's requests look like there."""
    names = "abc"[:nodes], "xyz"[:nodes]

    def make(second: int):
        worse = (bad or {}) if second >= from_s else {}
        told = of_people or {}
        seen = pane(second, [people(n, NEW, **told) for n in names[0]], [people(n, **told) for n in names[1]])
        asked = pane(
            second,
            [answers(n, NEW, **({"probes": probes} | worse)) for n in names[0]],
            [answers(n, probes=probes) for n in names[1]],
        )
        return replace(seen, probe=asked)

    return make, tuple(names[0]), tuple(names[1])


def first(verdicts, outcome=FAIL):
    """Second after which a verdict of this outcome came first, and the verdict."""
    return next(((at + 1, one) for at, one in enumerate(verdicts) if one.outcome is outcome), (None, None))


def play(make, canary, control, seconds: int = 120, probe=COUNTED, **fields):
    fields = {"min_requests": 30, "probe": probe, "guardrails": (P95,)} | fields
    return run(make, seconds, context(canary, control, **fields))


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_service_that_nobody_uses_passes_on_its_probes_and_the_verdict_says_so(nodes):
    _, verdicts = play(*story(nodes=nodes))
    at, verdict = first(verdicts, PASS)
    assert verdict.reason is Reason.CLEAN_ON_PROBES
    assert verdict.sentence == (
        f"The canary is no worse than the control; {nodes * at} of its {nodes * at} requests were probes (GET /health)."
    )
    assert (verdict.slice, verdict.canary_requests, verdict.canary_probes) == ("probe", nodes * at, nodes * at)
    assert at == (30 if nodes == 1 else 15), "of three nodes two must be enough without the busiest (C4)"
    assert {one.outcome for one in verdicts[at:]} == {PASS}


@pytest.mark.parametrize(
    ("why", "fleet", "bad", "reason", "within_s"),
    [
        ("every answer is a 500, one canary, one probe a second", (1, 1), {"errors": 1}, Reason.GROSS_ERRORS, 10),
        ("... five a second", (1, 5), {"errors": 5}, Reason.GROSS_ERRORS, 3),
        ("... three canaries", (3, 1), {"errors": 1}, Reason.GROSS_ERRORS, 5),
        ("ten times as slow, one probe a second", (1, 1), {"slot": SLOW}, Reason.LIMIT_BROKEN, 60),
        ("... five a second", (1, 5), {"slot": SLOW}, Reason.LIMIT_BROKEN, 12),
        ("... three canaries, one a second", (3, 1), {"slot": SLOW}, Reason.LIMIT_BROKEN, 21),
        ("... three canaries, five a second", (3, 5), {"slot": SLOW}, Reason.LIMIT_BROKEN, 6),
    ],
)
def test_a_bad_version_that_nobody_uses_is_rolled_back_by_probes(why, fleet, bad, reason, within_s):
    nodes, probes = fleet
    _, verdicts = play(*story(bad, nodes=nodes, probes=probes), min_requests=100)
    at, verdict = first(verdicts)
    assert (verdict.action, verdict.reason, verdict.slice) == (Action.ROLLBACK, reason, "probe"), why
    assert verdict.sentence.startswith("Probes (GET /health): "), why
    assert at <= within_s, why
    assert PASS not in {one.outcome for one in verdicts[:at]}, why


def test_one_failing_probe_in_ten_is_no_reason_to_go_back_at_once_and_none_to_pass_for_ever():
    make, canary, control = story(probes=1)

    def flaky(second):
        bad = story({"errors": 1})[0](second)
        return bad if second % 10 == 0 else make(second)

    _, verdicts = play(flaky, canary, control, 60)
    assert first(verdicts)[0] is None


def test_a_probe_that_fails_everywhere_is_the_environment():
    make, canary, control = story(probes=5)

    def everywhere(second):
        told = make(second)
        failing = pane(second, [answers("a", NEW, probes=5, errors=5)], [answers("x", probes=5, errors=5)])
        return replace(told, probe=failing)

    _, verdicts = play(everywhere, canary, control, 60, guardrails=())
    assert {one.action for one in verdicts} <= {None, Action.PAUSE}
    assert PASS not in {one.outcome for one in verdicts[12:]}


def test_probes_do_not_dilute_what_people_suffer_and_their_errors_are_not_peoples():
    """10 of 20 requests of people fail, beside 200 probes that are well: a ratio over all of them would be 4.5 %."""
    make, canary, control = story(probes=200)

    def suffering(second):
        told = make(second)
        seen = pane(second, [people("a", NEW, requests=20, errors=10)], [people("x", requests=20)])
        return replace(seen, probe=told.probe)

    _, verdicts = play(suffering, canary, control, 20)
    at, verdict = first(verdicts)
    assert (at, verdict.reason, verdict.slice) == (2, Reason.GROSS_ERRORS, "")
    assert verdict.canary == pytest.approx(0.5)
    assert (verdict.canary_probes, verdict.canary_probe_errors) == (400, 0)


@pytest.mark.parametrize("telemetry", [True, False], ids=["idle people", "no telemetry at all"])
def test_probes_carry_nothing_unless_the_plan_says_that_they_count(telemetry):
    _, verdicts = play(*story(probes=10, of_people={"telemetry": telemetry}), probe=ASKED)
    assert PASS not in {one.outcome for one in verdicts}
    assert (verdicts[-1].canary_requests, verdicts[-1].canary_probes) == (0, 1_200)
    expected = Reason.IDLE if telemetry else Reason.BOTH_SILENT
    assert verdicts[-1].reason is expected


@pytest.mark.parametrize("probe", [ASKED, COUNTED])
def test_a_bad_answer_rolls_back_whether_probes_count_or_not(probe):
    _, verdicts = play(*story({"errors": 5}, probes=5, of_people={"telemetry": True}), 20, probe=probe)
    assert first(verdicts)[1].action is Action.ROLLBACK


def test_probes_that_count_are_added_to_what_people_ask():
    _, verdicts = play(*story(of_people={"requests": 1}), 40, min_requests=50)
    at, verdict = first(verdicts, PASS)
    assert at == 25
    assert verdict.reason is Reason.CLEAN_ON_PROBES
    assert "25 of its 50 requests were probes" in verdict.sentence
    assert verdict.slice == ""


def test_where_people_ask_enough_the_pass_is_theirs():
    _, verdicts = play(*story(of_people={"requests": 40}), 10)
    assert verdicts[-1].reason is Reason.CLEAN


@pytest.mark.parametrize(
    ("probe", "reason"),
    [(None, Reason.IDLE_TOO_LONG), (ASKED, Reason.IDLE_TOO_LONG), (COUNTED, Reason.TOO_FEW_REQUESTS)],
)
def test_a_service_with_a_probe_that_counts_is_not_idle(probe, reason):
    """C6: an idle canary is held after 10 s and rejected after 15 min; one that is asked by its agent is neither, if that counts.
    Where it does not, a canary that nobody ever used was passed.
    """
    told = {"telemetry": True}
    state, _ = play(*story(of_people=told), 1, probe=probe)
    late = story(of_people=told)[0](901)
    assert judge(state, context(("a",), ("x",), min_requests=30, probe=probe), late, START_MS + 903_000)[1].reason is reason


def test_an_sdk_that_fell_silent_is_missed_although_probes_are_answered():
    """Probes say who is there only of a service of which nobody else has ever spoken."""
    make, canary, control = story()

    def mute(second):
        told = make(second)
        seen = pane(
            second,
            [people("a", NEW, requests=10 if second < 10 else 0, telemetry=second < 10)],
            [people("x", requests=10)],
        )
        return replace(seen, probe=told.probe)

    _, verdicts = play(mute, canary, control, 60)
    verdict = first(verdicts[10:])[1]
    assert (verdict.reason, verdict.action) == (Reason.SILENT, Action.PAUSE)
    assert any(one.action is Action.ROLLBACK and one.reason is Reason.SILENT for one in verdicts)


def test_a_canary_that_is_probed_no_more_is_silent_where_nobody_else_speaks():
    make, canary, control = story()

    def gone(second):
        told = make(second)
        if second < 20:
            return told
        asked = pane(second, [answers("a", NEW, telemetry=False)], [answers("x")])
        return replace(told, probe=asked)

    _, verdicts = play(gone, canary, control, 60)
    assert {one.reason for one in verdicts[25:]} == {Reason.SILENT}


def test_seconds_of_a_version_that_is_being_changed_count_for_none():
    """A6: the agent makes no row, or one of a version that is not the cohort's; neither is an error of the canary."""
    make, canary, control = story()

    def swapped(second):
        told = make(second)
        if second >= 8:
            return told
        starting = {"state": ServiceState.STARTING, "changed_ms": START_MS}
        return replace(
            pane(second, [people("a", NEW, **starting)], [people("x")]),
            probe=pane(second, [answers("a", NEW, telemetry=False, **starting)], [answers("x")]),
        )

    _, verdicts = play(swapped, canary, control, 60)
    assert FAIL not in {one.outcome for one in verdicts}
    assert first(verdicts, PASS)[0] == 38


def test_an_open_pane_can_already_be_a_fail_by_probes():
    make, canary, control = story({"errors": 5}, probes=5)
    placed = context(canary, control, probe=COUNTED, min_requests=30)
    state, verdicts = play(make, canary, control, 1)
    assert FAIL not in {one.outcome for one in verdicts}
    early = judge_open(state, placed, make(1), 0)
    assert early is not None
    assert (early.reason, early.slice) == (Reason.GROSS_ERRORS, "probe")


def test_with_nobody_left_to_compare_probes_are_held_against_the_services_own_past():
    """C3, on the slice's own baseline: answers to the same question, before the rollout."""
    state = SubjectJudgement()
    for second in range(300):
        quiet = pane(second, rest=[people("a"), people("x")])
        state = learn(state, replace(quiet, probe=pane(second, rest=[answers("a"), answers("x")])), COUNTED)
    assert state.probe is not None

    def late(second):
        asked = pane(second + 300, [answers("a", NEW, probes=5, errors=5)], expected={"control": ()})
        return replace(pane(second + 300, [people("a", NEW)], expected={"control": ()}), probe=asked)

    placed = context(("a",), (), probe=COUNTED, started_ms=START_MS + 300_000, min_requests=30)
    _, verdicts = run(late, 20, placed, state)
    verdict = first(verdicts)[1]
    assert (verdict.reason, verdict.action, verdict.compared_with) == (Reason.GROSS_ERRORS, Action.ROLLBACK, "baseline")


def test_answers_to_another_question_are_forgotten_how_often_it_is_asked_does_not_matter():
    state = SubjectJudgement()
    quiet = replace(pane(0, rest=[people("a")]), probe=pane(0, rest=[answers("a")]))
    state = learn(state, quiet, ASKED)
    assert learn(state, quiet, Probe(http="/health", interval="5s", counts=True)).probe.baseline.blocks[0][1].panes == 2
    assert learn(state, quiet, Probe(http="/other")).probe.baseline.blocks[0][1].panes == 1
    assert learn(state, quiet, None).probe is None


def test_what_is_known_of_probes_is_part_of_the_checkpoint():
    make, canary, control = story({"slot": SLOW}, from_s=7)
    state, _ = play(make, canary, control, 17)
    read = msgspec.msgpack.Decoder(SubjectJudgement, dec_hook=unpack).decode(msgspec.msgpack.Encoder(enc_hook=pack).encode(state))
    placed = context(canary, control, probe=COUNTED, guardrails=(P95,), min_requests=30)
    straight, resumed = (run(make, 60, placed, one, 17)[1] for one in (state, read))
    assert resumed == straight
    assert FAIL in {one.outcome for one in straight}
