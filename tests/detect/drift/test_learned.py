"""What is known of a service: stated priors, a record that can be read, a floor that needs no model."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detect.drift import learned as record
from tidegate.detect.drift.learned import (
    AGES_S,
    PLACEBOS_KEPT,
    PLACEBOS_MIN,
    Learned,
    Spread,
    cold_nodes,
    cold_share,
    column,
    placebo_floors,
)
from tidegate.detect.drift.metrics import COUNT, METRICS
from tidegate.detect.drift.seconds import WARM

ALPHA = 0.005


def with_placebos(values: list[float]) -> Learned:
    largest = tuple(sorted(values, reverse=True)[:PLACEBOS_KEPT])
    return Learned(placebos=largest, placebos_pause=tuple(2.0 * value for value in largest), rollouts=len(values))


def floor(learned: Learned, alpha: float) -> float:
    trimmed, whole = placebo_floors(learned, alpha)
    assert whole == 2.0 * trimmed
    return trimmed


def warm_curve() -> dict[str, tuple[float, ...]]:
    return {metric: tuple(1.0 + 5.0 * math.exp(-age / 15.0) for age in AGES_S) for metric in METRICS}


def test_of_a_service_never_seen_every_metric_has_a_prior():
    new = Learned()
    for name in ("host", "node", "common", "restart", "warm"):
        assert (column(new, name) > 0).all()
    assert (column(new, "node")[:2] > column(new, "node")[2:].max()).all()
    assert (column(new, "common")[:2] > column(new, "common")[2:].max()).all()
    assert (new.restarts, new.revision, new.rollouts) == (0, 0, 0)


def test_what_was_learned_of_a_metric_replaces_its_prior_and_no_other():
    some = Learned(spreads={"slow@p90": Spread(node=0.5)})
    found, prior = column(some, "node"), column(Learned(), "node")
    at = METRICS.index("slow@p90")
    assert found[at] == 0.5
    assert np.delete(found, at).tolist() == np.delete(prior, at).tolist()


def test_the_record_is_plain_data_that_comes_back_as_it_was():
    some = Learned(
        revision=3,
        restarts=40,
        spreads={"errors": Spread(node=0.3)},
        cold_s=90.0,
        curve=warm_curve(),
        placebos=(3.0, 1.0),
        rollouts=2,
    )
    text = msgspec.json.encode(some)
    back = msgspec.json.decode(text, type=Learned)
    assert msgspec.json.encode(back) == text
    assert b'"revision":3' in text


# The placebo floor.


def test_before_so_many_healthy_rollouts_there_is_no_floor():
    assert floor(with_placebos([9.0] * (PLACEBOS_MIN - 1)), ALPHA) == 0.0


@pytest.mark.parametrize(("rollouts", "rank"), [(199, 1), (398, 1), (399, 2), (1_999, 10), (10_000, PLACEBOS_KEPT)])
def test_the_floor_is_the_order_statistic_that_so_few_reach(rollouts, rank):
    values = [float(value) for value in range(rollouts, 0, -1)]
    assert floor(with_placebos(values), ALPHA) == values[rank - 1]


@given(st.integers(PLACEBOS_MIN, 4_000), st.sampled_from([0.005, 0.01, 0.05]))
def test_a_rollout_like_those_before_it_is_above_the_floor_with_at_most_that_probability(rollouts, alpha):
    """All ranks of a new value among the old ones are equally likely; no ties."""
    old = [2.0 * value for value in range(rollouts)]
    above = sum(new > floor(with_placebos(old), alpha) for new in (2.0 * value - 1.0 for value in range(rollouts + 1)))
    assert above / (rollouts + 1) <= alpha + 1e-12


# Cold starts.


def test_by_its_prior_a_cold_start_fades_within_its_length_and_a_warm_server_has_none():
    age = np.array([0.0, 10.0, 30.0, 60.0, 120.0, WARM])
    found = cold_share(Learned(), age)
    assert found.shape == (6, COUNT)
    assert (np.diff(found, axis=0) <= 0).all()
    assert (found[0] > 0.5).all()
    assert (found[4] < 0.02).all()
    assert ((found >= 0) & (found < 1)).all()


def test_what_a_cold_start_adds_is_what_a_warm_server_would_not_have():
    some = Learned(curve=warm_curve())
    found = cold_share(some, np.array([0.0, 7.0, 1e6]))
    assert found[0, 0] == pytest.approx(1.0 - 1.0 / 6.0)
    assert found[1, 0] == pytest.approx(1.0 - 1.0 / (1.0 + 5.0 * np.exp(-5.0 / 15.0)))
    assert found[2, 0] == pytest.approx(0.0, abs=1e-12)


def test_a_curve_below_that_of_a_warm_server_adds_nothing():
    some = Learned(curve={metric: (0.5,) * len(AGES_S) for metric in METRICS})
    assert (cold_share(some, np.array([0.0, 50.0])) == 0.0).all()


@pytest.mark.parametrize(
    ("known", "controls", "apart"),
    [
        (False, 0, True),  # nobody knows how cold it is: it waits
        (False, 5, True),
        (True, 0, False),  # with the fleet, its cold start allowed for
        (True, record.FEW_CONTROLS - 1, False),
        (True, record.FEW_CONTROLS, True),
    ],
)
def test_who_is_compared_with_its_own_age_alone(known, controls, apart):
    some = Learned(curve=warm_curve() if known else {}, cold_s=60.0)
    assert cold_nodes(some, np.array([0.0, 59.0, 60.0, WARM]), controls).tolist() == [apart, apart, False, False]
