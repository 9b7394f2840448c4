"""Limits and the gross trip as decision tables: one sentence a row (C1, C2, C3, C4, B7)."""

import numpy as np
import pytest
from tests.detect.healthy import NEW, context, pane, row, run

from tidegate.kpi.pane import NodePane
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.plans import Action, Guardrail
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

Counts = list[tuple[int, int]]
"""Requests and errors of a node, second by second."""

ERRORS = Guardrail(metric="errorRatio", max=0.02)
SLO = Guardrail(metric="errorRatio", max=0.02, action=Action.PAUSE)
TRIPLE = Guardrail(metric="errorRatio", max_ratio_to_control=3.0)

GOOD, BAD, FEW = (100, 0), (100, 8), (10, 8)


def judged(canary: list[Counts], control: list[Counts], *guardrails: Guardrail, **changes: object) -> Verdict:
    names = [f"a{index}" for index in range(len(canary))]
    others = [f"b{index}" for index in range(len(control))]

    def make(second: int) -> object:
        left = [_row(name, counts[second], NEW) for name, counts in zip(names, canary, strict=True)]
        right = [_row(name, counts[second]) for name, counts in zip(others, control, strict=True)]
        return pane(second, left, right)

    placement = context(names, others, guardrails=guardrails, default_guardrails=False, **changes)
    return run(make, len(canary[0]), placement)[1][-1]  # type: ignore[arg-type]


def _row(name: str, counts: tuple[int, int], version: str = "v1") -> NodePane:
    return row(name, version, requests=counts[0], errors=counts[1])


@pytest.mark.parametrize(
    ("sentence", "canary", "control", "guardrail", "outcome", "reason", "action"),
    [
        ("one broken pane is not two", [GOOD, GOOD, BAD], [GOOD] * 3, ERRORS, Outcome.PASS, Reason.CLEAN, None),
        ("two of three break it", [BAD, GOOD, BAD], [GOOD] * 3, ERRORS, Outcome.FAIL, Reason.LIMIT_BROKEN, Action.ROLLBACK),
        ("two broken panes too far apart do not", [BAD, GOOD, GOOD, BAD], [GOOD] * 4, ERRORS, Outcome.PASS, Reason.CLEAN, None),
        (
            "a pane with too few requests neither breaks nor heals",
            [BAD, FEW, BAD],
            [GOOD] * 3,
            ERRORS,
            Outcome.FAIL,
            Reason.LIMIT_BROKEN,
            Action.ROLLBACK,
        ),
        ("too few requests of the control do not count either", [BAD, BAD], [FEW, FEW], ERRORS, Outcome.HOLD, None, None),
        ("both outside is the environment", [BAD, BAD], [BAD, BAD], ERRORS, Outcome.HOLD, Reason.ENVIRONMENT, None),
        (
            "an absolute limit that pauses, pauses then",
            [BAD, BAD],
            [BAD, BAD],
            SLO,
            Outcome.FAIL,
            Reason.ENVIRONMENT,
            Action.PAUSE,
        ),
        ("a limit pauses where its plan says so", [BAD, BAD], [GOOD] * 2, SLO, Outcome.FAIL, Reason.LIMIT_BROKEN, Action.PAUSE),
        ("three times a clean control", [BAD, BAD], [GOOD] * 2, TRIPLE, Outcome.FAIL, Reason.LIMIT_BROKEN, Action.ROLLBACK),
        ("thrice the control is allowed", [(100, 6)] * 2, [(100, 2)] * 2, TRIPLE, Outcome.PASS, Reason.CLEAN, None),
        (
            "two unlucky requests are not a limit broken",
            [(50, 0), (20, 1), (30, 1)],
            [(50, 0)] * 3,
            ERRORS,
            Outcome.PASS,
            Reason.CLEAN,
            None,
        ),
        ("exactly at the limit is inside it", [(100, 2)] * 3, [GOOD] * 3, ERRORS, Outcome.PASS, Reason.CLEAN, None),
    ],
)
def test_a_limit(  # noqa: PLR0917
    sentence: str,
    canary: Counts,
    control: Counts,
    guardrail: Guardrail,
    outcome: Outcome,
    reason: Reason | None,
    action: Action | None,
) -> None:
    verdict = judged([canary], [control], guardrail)
    assert (verdict.outcome, verdict.action) == (outcome, action), verdict.sentence
    assert reason is None or verdict.reason is reason
    assert verdict.sentence.endswith(".")


@pytest.mark.parametrize(
    ("sentence", "canary", "reason"),
    [
        ("one bad node of three carries no fail", [[BAD] * 3, [GOOD] * 3, [GOOD] * 3], Reason.ONE_NODE_ONLY),
        ("two bad nodes of three do", [[BAD] * 3, [BAD] * 3, [GOOD] * 3], Reason.LIMIT_BROKEN),
        ("one bad node of two does: it is half of the cohort", [[BAD] * 3, [GOOD] * 3], Reason.LIMIT_BROKEN),
        ("one node that floods the cohort with good requests hides nothing", [[(9_000, 0)] * 3, [BAD] * 3], Reason.ONE_NODE_ONLY),
    ],
)
def test_no_single_node_decides_for_a_cohort(sentence: str, canary: list[Counts], reason: Reason) -> None:
    assert judged(canary, [[GOOD] * 3] * len(canary), ERRORS).reason is reason


@pytest.mark.parametrize(
    ("sentence", "canary", "control", "outcome", "reason", "action"),
    [
        ("a fifth of fifty in one pane", [[(50, 10)]], [[GOOD]], Outcome.FAIL, Reason.GROSS_ERRORS, Action.ROLLBACK),
        ("nine errors are too few", [[(18, 9)]], [[GOOD]], Outcome.HOLD, Reason.TOO_FEW_REQUESTS, None),
        ("less than a fifth is for the limits", [[(100, 19)]], [[GOOD]], Outcome.PASS, Reason.CLEAN, None),
        ("a control at a quarter of it is the environment", [[(100, 40)]], [[(100, 10)]], Outcome.HOLD, Reason.ENVIRONMENT, None),
        ("just below a quarter is not", [[(100, 40)]], [[(100, 9)]], Outcome.FAIL, Reason.GROSS_ERRORS, Action.ROLLBACK),
        ("one node of three alone", [[(100, 90)], [GOOD], [GOOD]], [[GOOD]], Outcome.HOLD, Reason.ONE_NODE_ONLY, None),
        ("two nodes of three", [[(100, 90)], [(100, 90)], [GOOD]], [[GOOD]], Outcome.FAIL, Reason.GROSS_ERRORS, Action.ROLLBACK),
    ],
)
def test_the_gross_trip(  # noqa: PLR0917
    sentence: str, canary: list[Counts], control: list[Counts], outcome: Outcome, reason: Reason, action: Action | None
) -> None:
    verdict = judged(canary, control, min_requests=20)
    assert (verdict.outcome, verdict.reason, verdict.action) == (outcome, reason, action), verdict.sentence


def test_without_anything_to_compare_the_gross_trip_pauses() -> None:
    verdict = judged([[(50, 40)]], [], rest_version="")
    assert (verdict.reason, verdict.action) == (Reason.GROSS_ERRORS, Action.PAUSE)


def test_a_rest_that_fails_too_makes_it_the_environment() -> None:
    make = lambda second: pane(second, [row("a", NEW, requests=50, errors=40)], [], [row("z", requests=500, errors=300)])  # noqa: E731
    verdict = run(make, 1, context(["a"], []))[1][-1]
    assert verdict.reason is Reason.ENVIRONMENT


def _timed(slot: int) -> np.ndarray:
    counts = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)
    counts[slot] = 100
    return counts


@pytest.mark.parametrize(
    ("guardrail", "slot", "broken"),
    [
        (Guardrail(metric="p95", max_ratio_to_control=1.3, of="1/1"), 86, True),
        (Guardrail(metric="p95", max_ratio_to_control=1.3, of="1/1"), 82, False),
        (Guardrail(metric="p50", max=1_500.0, of="1/1"), 86, True),
        (Guardrail(metric="p99", max=3_000.0, of="1/1"), 86, False),
    ],
)
def test_a_latency_limit_is_a_limit_on_the_share_of_slower_requests(guardrail: Guardrail, slot: int, broken: bool) -> None:
    left = row("a", NEW, requests=100, counts=_timed(slot))
    make = lambda second: pane(second, [left], [row("b", requests=100, counts=_timed(80))])  # noqa: E731
    verdict = run(make, 3, context(guardrails=(guardrail,), default_guardrails=False))[1][-1]
    assert (verdict.reason is Reason.LIMIT_BROKEN) is broken
    assert verdict.metric == (guardrail.metric if broken else "")


@pytest.mark.parametrize(
    ("guardrail", "value", "part", "broken"),
    [
        (Guardrail(metric="gauge.heap", max=0.9), 0.95, 0, True),
        (Guardrail(metric="gauge.heap", max=0.9), 0.85, 0, False),
        (Guardrail(metric="gauge.heap", max_ratio_to_control=2.0), 0.95, 0, True),
        (Guardrail(metric="ratio.cart", max=0.1), 0.0, 30, True),
        (Guardrail(metric="ratio.cart", max=0.1), 0.0, 5, False),
        (Guardrail(metric="ratio.other", max=0.1), 0.0, 30, False),
    ],
)
def test_custom_metrics_are_guarded_like_our_own(guardrail: Guardrail, value: float, part: int, broken: bool) -> None:
    left = row("a", NEW, requests=100, gauges={"heap": value}, ratios={"cart": (part, 100)})
    right = row("b", requests=100, gauges={"heap": 0.4}, ratios={"cart": (2, 100)})
    verdict = run(lambda second: pane(second, [left], [right]), 3, context(guardrails=(guardrail,), default_guardrails=False))[1][
        -1
    ]
    assert (verdict.reason is Reason.LIMIT_BROKEN) is broken


def test_the_default_limits_hold_beside_the_declared_ones_unless_the_plan_says_no() -> None:
    def reason(placement: Context) -> Reason:
        make = lambda second: pane(second, [row("a", NEW, requests=100, errors=12)], [row("b", requests=100)])  # noqa: E731
        return run(make, 9, placement)[1][-1].reason

    assert reason(context(guardrails=(Guardrail(metric="p95", max=9e9),))) is Reason.LIMIT_BROKEN
    assert reason(context(default_guardrails=False)) is not Reason.LIMIT_BROKEN
