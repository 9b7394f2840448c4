"""Services that few use: seconds are added up until a limit can use them (C1), and a busy one notices nothing of it."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.healthy import NEW, World, busy, context, pane, rolls_back, row, run

from tidegate.detect import gathering
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge
from tidegate.kpi.pane import CohortPane, Crowd, Table
from tidegate.kpi.sums import Sums
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Guardrail
from tidegate.wire.reasons import Reason

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


def test_a_side_that_is_never_there_breaks_nothing():
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


@pytest.mark.parametrize(("rate", "limit"), [(20, ERRORS), (40, SLOWER), (1_000, SLOWER)])
def test_where_a_second_is_enough_nothing_is_added_up(rate, limit):
    state, _ = run(lambda second: told(second, rate), 30, context(guardrails=(limit,), default_guardrails=rate >= 40))
    assert state.thin == {}


def in_zones(requests, neighbours):
    """A lone canary in zone one, a tenth of whose requests fail, and a control in zone two, of which none do; ``neighbours``:
    requests and errors of the rest in each zone.
    """
    names = tuple(neighbours)
    counted = np.array([*neighbours.values()], dtype=np.int64)
    table = Table(names, counted[:, 0], counted[:, 1], np.zeros((len(names), 0), dtype=np.int64), names)
    sums = Sums(1, int(counted[:, 0].sum()), int(counted[:, 1].sum()))
    crowd = CohortPane(name="rest", version="v1", expected=names, crowd=Crowd(frozenset(names), sums, "v1", table))

    def make(second):
        seen = told(second, requests, errors=requests * (second + 1) // 10 - requests * second // 10)
        cohorts = {**seen.cohorts, "rest": crowd}
        for name, node, zone in (("canary", "a", "one"), ("control", "b", "two")):
            cohort = seen.cohorts[name]
            cohorts[name] = replace(cohort, nodes={node: replace(cohort.nodes[node], zone=zone)})
        return replace(seen, cohorts=cohorts)

    return make


@pytest.mark.parametrize("requests", [100, 15, 10, 5])
@pytest.mark.parametrize(
    ("neighbours", "back"),
    [
        ({"one": (700, 70), "two": (700, 0)}, False),
        ({"one": (10, 1), "two": (10, 0)}, False),
        ({"one": (700, 0), "two": (700, 70)}, True),
        ({"two": (700, 0)}, True),
    ],
)
def test_an_incident_of_the_canarys_zone_is_none_of_the_release_however_few_use_it(requests, neighbours, back):
    if requests == 100:
        neighbours = {zone: (10 * one, 10 * errors) for zone, (one, errors) in neighbours.items()}
    placement = context(guardrails=(ERRORS,), default_guardrails=False)
    state, found = SubjectJudgement(), []
    for second in range(20):
        state, verdict = judge(state, placement, in_zones(requests, neighbours)(second), 0)
        found.append(verdict)
    assert any(map(rolls_back, found)) is back


def test_seconds_in_which_one_side_has_no_request_thin_out_no_errors_of_the_other():
    """A control that goes on while the canary is idle would bring its healthy seconds to the canary's bad ones."""

    def make(second):
        if second < 50:
            return told(second, 0, control=20)
        return pane(second, [row("a", NEW, requests=20, errors=4)], [row("b", requests=20, errors=4)])

    assert first_fail(60, (ERRORS,), make) is None


def beside(canary, control, cycle=1):
    """A canary and a control with requests and errors by second, over and over."""

    def make(second):
        asked, failed = canary.get(second % cycle, (0, 0))
        other, wrong = control.get(second % cycle, (0, 0))
        return pane(second, [row("a", NEW, requests=asked, errors=failed)], [row("b", requests=other, errors=wrong)])

    return make


GOOD, BAD = (5, 0), (5, 1)


@pytest.mark.parametrize(
    ("sentence", "make", "seconds"),
    [
        ("a second of the one and the next one of the other are one stretch", beside({0: BAD}, {1: GOOD}, 2), 16),
        ("which of them comes first does not matter", beside({1: BAD}, {0: GOOD}, 2), 16),
        ("nor do seconds between in which nobody asks", beside({0: BAD}, {4: GOOD}, 5), 40),
        ("nine seconds apart they are the same traffic", beside({0: BAD}, {9: GOOD}, 20), 150),
        ("ten seconds apart they are not", beside({0: BAD}, {10: GOOD}, 20), None),
        ("a pane takes as long as it takes", beside({0: BAD}, {0: GOOD}, 30), 211),
        ("a control that goes on thins out nothing", beside({0: (4, 1)}, {0: (8, 2), 1: (50, 0), 2: (50, 0)}, 3), None),
        ("nor does one that is heard just before", beside({9: (4, 1)}, {5: (90, 0), 9: (4, 1)}, 10), None),
    ],
)
def test_what_is_added_up_was_said_by_both_sides_at_the_same_time(sentence, make, seconds):
    """Only seconds in which both had a request were, and after a minute nothing was left: of half a request a second all could
    fail, for ever.
    """
    assert first_fail(240, (ERRORS,), make) == seconds, sentence


@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0])
def test_a_service_that_is_hardly_used_is_judged_in_minutes(rate):
    def taken(seed):
        rng, world = np.random.default_rng(seed), World(rate=rate)
        return first_fail(900, (ERRORS,), lambda at: pane(at, [busy(rng, world, "a", NEW, errors=1.0)], [busy(rng, world, "b")]))

    assert max(taken(seed) or 900 for seed in range(2)) < 100 / rate


def test_limits_that_ask_for_as_many_requests_share_a_pane():
    several = tuple(Guardrail(metric=metric, max=1.0) for metric in ("errorRatio", "p95", "p99"))
    state, _ = run(lambda second: told(second, 3), 5, context(guardrails=(*several, SLOWER), default_guardrails=False))
    assert set(state.thin) == {20, 40}


def test_after_lost_state_a_pass_waits_until_slow_panes_have_filled_the_windows():
    state = SubjectJudgement(lost=True)
    placement = context(guardrails=(ERRORS,), default_guardrails=False, min_requests=10)
    reasons = []
    for second in range(40):
        state, verdict = judge(state, placement, told(second, 4), 0)
        reasons.append(verdict.reason)
    assert reasons == [Reason.STATE_LOST] * 14 + [Reason.CLEAN] * 26, "not in the second either in which a pane is full"


@pytest.mark.parametrize(("timed", "waits"), [(True, True), (False, False)])
def test_after_lost_state_nobody_waits_for_latency_that_is_never_told(timed, waits):
    state, placement = SubjectJudgement(lost=True), context(guardrails=(ERRORS, QUEUE), min_requests=10)
    rng, world = np.random.default_rng(1), World(rate=8.0)
    for second in range(60):
        seen = pane(second, [busy(rng, world, "a", NEW, errors=0)], [busy(rng, world, "b", errors=0)])
        if not timed:
            rows = {
                name: {one.node: replace(one, counts=None) for one in seen.cohorts[name].nodes.values()} for name in seen.cohorts
            }
            seen = replace(seen, cohorts={name: replace(cohort, nodes=rows[name]) for name, cohort in seen.cohorts.items()})
        state, verdict = judge(state, placement, seen, 0)
    assert (verdict.reason is Reason.STATE_LOST) is waits


def test_another_placement_begins_with_nothing():
    state, _ = run(lambda second: told(second, 3), 5, context(guardrails=(ERRORS,)))
    assert any(one.since_ms for one in state.thin.values())
    state, _ = judge(state, context(guardrails=(ERRORS,), placement="p2"), told(5, 0), 0)
    assert not any(sum(sums.requests for sums in one.nodes.values()) for one in state.thin.values())


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
