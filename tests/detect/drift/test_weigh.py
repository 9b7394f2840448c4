"""From counts to evidence: tiers, doubt, licences, floors; and a few hours in which nothing is wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.detect.drift.kit import ERRORS, FIRST_SLOW, START_MS, Fleet, Play, during, learnt

from tidegate.detect.drift import weigh as weighing
from tidegate.detect.drift.layout import Counts
from tidegate.detect.drift.learned import Learned
from tidegate.detect.drift.metrics import COUNT, FAMILIES, METRICS
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import WARM, Kind
from tidegate.detect.drift.weigh import LICENCE_THRESHOLD, Weighed, weigh

SLOW = tuple(range(FIRST_SLOW, COUNT))
FLEET = Fleet()
CANARIES = FLEET.where(Kind.CANARY)


def test_without_a_canary_there_is_nothing_to_weigh():
    assert weigh(Counts(), Past(), Learned(), START_MS) == Weighed()


# Tiers.


@given(
    st.integers(3, 8),
    st.floats(0.5, 30.0),
    st.integers(0, 2**32 - 1),
    st.sampled_from([(ERRORS,), SLOW, tuple(range(COUNT))]),
    st.integers(1, 8),
)
@settings(max_examples=8, deadline=None)
def test_leaving_out_a_canary_only_ever_lowers_the_evidence(canaries, size, seed, metrics, bad):
    fleet = Fleet(canaries=canaries, controls=3, rest=10, zones=2)
    sick = fleet.times(size, np.isin(fleet.nodes, fleet.nodes[: min(bad, canaries)]), metrics)
    played = Play(fleet=fleet, seconds=60, every=10, times=lambda _: sick, rng=np.random.default_rng(seed)).run()
    for weighed in played.weighed:
        for family in weighed.families:
            assert family.log_e <= family.log_e_pause + 1e-9


def test_leaving_out_half_a_minute_only_ever_lowers_the_evidence():
    fleet = Fleet(canaries=2, controls=3, rest=10, zones=2)
    played = Play(fleet=fleet, seconds=60, every=1, rng=np.random.default_rng(51)).run()
    for weighed in played.weighed:
        for family in weighed.families:
            assert family.log_e <= family.log_e_pause + 1e-9


def test_a_regression_of_all_canaries_is_seen_within_seconds_and_in_its_family():
    for metrics, name in (((ERRORS,), "errors"), (SLOW, "latency")):
        sick = FLEET.times(50.0 if name == "errors" else 3.0, CANARIES, metrics)
        played = Play(every=1, seconds=20, times=lambda _, sick=sick: sick).run()
        assert played.rolled_back
        assert played.weighed[-1].families[0].family == name
        assert played.at[int((played.log_e() >= played.weighed[0].families[0].threshold).argmax())] < 15


def test_a_canary_that_is_better_is_never_accused():
    better = FLEET.times(0.3, CANARIES)
    played = Play(seconds=200, times=lambda _: better).run()
    assert (played.log_e(pause=True) < 0).all()


@pytest.mark.parametrize("canaries", [1, 3, 5])
@pytest.mark.parametrize("begin", [0, 150, 340])
def test_wherever_a_fault_begins_the_onset_told_is_near(canaries, begin):
    fleet = replace(FLEET, canaries=canaries)
    sick = fleet.times(4.0, fleet.where(Kind.CANARY))
    played = Play(fleet=fleet, seconds=begin + 100, every=50, times=during(begin, 1_000, sick)).run()
    assert played.rolled_back
    assert abs(played.weighed[-1].families[0].onset_ms - START_MS - 1_000 * begin) <= 60_000


def test_a_family_tells_the_counts_behind_it():
    sick = FLEET.times(40.0, CANARIES, (ERRORS,))
    family = Play(seconds=30, times=lambda _: sick).run().weighed[-1].families[0]
    assert (family.family, family.onset_ms, family.cold) == ("errors", START_MS, False)
    assert len(family.deleted) == 1
    assert family.canary_events == pytest.approx(30 * 4 * 2.0, rel=0.05)  # of the four that are left
    assert family.share == pytest.approx(family.canary_events / (family.canary_events + family.control_events))
    assert family.expected_share == pytest.approx(4 / 29, rel=0.02)
    assert 0 < family.variance < 0.2


# Doubt.


def doubtful(times: float, **changes) -> tuple[float, float]:
    """Log e-value and variance of a canary that is twice as bad, beside warm controls that have ``times`` the fleet's events."""
    odd = FLEET.times(2.0, CANARIES) * FLEET.times(times, FLEET.where(Kind.CONTROL))
    played = Play(seconds=120, ages=lambda at: 500.0 + at, times=lambda _: odd, **changes).run()
    latency = next(family for family in played.weighed[-1].families if family.family == "latency")
    return latency.log_e, latency.variance


def test_controls_that_are_not_like_the_fleet_although_nothing_should_be_wrong_widen_the_null():
    usual, odd = doubtful(1.0), doubtful(1.8)
    assert odd[1] > 1.5 * usual[1]
    assert odd[0] < usual[0]


def test_one_odd_control_is_no_reason_for_doubt():
    fleet = Fleet(controls=6)
    sick = fleet.times(2.0, fleet.where(Kind.CANARY))
    play = Play(fleet=fleet, seconds=120, ages=lambda at: 500.0 + at)
    usual = replace(play, times=lambda _: sick).run().weighed[-1].families[0]
    with_one = sick * fleet.times(1.8, np.array(fleet.nodes) == "k002")
    odd = replace(play, times=lambda _: with_one).run().weighed[-1].families[0]
    assert odd.variance < 1.3 * usual.variance


def test_a_fleet_that_scatters_more_needs_more():
    """The same split, from a past whose servers wander and whose events come in bunches."""
    steps = np.exp(0.5 * np.random.default_rng(30).standard_normal((12, 30, 1)))
    fleet = replace(FLEET, errors=0.01)
    calm = learnt(fleet, 13, rng=np.random.default_rng(31))
    restless = learnt(fleet, 13, lambda at: steps[at // 60 % 12], rng=np.random.default_rng(31))
    sick = fleet.times(2.5, CANARIES, (ERRORS,))
    found = [
        Play(fleet=fleet, past=past, seconds=60, times=lambda _: sick).run().log_e("errors")[-1] for past in (calm, restless)
    ]
    assert found[1] < found[0]


# Licences.


def licences(times, seconds: int = 400, seed: int | None = None, **changes) -> list[tuple[float, bool]]:
    rng = None if seed is None else np.random.default_rng(seed)
    played = Play(seconds=seconds, every=20, times=times, rng=rng, **changes).run()
    return [
        (
            min((family.log_licence for family in weighed.families if family.log_licence is not None), default=math.nan),
            weighed.certified,
        )
        for weighed in played.weighed
    ]


def test_in_the_first_minute_there_is_no_licence():
    assert [certified for _, certified in licences(lambda _: 1.0)[:3]] == [False] * 3
    assert all(math.isnan(log_e) for log_e, _ in licences(lambda _: 1.0)[:3])


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_rollout_gets_its_licence(seed):
    assert licences(lambda _: 1.0, seed=seed)[-1][1]


@pytest.mark.parametrize("metrics", [(ERRORS,), (METRICS.index("slow@p90"),), (METRICS.index("slow@p99"),)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.thorough
def test_a_canary_as_bad_as_is_not_tolerated_gets_none(metrics, seed):
    sick = FLEET.times(2.0, CANARIES, metrics)
    found = licences(lambda _: sick, seed=40 + seed)
    assert not any(certified for _, certified in found)
    assert all(log_e < LICENCE_THRESHOLD for log_e, _ in found[3:])


def test_nobody_is_certified_on_next_to_no_events():
    idle = Fleet(errors=1e-6)
    found = licences(lambda _: FLEET.times(1.0, FLEET.where()), seconds=200, fleet=idle)
    assert not any(certified for _, certified in found)


def test_a_first_stage_of_half_a_minute_does_not_make_a_licence_impossible():
    fleet = Fleet(canaries=10)
    later = fleet.nodes[5:10]
    play = Play(
        fleet=fleet, seconds=500, every=50, without=lambda at: later if at < 30 else (), placement=lambda at: f"p{at // 30 > 0}"
    )
    assert any(weighed.certified for weighed in play.run().weighed)


# Thresholds.


def test_both_families_share_one_budget():
    family = Play(seconds=10).run().weighed[-1].families[0]
    assert family.threshold == pytest.approx(math.log(len(FAMILIES) / weighing.ALPHA))
    assert len(FAMILIES) * math.exp(-family.threshold) <= weighing.ALPHA * (1 + 1e-9)


def test_what_healthy_rollouts_have_reached_is_not_enough():
    learned = Learned(placebos=(20.0, 12.0), rollouts=199)
    assert Play(seconds=10, learned=learned).run().weighed[-1].families[0].threshold == 20.0
    low = Learned(placebos=(0.0,) * 16, rollouts=500)
    assert Play(seconds=10, learned=low).run().weighed[-1].families[0].threshold == pytest.approx(math.log(2 / weighing.ALPHA))


def test_what_is_said_is_finite_and_can_be_read():
    played = Play(seconds=30, every=10).run()
    for weighed in played.weighed:
        for family in weighed.families:
            assert math.isfinite(family.log_e)
            assert math.isfinite(family.log_e_pause)


# The guarantee, in small: the long proof is made of thousands of hours.


@pytest.mark.parametrize("canaries", [1, 5])
@pytest.mark.thorough
def test_healthy_rollouts_with_hosts_of_their_own_and_bunches_of_errors_are_not_rolled_back(canaries):
    fleet = Fleet(canaries=canaries, controls=5, rest=20, zones=3, errors=0.002, retries=2)
    for seed in range(3):
        rng = np.random.default_rng(100 + seed)
        host = np.exp(0.4 * rng.standard_normal((len(fleet.nodes), 1)))
        redrawn = np.exp(0.1 * rng.standard_normal((len(fleet.nodes), 1)))
        past = learnt(fleet, 8, lambda _, host=host: host * 1.0, rng)
        cold = fleet.where(Kind.CANARY, Kind.CONTROL)[:, None]

        def times(at: int, known=host * redrawn, cold=cold) -> np.ndarray:
            return known * (1.0 + cold * 3.0 * math.exp(-at / 15.0))

        play = Play(fleet=fleet, past=past, seconds=300, every=5, ages=lambda at: at + 1.0, times=times, rng=rng)
        assert not play.run().rolled_back


def test_ages_that_nobody_knows_are_those_of_warm_servers():
    assert Play(seconds=20, ages=lambda _: WARM).run().counts.cold.sum() == 0


def test_a_cold_start_that_goes_on_much_larger_than_it_should_is_not_the_releases_fault():
    cold = FLEET.times(3.0, FLEET.where(Kind.CANARY, Kind.CONTROL), (METRICS.index("slow@p90"),))
    assert not Play(seconds=100, every=10, ages=lambda at: 200.0 + at, times=lambda _: cold).run().rolled_back
