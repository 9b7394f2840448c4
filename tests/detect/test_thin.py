"""Services that few use: seconds are added up until a limit can use them (C1), and a busy one notices nothing of it."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.healthy import NEW, World, busy, context, pane, rolls_back, row, run

from tidegate.detect import gathering
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Guardrail

ERRORS = Guardrail(metric="errorRatio", max=0.02, of="2/3")
SLOWER = Guardrail(metric="p95", max_ratio_to_control=1.3, of="3/5")
QUEUE = Guardrail(metric="gauge.queue", max=10.0, of="2/3")


def told(second, requests, *, errors=0, control=None, queue=None):
    """A second of a lone canary, and of a control with as many requests."""
    gauges = {"queue": queue} if queue is not None else None
    return pane(
        second,
        [row("a", NEW, requests=requests, errors=errors, gauges=gauges)],
        [row("b", requests=requests if control is None else control)],
    )


def first_fail(seconds, guardrails, make):
    placement = context(guardrails=guardrails, default_guardrails=False)
    state = SubjectJudgement()
    for second in range(seconds):
        state, verdict = judge(state, placement, make(second), 0)
        if verdict.outcome is Outcome.FAIL:
            return second + 1
    return None


@pytest.mark.parametrize(
    ("requests", "seconds"),
    [(20, 2), (19, 4), (10, 4), (7, 6), (5, 8), (2, 20), (1, 40)],
)
def test_a_fifth_of_failing_requests_breaks_a_limit_in_two_panes_of_as_many_seconds_as_they_take(requests, seconds):
    """It was never noticed where one second had fewer than ``minRequests``: half of all requests of a first canary could fail."""

    def make(second):
        return told(second, requests, errors=requests * (second + 1) // 5 - requests * second // 5)

    assert first_fail(120, (ERRORS,), make) == seconds


def test_a_side_that_is_not_there_keeps_a_pane_open_for_a_minute_and_no_longer():
    assert first_fail(300, (ERRORS,), lambda second: told(second, 10, errors=1, control=0)) is None


def test_each_limit_has_panes_of_its_own():
    """One that asks for many requests holds no other up."""
    many = Guardrail(metric="errorRatio", max=0.01, of="1/1", min_requests=1_000)
    assert first_fail(60, (many, ERRORS), lambda second: told(second, 10, errors=2)) == 4
    assert first_fail(60, (many,), lambda second: told(second, 50, errors=5)) == 20


def test_a_ratio_of_quantiles_has_panes_that_know_a_quantile():
    """Of 20 requests the p95 is the slowest one: five healthy half hours of six broke 1.3 times the control's."""
    assert gathering.least(SLOWER) == 40
    assert gathering.least(replace(SLOWER, min_requests=100)) == 100
    assert gathering.least(Guardrail(metric="p95", max=80.0)) == 20


def test_a_gauge_is_not_added_up():
    assert first_fail(60, (QUEUE,), lambda second: told(second, 10, queue=50.0)) is None
    assert first_fail(60, (QUEUE,), lambda second: told(second, 20, queue=50.0)) == 2


@pytest.mark.parametrize("rate", [20, 35, 1_000])
def test_where_a_second_is_enough_nothing_is_added_up(rate):
    state, _ = run(lambda second: told(second, rate), 30, context(guardrails=(ERRORS, SLOWER)))
    assert state.thin == ()


def test_another_placement_begins_with_nothing():
    state, _ = run(lambda second: told(second, 3), 5, context(guardrails=(ERRORS,)))
    assert any(one.since_ms for one in state.thin)
    state, _ = judge(state, context(guardrails=(ERRORS,), placement="p2"), told(5, 0), 0)
    assert not any(sum(sums.requests for sums in one.nodes.values()) for one in state.thin)


@pytest.mark.parametrize("rate", [3.0, 8.0, 15.0])
def test_a_tenth_of_failing_requests_is_seen_and_a_healthy_service_left_alone(rate):
    def taken(seed, errors, seconds):
        rng = np.random.default_rng(seed)
        placement, state = context(guardrails=(ERRORS,)), SubjectJudgement()
        world = World(rate=rate)
        for second in range(seconds):
            seen = pane(second, [busy(rng, world, "a", NEW, errors=errors)], [busy(rng, world, "b")])
            state, verdict = judge(state, placement, seen, 0)
            if rolls_back(verdict):
                return second + 1
        return None

    seconds = sorted(taken(seed, 0.1, 300) or 300 for seed in range(20))
    print(f"\nerrors 10 %, one canary at {rate:.0f}/s: median {seconds[10]} s, most {seconds[-1]} s")  # noqa: T201
    assert seconds[-1] < 300
    assert [taken(seed, 0.001, 900) for seed in range(2)] == [None, None]
