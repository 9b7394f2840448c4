"""What holds for every verdict, whatever the panes; the baseline; what passes."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.detect.healthy import NEW, START_MS, World, busy, context, pane, row, run

from tidegate.detect.drift.arrays import pack as packed
from tidegate.detect.drift.arrays import unpack
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, judge_open, learn
from tidegate.kpi.pane import NodePane, ServicePane
from tidegate.wire.codec import encode
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.plans import Action, Guardrail
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import HISTOGRAM_SLOTS, ServiceState

WRITE = msgspec.msgpack.Encoder(enc_hook=packed)
RECALL = msgspec.msgpack.Decoder(SubjectJudgement, dec_hook=unpack)

GUARDRAILS = (
    Guardrail(metric="errorRatio", max=0.02),
    Guardrail(metric="p95", max_ratio_to_control=1.3, of="3/5"),
    Guardrail(metric="gauge.heap", max=0.9, action=Action.PAUSE),
    Guardrail(metric="ratio.cart", max_ratio_to_control=2.0),
)


@st.composite
def nodes(draw: st.DrawFn, name: str, version: str) -> NodePane:
    requests = draw(st.sampled_from([0, 1, 30, 100]))
    counts = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)
    counts[draw(st.integers(60, 100))] = requests
    return row(
        name,
        draw(st.sampled_from([version, "v0"])),
        requests=requests,
        errors=draw(st.integers(0, requests)),
        counts=draw(st.sampled_from([counts, None])),
        telemetry=draw(st.booleans()),
        agent=draw(st.booleans()),
        state=draw(st.sampled_from(list(ServiceState))),
        exits=draw(st.integers(0, 3)),
        changed_ms=draw(st.sampled_from([0, START_MS, START_MS + 5_000])),
        gauges=draw(st.sampled_from([{}, {"heap": 0.95}])),
        ratios=draw(st.sampled_from([{}, {"cart": (3, 10)}, {"cart": (0, 0)}])),
    )


@st.composite
def panes(draw: st.DrawFn, second: int) -> ServicePane:
    sides = {}
    for cohort, version, names in (("canary", NEW, "abcd"), ("control", "v1", "wxyz"), ("rest", "v1", "r")):
        present = draw(st.sets(st.sampled_from(names)))
        sides[cohort] = [draw(nodes(name, version)) for name in sorted(present)]
    expected = {"canary": tuple("abcd")[: draw(st.integers(0, 4))], "control": tuple("wxyz")[: draw(st.integers(0, 4))]}
    return pane(second, sides["canary"], sides["control"], sides["rest"], expected=expected)


contexts = st.builds(
    context,
    st.just(tuple("abcd")),
    st.just(tuple("wxyz")),
    guardrails=st.sampled_from([(), GUARDRAILS]),
    default_guardrails=st.booleans(),
    rest_version=st.sampled_from(["", "v1"]),
    watching=st.booleans(),
    retreating=st.booleans(),
    placement=st.sampled_from(["p1", "p2"]),
    rollout=st.sampled_from(["r1", "r2"]),
    min_requests=st.sampled_from([0, 100]),
)
stories = st.integers(1, 8).flatmap(lambda length: st.tuples(*(st.tuples(contexts, panes(second)) for second in range(length))))
Story = Sequence[tuple[Context, ServicePane]]


def told(story: Story) -> tuple[SubjectJudgement, list[Verdict]]:
    state, verdicts = SubjectJudgement(), []
    for placement, seen in story:
        state, verdict = judge(state, placement, seen, seen.start_ms + 2_000)
        verdicts.append(verdict)
    return state, verdicts


@given(stories)
def test_every_story_has_a_verdict_with_a_reason_and_a_sentence(story: Story) -> None:
    for verdict in told(story)[1]:
        assert encode(verdict)
        assert verdict.sentence.endswith(".")
        assert (verdict.action is not None) is (verdict.outcome is Outcome.FAIL)
        assert verdict.outcome is not Outcome.PASS or verdict.reason in {Reason.CLEAN, Reason.CLEAN_WITHOUT_BASELINE}


@given(stories, st.randoms(use_true_random=False))
def test_the_order_of_nodes_changes_nothing(story: Story, shuffler: object) -> None:
    def shuffled(seen: ServicePane) -> ServicePane:
        cohorts = {}
        for name, cohort in reversed(seen.cohorts.items()):
            items, expected = list(cohort.nodes.items()), list(cohort.expected)
            shuffler.shuffle(items)  # type: ignore[attr-defined]
            shuffler.shuffle(expected)  # type: ignore[attr-defined]
            cohorts[name] = msgspec.structs.replace(cohort, nodes=dict(items), expected=tuple(expected))
        return msgspec.structs.replace(seen, cohorts=cohorts)

    other = [(placement, shuffled(seen)) for placement, seen in story]
    assert [encode(verdict) for verdict in told(story)[1]] == [encode(verdict) for verdict in told(other)[1]]


@given(stories)
def test_a_state_from_a_checkpoint_goes_on_as_if_nothing_had_happened(story: Story) -> None:
    state, _ = told(story[:-1])
    placement, seen = story[-1]
    on, verdict = judge(state, placement, seen, 0)
    restored, again = judge(RECALL.decode(WRITE.encode(state)), placement, seen, 0)
    assert verdict == again
    assert WRITE.encode(on) == WRITE.encode(restored)


def well(second: int) -> ServicePane:
    return pane(second, [row("a", NEW, requests=50)], [row("b", requests=50)])


def alone(errors: int = 0) -> object:
    return lambda second: pane(second, [row("a", NEW, requests=50, errors=errors)])


def learned(seconds: int = 60, version: str = "v1", errors: int = 0) -> SubjectJudgement:
    state = SubjectJudgement()
    for second in range(-seconds, 0):
        state = learn(state, pane(second, rest=[row("a", version, requests=50, errors=errors)], rest_version=version))
    return state


LAST = context(("a",), (), last_stage=True)


@pytest.mark.parametrize(
    ("sentence", "state", "errors", "outcome", "reason", "action"),
    [
        ("clean against the baseline", learned(), 0, Outcome.PASS, Reason.CLEAN, None),
        ("without one the reason says so", learned(5), 0, Outcome.PASS, Reason.CLEAN_WITHOUT_BASELINE, None),
        ("a baseline of another version is none", learned(version="v0"), 0, Outcome.PASS, Reason.CLEAN_WITHOUT_BASELINE, None),
        ("the gross trip rolls back against it", learned(), 15, Outcome.FAIL, Reason.GROSS_ERRORS, Action.ROLLBACK),
        ("and pauses without it", learned(5), 15, Outcome.FAIL, Reason.GROSS_ERRORS, Action.PAUSE),
        ("other limits pause", learned(), 5, Outcome.FAIL, Reason.LIMIT_BROKEN, Action.PAUSE),
        ("a baseline that was outside itself is the environment", learned(errors=4), 4, Outcome.HOLD, Reason.ENVIRONMENT, None),
    ],
)
def test_with_nobody_left_the_past_is_compared_with(  # noqa: PLR0917
    sentence: str, state: SubjectJudgement, errors: int, outcome: Outcome, reason: Reason, action: Action | None
) -> None:
    placement = msgspec.structs.replace(LAST, guardrails=(Guardrail(metric="errorRatio", max=0.05),))
    verdict = run(alone(errors), 12, placement, state)[1][-1]  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.reason, verdict.action) == (outcome, reason, action), verdict.sentence
    assert (verdict.compared_with == "baseline") is (state.baseline.version == "v1" and state.baseline.blocks[0][1].panes > 10)


def test_the_baseline_of_a_rollout_is_frozen_by_its_first_placement() -> None:
    state, _ = run(well, 20, context(), learned())
    frozen = state.baseline
    assert frozen.total is not None
    assert frozen.total.requests == 60 * 50
    later, _ = run(well, 20, context(placement="p2", stage=1), state, first=20)
    assert later.baseline == frozen


def test_the_baseline_is_the_last_ten_minutes() -> None:
    state, _ = run(well, 1, context(), learned(1_500))
    assert state.baseline.total is not None
    assert 600 <= state.baseline.total.panes <= 660


def test_requests_count_from_the_beginning_of_a_placement() -> None:
    state, first = run(well, 3, context())
    _, second = run(well, 1, context(placement="p2"), state, first=3)
    assert [verdict.canary_requests for verdict in [*first, *second]] == [50, 100, 150, 50]
    assert (second[0].first_pane_ms, second[0].last_pane_ms) == (START_MS + 3_000, START_MS + 4_000)


def test_evidence_spans_the_placements_of_an_attempt_and_no_more() -> None:
    make = lambda second: pane(second, [row("a", NEW, requests=50, errors=5)], [row("b", requests=50)])  # noqa: E731
    state, first = run(make, 50, context(default_guardrails=False))
    _, same = run(make, 1, context(placement="p2", default_guardrails=False), state, first=50)
    _, other = run(make, 1, context(placement="p2", rollout="r2", default_guardrails=False), state, first=50)
    before, kept, anew = first[-1].log_e, same[0].log_e, other[0].log_e
    assert before is not None
    assert kept is not None
    assert anew is not None
    assert anew < before < kept


def test_a_pass_needs_the_requests_of_more_than_one_node() -> None:
    make = lambda second: pane(second, [row("a", NEW, requests=500), row("c", NEW, requests=1)], [row("b", requests=500)])  # noqa: E731
    assert run(make, 5, context(("a", "c")))[1][-1].reason is Reason.ONE_NODE_ONLY


def test_a_pass_needs_the_whole_stage() -> None:
    assert run(well, 9, context(stage_nodes=3))[1][-1].reason is Reason.WARMING_UP


def test_a_state_that_was_lost_says_so_until_requests_and_windows_are_met_anew() -> None:
    late = context(started_ms=START_MS - 60_000, min_requests=120)
    lost = SubjectJudgement(lost=True)
    reasons = [verdict.reason for verdict in run(well, 32, late, lost)[1]]
    assert reasons == [Reason.STATE_LOST] * 29 + [Reason.CLEAN] * 3
    many = context(started_ms=START_MS - 60_000, min_requests=31 * 50)
    assert [verdict.reason for verdict in run(well, 31, many, lost)[1]] == [Reason.STATE_LOST] * 30 + [Reason.CLEAN]


def test_nothing_is_judged_while_the_fleet_retreats_but_counts_go_on() -> None:
    make = lambda second: pane(second, [row("a", NEW, requests=50, errors=50)], [row("b", requests=50)])  # noqa: E731
    verdict = run(make, 2, context(retreating=True))[1][-1]
    assert (verdict.outcome, verdict.reason, verdict.canary_errors) == (Outcome.HOLD, Reason.RETREATING, 100)


def test_a_retreat_is_asked_for_before_a_pause() -> None:
    make = lambda second: pane(  # noqa: E731
        second, [row("a", NEW, requests=50, errors=40, exits=1, changed_ms=START_MS)], [row("b", requests=50)]
    )
    assert run(make, 2, context())[1][-1].reason is Reason.GROSS_ERRORS


def test_a_pass_is_named_by_its_panes_so_that_one_told_twice_is_one() -> None:
    rng = np.random.default_rng(1)
    make = lambda second: pane(second, [busy(rng, World(), "a", NEW)], [busy(rng, World(), "b")])  # noqa: E731
    verdicts = run(make, 5, context())[1]
    assert all(before.id != after.id for before, after in pairwise(verdicts))


@pytest.mark.parametrize(
    ("sentence", "canary", "retreats"),
    [
        ("a second gross pane needs no closing", [row("a", NEW, requests=50, errors=30)], True),
        ("nothing wrong is nothing said", [row("a", NEW, requests=50)], False),
        ("no row yet is not silence", [], False),
        ("one exit is a pause, which can wait", [row("a", NEW, exits=1, changed_ms=START_MS)], False),
        ("a failed start cannot", [row("a", NEW, telemetry=False, state=ServiceState.FAILED)], True),
    ],
)
def test_an_open_pane_may_fail_and_never_pass(sentence: str, canary: list[NodePane], retreats: bool) -> None:
    state, _ = run(well, 2, context(min_requests=0))
    bad = pane(2, [row("a", NEW, requests=50, errors=30)], [row("b", requests=50)])
    state, _ = run(lambda _second: bad, 1, context(min_requests=0), state, 2)
    seen = pane(3, canary, [row("b", requests=50)], expected={"canary": ("a",)})
    early = judge_open(state, context(min_requests=0), seen, 0)
    assert (early is not None) is retreats
    assert early is None or (early.outcome, early.action) == (Outcome.FAIL, Action.ROLLBACK)


@pytest.mark.parametrize(("there", "retreats"), [(10, True), (9, True), (8, False), (0, False)])
def test_what_is_compared_in_an_open_pane_waits_for_the_rest_and_a_failed_start_does_not(there: int, retreats: bool) -> None:
    """Neighbours whose rows are under way may fail, too (C2). Of an eleventh only its agent ever speaks: it is not waited for."""
    rest, agent = [row(f"r{at}", requests=50) for at in range(10)], row("r10", telemetry=False)

    def early(canary: NodePane) -> bool:
        bad = row("a", NEW, requests=50, errors=30)
        state, _ = run(lambda second: pane(second, [bad], [row("b", requests=50)], [*rest, agent]), 1, context(min_requests=0))
        seen = pane(1, [canary], [row("b", requests=50)], [*rest[:there], agent], expected={"canary": ("a",)})
        return judge_open(state, context(min_requests=0), seen, 0) is not None

    assert early(row("a", NEW, requests=50, errors=30)) is retreats
    assert early(row("a", NEW, telemetry=False, state=ServiceState.FAILED))


def test_the_first_row_of_a_cohort_does_not_speak_for_it() -> None:
    seen = pane(0, [row("a", NEW, requests=50, errors=50)], [row("b", requests=50)], expected={"canary": ("a", "c", "d")})
    assert judge_open(SubjectJudgement(), context(("a", "c", "d")), seen, 0) is None
