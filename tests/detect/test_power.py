"""How fast a fault is seen and how still a healthy service leaves the judge: seeded, figures printed (``pytest -s``)."""

import numpy as np
import pytest
from tests.detect.healthy import NEW, World, busy, context, pane, rolls_back, run

from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge
from tidegate.kpi.pane import ServicePane
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Guardrail

ERRORS = Guardrail(metric="errorRatio", max=0.02, of="2/3", min_requests=20)
SLOWER = Guardrail(metric="p95", max_ratio_to_control=1.3, of="3/5", min_requests=20)
ONSET = 5


def seconds_to_fire(seed: int, world: World, size: int, guardrail: Guardrail | None, *, errors: float, slower: float) -> float:
    """Seconds from the first bad moment, somewhere inside a second, to the end of the pane whose verdict rolls back."""
    rng = np.random.default_rng(seed)
    onset = ONSET + rng.random()
    names = [(f"a{index}", f"b{index}") for index in range(size)]
    placement = context([left for left, _ in names], [right for _, right in names], guardrails=(guardrail,) if guardrail else ())
    state = SubjectJudgement()
    for second in range(120):
        bad = min(1.0, max(0.0, second + 1 - onset))
        ratio, factor = world.errors + (errors - world.errors) * bad, 1 + (slower - 1) * bad
        canary = [busy(rng, world, left, NEW, errors=ratio, slower=factor) for left, _ in names]
        seen = pane(second, canary, [busy(rng, world, right) for _, right in names])
        state, verdict = judge(state, placement, seen, 0)
        if rolls_back(verdict):
            return second + 1 - onset
    return float("inf")


@pytest.mark.parametrize(
    ("size", "rate", "p95_most"),
    [
        (1, 50.0, 6.5),
        pytest.param(1, 100.0, 4.5, marks=pytest.mark.thorough),
        (3, 50.0, 5.0),
        pytest.param(3, 100.0, 3.5, marks=pytest.mark.thorough),
    ],
)
def test_five_percent_errors_are_seen_fast_under_a_declared_limit(size: int, rate: float, p95_most: float) -> None:
    taken = [seconds_to_fire(seed, World(rate=rate), size, ERRORS, errors=0.05, slower=1.0) for seed in range(200 // size)]
    p50, p95, most = np.percentile(taken, [50, 95, 100])
    print(f"\nerrors 5 %, {size} canaries at {rate:.0f}/s: p50 {p50:.1f} s, p95 {p95:.1f} s, max {most:.1f} s")  # noqa: T201
    assert min(taken) > 0
    assert p95 <= p95_most


@pytest.mark.parametrize(
    ("size", "rate", "errors", "p95_most"),
    [
        (1, 50.0, 1.0, 2.5),
        (1, 50.0, 0.5, 2.7),
        (1, 100.0, 0.25, 3.0),
        (3, 50.0, 0.25, 3.0),
        (5, 50.0, 0.2, 3.0),
        (5, 50.0, 1.0, 1.5),
    ],
)
def test_gross_errors_are_seen_at_once_without_any_guardrail(size: int, rate: float, errors: float, p95_most: float) -> None:
    taken = [seconds_to_fire(seed, World(rate=rate), size, None, errors=errors, slower=1.0) for seed in range(100 // size)]
    p50, p95, most = np.percentile(taken, [50, 95, 100])
    print(f"\nerrors {errors:.0%}, {size} canaries at {rate:.0f}/s: p50 {p50:.1f} s, p95 {p95:.1f} s, max {most:.1f} s")  # noqa: T201
    assert p95 <= p95_most


@pytest.mark.parametrize(("size", "rate"), [(1, 50.0), (1, 100.0), (3, 50.0)])
def test_sixty_percent_slower_is_seen_fast_under_a_declared_limit(size: int, rate: float) -> None:
    taken = [seconds_to_fire(seed, World(rate=rate), size, SLOWER, errors=0.001, slower=1.6) for seed in range(60 // size)]
    p50, p95, most = np.percentile(taken, [50, 95, 100])
    print(f"\nlatency +60 %, {size} canaries at {rate:.0f}/s: p50 {p50:.1f} s, p95 {p95:.1f} s, max {most:.1f} s")  # noqa: T201
    assert min(taken) > 0
    assert p95 <= 9.0


@pytest.mark.parametrize("errors", [0.001, 0.01])
@pytest.mark.parametrize(("size", "tail"), [(1, 0.02), (3, 0.05)])
@pytest.mark.thorough
def test_a_healthy_service_never_fails_by_default(size: int, tail: float, errors: float) -> None:
    """Half a simulated hour each, two hours together, at 50 requests/s and node."""
    rng = np.random.default_rng(20)
    world = World(errors=errors, tail=tail)
    names = [(f"a{index}", f"b{index}") for index in range(size)]

    def make(second: int) -> ServicePane:
        return pane(second, [busy(rng, world, left, NEW) for left, _ in names], [busy(rng, world, right) for _, right in names])

    placement = context([left for left, _ in names], [right for _, right in names])
    _, verdicts = run(make, 1_800, placement)
    fails = sum(verdict.outcome is Outcome.FAIL for verdict in verdicts)
    print(f"\nhealthy, {size} canaries, errors {errors:.1%}, tail {tail:.0%}: {fails} fails in {len(verdicts)} panes")  # noqa: T201
    assert fails == 0


def test_declared_limits_hold_still_on_a_service_well_inside_them() -> None:
    rng = np.random.default_rng(21)
    world = World(errors=0.001)
    placement = context(guardrails=(ERRORS, SLOWER))
    _, verdicts = run(lambda second: pane(second, [busy(rng, world, "a", NEW)], [busy(rng, world, "b")]), 1_800, placement)
    fails = sum(verdict.outcome is Outcome.FAIL for verdict in verdicts)
    print(f"\nhealthy with declared limits: {fails} fails in {len(verdicts)} panes")  # noqa: T201
    assert fails == 0
