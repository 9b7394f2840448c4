"""Limits and the gross trip as decision tables: one sentence a row (C1, C2, C3, C4, B7)."""

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.healthy import NEW, START_MS, context, pane, row, run

from tidegate.detect import gross, limits
from tidegate.detect.bunches import DISPERSION_MAX, DISPERSION_MIN
from tidegate.detect.measure import Measured
from tidegate.detect.neighbours import NOBODY, Neighbours
from tidegate.kpi.pane import CohortPane, Crowd, NodePane, ServicePane, Table
from tidegate.kpi.sums import Sums
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

    placement = context(names, others, **{"guardrails": guardrails, "default_guardrails": False, **changes})
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


ROLLBACK = (Outcome.FAIL, Reason.GROSS_ERRORS, Action.ROLLBACK)
CLEAN = (Outcome.PASS, Reason.CLEAN, None)
HALF, FIFTH = (50, 25), (50, 10)
FINE = [GOOD] * 5


@pytest.mark.parametrize(
    ("sentence", "canary", "control", "expected"),
    [
        ("half of fifty in two panes", [[HALF] * 2], FINE, ROLLBACK),
        ("one second of failing, however gross, is a hiccup of a lone canary", [[(50, 50)]], FINE, CLEAN),
        ("and of two of three it is not", [[(50, 50)], [(50, 50)], [GOOD]], FINE, ROLLBACK),
        ("a hiccup across the border of two panes is one yet", [[(50, 30), (50, 4), GOOD]], FINE, CLEAN),
        ("a fifth of fifty is two bunches of retries", [[FIFTH] * 2, [(20, 0)] * 2], FINE, CLEAN),
        ("but not pane after pane", [[FIFTH] * 3], FINE, ROLLBACK),
        ("a fault of a fifth has panes with less", [[(100, 16), (100, 24), (100, 15)]], FINE, ROLLBACK),
        ("less than a fifth is for the limits", [[(100, 14)] * 5], FINE, CLEAN),
        ("what was bad six panes ago is past", [[(50, 9), *[(1_000, 0)] * 5, (50, 9)]], [GOOD] * 7, CLEAN),
        (
            "a control at a quarter of it is the environment",
            [[(100, 40)] * 2],
            [(100, 10)] * 2,
            (Outcome.HOLD, Reason.ENVIRONMENT, None),
        ),
        ("just below a quarter is not", [[(100, 40)] * 2], [(100, 9)] * 2, ROLLBACK),
        (
            "one node of three alone",
            [[(100, 90)], [GOOD], [GOOD]],
            FINE,
            (Outcome.HOLD, Reason.ONE_NODE_ONLY, None),
        ),
        ("two nodes of three", [[(100, 90)], [(100, 90)], [GOOD]], FINE, ROLLBACK),
        ("a fifth of three in one pane", [[(100, 20)]] * 3, FINE, ROLLBACK),
    ],
)
def test_the_gross_trip(
    sentence: str, canary: list[Counts], control: Counts, expected: tuple[Outcome, Reason, Action | None]
) -> None:
    verdict = judged(canary, [control], min_requests=20)
    assert (verdict.outcome, verdict.reason, verdict.action) == expected, verdict.sentence


def test_without_anything_to_compare_the_gross_trip_pauses() -> None:
    verdict = judged([[(50, 40)] * 2], [], rest_version="")
    assert (verdict.reason, verdict.action) == (Reason.GROSS_ERRORS, Action.PAUSE)


def test_a_rest_that_fails_too_makes_it_the_environment() -> None:
    make = lambda second: pane(second, [row("a", NEW, requests=50, errors=40)], [], [row("z", requests=500, errors=300)])  # noqa: E731
    verdict = run(make, 2, context(["a"], []))[1][-1]
    assert verdict.reason is Reason.ENVIRONMENT


@pytest.mark.parametrize(
    ("sentence", "dispersion", "panes"),
    [
        ("of a service never seen", DISPERSION_MIN, 1),
        ("of a service whose clients try three times", 5.0, 2),
        ("as bunched as is believed", DISPERSION_MAX, 2),
    ],
)
def test_the_more_its_errors_are_bunched_the_longer_a_gross_fault_takes(sentence: str, dispersion: float, panes: int) -> None:
    nodes = [row(name, NEW, requests=50, errors=12) for name in "abc"]
    seen: tuple[gross.Seen, ...] = ()
    findings = []
    for _ in range(3):
        seen = gross.remember(seen, nodes, (Sums(requests=150), None), NOBODY)
        findings.append(gross.judge_gross(seen, 3, gross.Others(), dispersion))
    assert [finding is not None for finding in findings].index(True) + 1 == panes


SHY, LOUD, CALM = (1_000, 3), (1_000, 15), (1_000, 0)
"""Three errors in each pane of the one, and fifteen in every fifth of the other: the same share."""


def test_a_ratio_is_judged_on_all_panes_not_on_those_in_which_the_control_had_luck() -> None:
    luck, none = [CALM, CALM, CALM, CALM, LOUD] * 2, [CALM] * 10
    assert judged([[SHY] * 10], [luck], default_guardrails=True).reason is Reason.CLEAN
    assert judged([[SHY] * 10], [none], default_guardrails=True).reason is Reason.LIMIT_BROKEN


def test_nine_errors_are_too_few_for_the_gross_trip() -> None:
    seen = gross.Seen(canary=(9, 5), failing=(("a", 9, 5),), control=(100, 0))
    few = [seen, replace(seen, canary=(9, 4))]
    assert gross.judge_gross(few, 1, gross.Others(), 1.0) is None
    assert gross.judge_gross([seen, seen], 1, gross.Others(), 1.0) is not None


def beside(zone: str, others: dict[str, tuple[int, int]]) -> Callable[[int], ServicePane]:
    """A lone canary in a zone fails to 6 % and its control elsewhere does not; ``others``: requests and errors of a zone."""
    left = replace(row("a", NEW, requests=100, errors=6), zone=zone)

    def make(second: int) -> ServicePane:
        names = tuple(f"z{zone}" for zone in others)
        counted = np.array([*others.values()], dtype=np.int64)
        table = Table(names, counted[:, 0], counted[:, 1], np.zeros((len(names), 0), dtype=np.int64), tuple(others))
        sums = Sums(1, int(counted[:, 0].sum()), int(counted[:, 1].sum()))
        seen = pane(second, [left], [replace(row("b", requests=100), zone="two")])
        rest = CohortPane(name="rest", version="v1", expected=names, crowd=Crowd(frozenset(names), sums, "v1", table))
        return replace(seen, cohorts={**seen.cohorts, "rest": rest})

    return make


@pytest.mark.parametrize(
    ("sentence", "others", "reason"),
    [
        ("its zone burns", {"one": (700, 35), "two": (700, 0)}, Reason.CLEAN),
        ("another zone burns", {"one": (700, 0), "two": (700, 35)}, Reason.LIMIT_BROKEN),
        ("nobody else is in its zone", {"two": (700, 35)}, Reason.LIMIT_BROKEN),
        ("one neighbour with nineteen requests is none", {"one": (19, 5), "two": (700, 0)}, Reason.LIMIT_BROKEN),
    ],
)
def test_a_lone_canary_is_compared_with_its_own_zone_too(
    sentence: str, others: dict[str, tuple[int, int]], reason: Reason
) -> None:
    assert run(beside("one", others), 12, context(guardrails=(TRIPLE,)))[1][-1].reason is reason


def test_a_maximum_that_its_zone_exceeds_as_well_is_the_environment() -> None:
    make = beside("one", {"one": (700, 35), "two": (700, 0)})
    verdict = run(make, 4, context(guardrails=(ERRORS,), default_guardrails=False))[1][-1]
    assert (verdict.outcome, verdict.reason) == (Outcome.HOLD, Reason.ENVIRONMENT)


EDGES = (77, 78, 79, 80, 92, 100)
"""p95 of quiet time at 1 s, p99 at 2.8 s: bucket 80 ends at 1.09 s, bucket 92 at 3.1 s."""


@pytest.mark.parametrize(
    ("sentence", "slot", "size", "default", "broken"),
    [
        ("two thirds slower than its burning zone, a lone canary may be on an old machine", 93, 1, True, False),
        ("more than twice as slow as its burning zone is worse", 97, 1, True, True),
        ("three canaries are not all on old machines", 93, 3, True, True),
        ("what is declared is taken at its word", 93, 1, False, True),
        ("as slow as its zone is no worse", 87, 1, False, False),
    ],
)
def test_latency_is_compared_with_the_zone_too(sentence: str, slot: int, size: int, default: bool, broken: bool) -> None:
    # Half of the zone's requests are above 1.09 s and none above 3.1 s: its p95 is about 2 s. The control's is 1 s.
    slow = np.array([[700, 700, 700, 350, 1, 0]], dtype=np.int64)
    zone = Table(("z",), np.array([700]), np.array([0]), slow, ("one",))
    nodes = [replace(row(f"a{at}", NEW, requests=100, counts=_timed(slot)), zone="one") for at in range(size)]
    limit = limits.Limit(limits.DEFAULTS[1], limits.DEFAULT_QUANTILE_NATS, default=default)
    window: tuple[Measured, ...] = ()
    for _ in range(30):
        window = limits.remember(limit, window, nodes, (Sums(1, 100, 0, _timed(79).tolist()), Neighbours(zone, EDGES)))
    assert (limits.judge(limit, window, size).state is limits.State.BROKEN) is broken


def _fast(seconds: int, size: int, changed_ms: int) -> Verdict:
    """Canaries three times as slow as their controls, since a restart."""
    left = [row(f"a{at}", NEW, requests=100, counts=_timed(92), changed_ms=changed_ms) for at in range(size)]
    right = [row(f"b{at}", requests=100, counts=_timed(80)) for at in range(size)]
    placement = context([node.node for node in left], [node.node for node in right])
    return run(lambda second: pane(second, left, right), seconds, placement)[1][-1]


def test_a_lone_cold_cache_is_not_slow_and_a_warm_one_is() -> None:
    slow = [
        verdict.reason is Reason.LIMIT_BROKEN
        for verdict in (_fast(40, 1, START_MS), _fast(150, 1, START_MS), _fast(40, 1, 1), _fast(40, 3, START_MS))
    ]
    assert slow == [False, True, True, True]


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
        (Guardrail(metric="gauge.heap", max_ratio_to_control=2.5), 0.95, 0, False),
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


def gauged(canary: list[list[float]], control: list[list[float]], guardrail: Guardrail) -> list[Verdict]:
    """``canary``, ``control``: a gauge second by second, node by node."""

    def rows(name: str, values: list[float], version: str) -> list[NodePane]:
        return [row(f"{name}{at}", version, requests=50, gauges={"queue": value}) for at, value in enumerate(values)]

    placement = context(
        [f"a{at}" for at in range(len(canary[0]))],
        [f"b{at}" for at in range(len(control[0]))],
        guardrails=(guardrail,),
        default_guardrails=False,
    )
    make = lambda second: pane(second, rows("a", canary[second], NEW), rows("b", control[second], "v1"))  # noqa: E731
    return run(make, len(canary), placement)[1]


TWICE = Guardrail(metric="gauge.queue", max_ratio_to_control=2.0)
MOST = Guardrail(metric="gauge.queue", max=4.0)


@pytest.mark.parametrize(
    ("sentence", "canary", "control", "guardrail", "action"),
    [
        ("three times the control", [[30.0] * 5] * 3, [[10.0] * 5] * 3, TWICE, Action.ROLLBACK),
        ("of fewer than five servers nobody knows how far they differ", [[30.0] * 4] * 3, [[10.0] * 5] * 3, TWICE, Action.PAUSE),
        ("a lone canary pauses at most", [[30.0]] * 3, [[10.0]] * 3, TWICE, Action.PAUSE),
        ("and so do many beside a lone control", [[30.0] * 3] * 3, [[10.0]] * 3, TWICE, Action.PAUSE),
        ("a maximum is taken at its word", [[30.0]] * 3, [[1.0]] * 3, MOST, Action.ROLLBACK),
        ("beside an empty queue there is no ratio", [[3.0] * 3] * 3, [[0.0] * 3] * 3, TWICE, None),
        ("nor beside one below nothing", [[-5.0] * 3] * 3, [[-5.0] * 3] * 3, TWICE, None),
        (
            "two panes of three, and not the window",
            [[9.0] * 3, [9.0] * 3, [0.0] * 3],
            [[4.0] * 3, [4.0] * 3, [9.0] * 3],
            TWICE,
            None,
        ),
        ("what is within its own scatter says nothing", [[0.0, 0.0, 70.0]] * 3, [[10.0] * 3] * 3, TWICE, None),
        ("one node of three carries nothing", [[9.0, 9.0, 400.0]] * 9, [[10.0] * 3] * 9, TWICE, None),
    ],
)
def test_a_ratio_of_gauges(
    sentence: str, canary: list[list[float]], control: list[list[float]], guardrail: Guardrail, action: Action | None
) -> None:
    verdict = gauged(canary, control, guardrail)[-1]
    assert verdict.action is action, verdict.sentence


@pytest.mark.parametrize("told_every_s", [1, 10])
@pytest.mark.parametrize(("mean", "size"), [(0.2, 1), (0.2, 6), (1.0, 3), (5.0, 1), (5.0, 6)])
def test_healthy_queues_are_rolled_back_by_no_ratio(mean: float, size: int, told_every_s: int) -> None:
    """An empty queue is no level, and of two short ones one is often twice the other: 30 of 30 were rolled back in ten min. What
    is told again each second is no surer for it.
    """
    rng, limit = np.random.default_rng(1), limits.limits_of(context(guardrails=(TWICE,), default_guardrails=False))[0]
    for _ in range(4):
        window: tuple[Measured, ...] = ()
        told = rng.poisson(mean, (2, 600 // told_every_s, size)).repeat(told_every_s, axis=1)
        for canary, control in zip(*told, strict=True):
            nodes = [row(f"a{at}", NEW, requests=50, gauges={"queue": float(value)}) for at, value in enumerate(canary)]
            other = Sums(1, 50 * size, gauges={"queue": (float(control.sum()), size)})
            window = limits.remember(limit, window, nodes, (other, NOBODY))
            found = limits.finding_of(limit, limits.judge(limit, window, size), "control")
            assert found is None or found.action is not Action.ROLLBACK


def test_the_default_limits_hold_beside_the_declared_ones_unless_the_plan_says_no() -> None:
    def reason(placement: Context) -> Reason:
        make = lambda second: pane(second, [row("a", NEW, requests=100, errors=12)], [row("b", requests=100)])  # noqa: E731
        return run(make, 9, placement)[1][-1].reason

    assert reason(context(guardrails=(Guardrail(metric="p95", max=9e9),))) is Reason.LIMIT_BROKEN
    assert reason(context(default_guardrails=False)) is not Reason.LIMIT_BROKEN
