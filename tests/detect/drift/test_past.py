"""The quiet past: host factors that shrink, scatter beyond chance, edges at quantiles, nodes that come and go."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.drift.kit import ERRORS, FIRST_SLOW, GOLDEN, REQUESTS, SECONDS, START_MS, Fleet, drawn, learnt, quiet, table

from tidegate.detect.drift import past as history
from tidegate.detect.drift.learned import Learned, Spread
from tidegate.detect.drift.metrics import COUNT, QUANTILES, SLOW
from tidegate.detect.drift.past import Past
from tidegate.kpi.pane import Table

BUSY = Fleet(canaries=0, controls=0, rest=20, errors=0.01)


def minute_of(at: int, nodes: int = 10, *, errors: int = 30, slots: np.ndarray | None = None, begin: int = 0) -> tuple:
    """Arguments of ``learn`` for a minute told at once: what long stories are made of."""
    names = tuple(f"r{place:03}" for place in range(begin, begin + nodes))
    requests = np.full(nodes, 60 * REQUESTS)
    slow = np.zeros((nodes, len(SLOW)), dtype=np.int64)
    told = Table(names, requests, np.full(nodes, errors), slow, ("",) * nodes)
    return told, START_MS + 60_000 * at + 1_000, [] if slots is None else slots.tolist()


def bell(middle: int, total: int = 10_000) -> np.ndarray:
    """A latency histogram around one slot."""
    at = np.arange(160)
    shape = np.exp(-0.5 * ((at - middle) / 5.0) ** 2)
    return np.round(total * shape / shape.sum()).astype(np.int64)


# Host factors.


@pytest.mark.parametrize(("minutes", "least", "most"), [(1, 1.0, 1.6), (12, 1.9, 2.8), (45, 2.2, 2.9)])
def test_a_host_factor_is_drawn_to_one_by_how_little_is_known(minutes, least, most):
    """One of twenty has three times the errors: 2.7 times the service's rate."""
    fleet = replace(BUSY, errors=0.0005)
    times = fleet.times(3.0, np.arange(20) == 0, (ERRORS,))
    past = learnt(fleet, minutes, lambda _: times)
    factors, unsure = history.host_factors(past, fleet.nodes, Learned())
    assert least <= factors[0, ERRORS] <= most
    assert np.allclose(factors[1:, ERRORS], 1.0, atol=0.25)
    assert (unsure[0, ERRORS] < unsure[1:, ERRORS]).all()


@pytest.mark.parametrize("host", [0.1, 0.5, 2.0])
def test_a_host_factor_is_the_mean_of_a_gamma_poisson_posterior(host):
    """k = 1 / sd^2: a gamma prior of mean 1, Poisson events."""
    times = BUSY.times(4.0, np.arange(20) == 0, (ERRORS,))
    past = learnt(BUSY, 12, lambda _: times)
    learned = Learned(spreads={"errors": Spread(host=host)})
    factors, unsure = history.host_factors(past, BUSY.nodes, learned)
    assert history.dispersion(past)[ERRORS] == 1.0
    events, due = past.sums[0, ERRORS], past.sums[0, COUNT] * history.rate(past)[ERRORS]
    assert factors[0, ERRORS] == pytest.approx((events + host**-2) / (due + host**-2))
    assert unsure[0, ERRORS] == pytest.approx(1.0 / (events + host**-2))


def test_of_a_node_never_seen_nothing_is_known():
    for past in (Past(), quiet(BUSY)):
        factors, unsure = history.host_factors(past, ("new", "newer"), Learned())
        assert (factors == 1.0).all()
        assert unsure[:, ERRORS] == pytest.approx(0.25)


def test_events_that_come_in_bunches_say_less_of_a_host_than_their_number():
    rng = np.random.default_rng(2)
    alone, bunches = (learnt(replace(BUSY, retries=retries), 12, rng=rng) for retries in (1, 4))
    of = [history.host_factors(past, BUSY.nodes, Learned())[1][:, ERRORS].mean() for past in (alone, bunches)]
    assert of[1] > 2.5 * of[0]


# What is usual.


def test_bursts_are_not_usual():
    """A minute in ten with thirty times the errors makes the usual no more than a tenth higher."""
    past = learnt(BUSY, 50, lambda at: 30.0 if at % 600 >= 540 else 1.0)
    assert history.rate(past)[ERRORS] == pytest.approx(BUSY.errors, rel=0.15)


def test_a_service_that_fails_every_second_is_known_for_it_from_its_first_minute():
    """Seconds with errors and errors have one level, however many of each there are."""
    failing = replace(BUSY, errors=0.2)
    for minutes in (1, 10):
        found = history.rate(learnt(failing, minutes))
        assert found[SECONDS] == pytest.approx(found[ERRORS], rel=0.1)


def test_what_has_become_usual_is_learned_a_factor_at_a_time():
    past = learnt(BUSY, 90, lambda at: 1.0 if at < 600 else 6.0)
    assert history.rate(past)[ERRORS] > 4.5 * BUSY.errors


# Scatter.


def test_events_by_chance_have_a_dispersion_of_one():
    past = learnt(BUSY, 25, rng=np.random.default_rng(3))
    found = history.dispersion(past)
    assert found[ERRORS] == pytest.approx(1.0, abs=0.12)
    assert (found < 1.15).all()


@pytest.mark.parametrize("mean", [2, 3])
def test_batches_of_geometric_size_have_the_dispersion_of_a_compound_poisson(mean):
    """Variance over mean of a Poisson number of geometric batches of mean m: 2 m - 1."""
    past = learnt(replace(BUSY, retries=mean), 25, rng=np.random.default_rng(4))
    found = history.dispersion(past)
    assert 0.65 * (2 * mean - 1) < found[ERRORS] < 1.15 * (2 * mean - 1)
    assert (found[FIRST_SLOW:] < 1.15).all()


def test_hosts_that_differ_and_loads_that_move_are_no_dispersion():
    rng = np.random.default_rng(5)
    host = np.exp(0.5 * rng.standard_normal((20, 1)))
    past = learnt(BUSY, 25, lambda at: host * (1.0 + 0.5 * np.sin(at / 300.0)), rng=rng)
    assert history.dispersion(past)[ERRORS] < 1.2


def test_incidents_of_a_few_servers_are_not_the_rule():
    rng = np.random.default_rng(6)
    incident = BUSY.times(30.0, np.arange(20) == 3)
    past = learnt(BUSY, 25, lambda at: incident if at % 600 < 10 else 1.0, rng=rng)
    assert history.dispersion(past)[ERRORS] < 2.5


def test_servers_that_wander_are_known_to_and_steady_ones_are_not_said_to():
    rng = np.random.default_rng(7)
    fleet = replace(BUSY, errors=0.02)
    steps = np.exp(0.4 * rng.standard_normal((10, 20, 1)))
    restless = learnt(fleet, 30, lambda at: steps[at // 600 % 10], rng=rng)
    steady = learnt(fleet, 30, rng=rng)
    assert history.wander(restless)[ERRORS] > 0.05
    assert history.wander(steady)[ERRORS] < 0.01


# Edges.


def test_edges_stand_at_quantiles_as_near_above_as_buckets_allow():
    slots = bell(60)
    past = Past()
    for at in range(3):
        past = history.learn(past, *minute_of(at, slots=slots))
    above = 1.0 - np.cumsum(slots) / slots.sum()
    for edge, quantile in zip(past.edges, QUANTILES, strict=True):
        assert above[edge] <= 1.0 - quantile + 1e-9 < above[edge - 1] + 1e-9


def test_no_edges_before_there_are_enough_requests_to_know_them():
    past = Past()
    for at in range(3):
        past = history.learn(past, *minute_of(at, slots=bell(60, total=history.REQUESTS_MIN // 4)))
    assert past.edges == ()


@pytest.mark.parametrize(("moved", "followed"), [(0, False), (1, False), (12, True)])
def test_edges_follow_a_service_that_became_another_after_an_hour_and_no_sooner(moved, followed):
    past, first = Past(), ()
    for at in range(200):
        past = history.learn(past, *minute_of(at, slots=bell(60 if at < 5 else 60 + moved)))
        first = first or past.edges
        if at < 60:
            assert past.edges in {(), first}
    assert (past.edges != first) == followed


def test_counts_of_slow_requests_begin_anew_with_edges_and_errors_do_not():
    past, before = Past(), Past()
    for at in range(200):
        told, end_ms, slots = minute_of(at, slots=bell(60 if at < 5 else 80))
        slow = np.full_like(told.slow, 7)
        before, past = past, history.learn(past, replace(told, slow=slow), end_ms, slots)
        if before.edges and past.edges != before.edges:
            break
    assert (past.sums[:, FIRST_SLOW:COUNT] == 0).all()
    assert (past.sums[:, ERRORS] > 0.9 * before.sums[:, ERRORS]).all()


# Nodes.


def by_name(past: Past) -> dict[str, list[float]]:
    return dict(zip(past.nodes, past.sums.tolist(), strict=True))


def test_the_order_of_nodes_changes_nothing():
    rng = np.random.default_rng(8)
    sorted_one, shuffled = Past(), Past()
    for at in range(150):
        told = table(BUSY, at, times=1.0 + np.arange(20)[:, None] / 10)
        order = rng.permutation(20)
        other = Table(
            tuple(told.nodes[place] for place in order),
            told.requests[order],
            told.errors[order],
            told.slow[order],
            tuple(told.strata[place] for place in order),
        )
        sorted_one = history.learn(sorted_one, told, START_MS + 1_000 * (at + 1), [])
        shuffled = history.learn(shuffled, other, START_MS + 1_000 * (at + 1), [])
    assert shuffled.nodes == sorted_one.nodes
    assert by_name(shuffled) == by_name(sorted_one)
    assert np.array_equal(shuffled.minute, sorted_one.minute)


def only(told: Table, names: set[str]) -> Table:
    here = np.array([name in names for name in told.nodes])
    kept = tuple(name for name in told.nodes if name in names)
    return Table(kept, told.requests[here], told.errors[here], told.slow[here], ("",) * len(kept))


def test_nodes_that_come_and_go_keep_what_is_theirs():
    """Each says something in some seconds; what is known of it is what it would be if it were the only one."""
    rng = np.random.default_rng(9)
    whole, alone = Past(), Past()
    for at in range(400):
        told = table(BUSY, at)
        here = {name for name in told.nodes if name == "r007" or rng.random() < 0.7}
        if (GOLDEN * at) % 1.0 < 0.3:
            here.discard("r007")
        whole = history.learn(whole, only(told, here), START_MS + 1_000 * (at + 1), [])
        alone = history.learn(alone, only(told, here & {"r007"}), START_MS + 1_000 * (at + 1), [])
    requests = slice(COUNT, COUNT + 1)
    at = whole.nodes.index("r007")
    assert whole.sums[at, :COUNT].tolist() == alone.sums[0, :COUNT].tolist()
    assert whole.sums[at, requests] == alone.sums[0, requests]


def test_a_node_that_was_gone_for_an_hour_is_forgotten():
    past = Past()
    for at in range(100):
        past = history.learn(past, *minute_of(at, nodes=10 if at < 30 else 5))
        if at == 80:
            assert len(past.nodes) == 10
    assert past.nodes == tuple(f"r{place:03}" for place in range(5))


def test_nodes_without_room_are_left_out_and_spoil_nobody_elses_numbers(monkeypatch):
    monkeypatch.setattr(history, "NODES_MAX", 5)
    past = Past()
    for at in range(5):
        past = history.learn(past, *minute_of(at, nodes=5))
    for at in range(5, 10):
        told, end_ms, _ = minute_of(at, nodes=10)
        past = history.learn(past, replace(told, errors=np.array([30] * 5 + [3_000] * 5)), end_ms, [])
    assert len(past.nodes) == 5
    assert np.allclose(past.sums[:, ERRORS], past.sums[0, ERRORS])


def test_a_name_that_sorts_first_does_not_push_out_one_that_is_known(monkeypatch):
    monkeypatch.setattr(history, "NODES_MAX", 5)
    past = history.learn(Past(), *minute_of(0, nodes=5, begin=10))
    past = history.learn(past, *minute_of(1, nodes=15))
    assert past.nodes == tuple(f"r{place:03}" for place in range(10, 15))


# Time.


def test_the_past_halves_in_an_hour_whoever_was_silent_in_it():
    past = Past()
    for at in range(30):
        past = history.learn(past, *minute_of(at))
    later = history.learn(past, *minute_of(30))
    after_an_hour = history.learn(later, *minute_of(30 + 60))
    assert after_an_hour.sums[0, COUNT] == pytest.approx(later.sums[0, COUNT] / 2 + 60 * REQUESTS)


def test_a_server_with_more_requests_has_no_more_than_its_share_of_seconds_with_errors():
    """A second counts once: ten times the requests at 2 % are not ten times the seconds."""
    past = quiet(replace(BUSY, errors=0.02))
    requests = np.full((2, COUNT), 50.0)
    requests[1] = 500.0
    found = history.exposures(past, requests)
    assert found[1, ERRORS] == 10 * found[0, ERRORS]
    assert 1.0 < found[1, 1] / found[0, 1] < 3.0
    assert (np.diff(drawn(BUSY, 0, 1.0, None)[1][:, 1]) <= 1).all()


def test_without_requests_there_is_no_rate():
    past = Past()
    for at in range(3):
        told, end_ms, _ = minute_of(at)
        past = history.learn(past, replace(told, requests=told.requests * 0, errors=told.errors * 0), end_ms, [])
    assert (history.rate(past) == 0.0).all()
    assert (history.dispersion(past) == 1.0).all()
