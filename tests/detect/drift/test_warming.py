"""What a rollout teaches about restarts, and what it does not."""

import math
from functools import cache

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.drift.kit import Fleet, Play, quiet

from tidegate.detect.drift import warming as teaching
from tidegate.detect.drift.learned import AGES_S, RESTARTS_MIN, Learned
from tidegate.detect.drift.metrics import COUNT, METRICS
from tidegate.detect.drift.seconds import Kind
from tidegate.detect.drift.warming import Warming, teach

FLEET = Fleet(canaries=8, controls=8, rest=40, errors=0.005)
ONES = np.ones(COUNT)


@cache
def restarted(cold_s: float, seconds: int = 500, amplitude: float = 5.0) -> Warming:
    """Of a rollout in which nothing is wrong but that restarted servers are cold."""
    who = FLEET.where(Kind.CANARY, Kind.CONTROL)
    play = Play(
        fleet=FLEET,
        seconds=seconds,
        every=1_000,
        ages=lambda at: at + 1.0,
        times=lambda at: FLEET.times(1.0 + amplitude * math.exp(-at / cold_s), who, (0, 1, 4, 5, 6, 7)),
        rng=np.random.default_rng(20),
    )
    return play.run().counts.warming


def taught(warming: Warming, learned: Learned | None = None, *, promoted: bool = True, largest: float = 1.0) -> Learned:
    return teach(learned or Learned(), warming, ONES, promoted=promoted, largest=(largest, 2.0 * largest))


def test_the_curve_of_a_cold_start_is_learned_within_a_factor():
    found = taught(restarted(20.0))
    for metric in ("errors", "slow@p90"):
        for begin, end, ratio in zip(AGES_S, AGES_S[1:], found.curve[metric], strict=False):
            if end > 500:
                break
            mean = 1.0 + 5.0 * 20.0 * (math.exp(-begin / 20.0) - math.exp(-end / 20.0)) / (end - begin)
            assert mean / 1.5 < ratio < mean * 1.5
    assert found.curve["slow@p50"][0] == pytest.approx(1.0, abs=0.1)


def test_what_a_warm_server_would_have_had_is_no_matter_of_luck_of_a_small_fleet():
    fleet = Fleet(canaries=8, controls=8, rest=10)
    play = Play(fleet=fleet, seconds=30, every=1_000, ages=lambda at: at + 1.0, rng=np.random.default_rng(2))
    due = play.run().counts.warming.curve[:, 1, :, 0].sum(axis=0)
    for at, seconds in ((0, 4), (1, 5), (2, 5)):
        usual = 16 * 50 * 0.001 * seconds
        assert usual / 1.5 < due[at] < usual * 1.5


def test_the_length_of_a_cold_start_is_learned_within_a_factor_and_the_longer_it_is_the_longer():
    lengths = [taught(restarted(cold_s)).cold_s for cold_s in (10.0, 25.0, 60.0)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[1] < lengths[2]
    for cold_s, found in zip((10.0, 25.0, 60.0), lengths, strict=True):
        over = cold_s * math.log(5.0 / (teaching.STILL_COLD - 1.0))
        assert 0.6 * over < found < 3.0 * over


def test_a_service_that_starts_warm_is_soon_compared_with_everybody():
    assert taught(restarted(20.0, amplitude=0.0)).cold_s <= teaching.COLD_TIMES * teaching.COLD_MIN_S


def test_who_was_seen_for_a_minute_only_says_nothing_of_what_comes_after_it():
    found = taught(restarted(60.0, seconds=70))
    assert found.cold_s >= 90.0
    assert all(ratio == 1.0 for ratio in found.curve["errors"][AGES_S.index(120) :])


def test_a_service_without_an_error_teaches_too():
    fleet = Fleet(canaries=8, controls=8, rest=40, errors=0.0)
    found = taught(Play(fleet=fleet, seconds=70, every=1_000, ages=lambda at: at + 1.0).run().counts.warming)
    assert (found.restarts, found.revision) == (16, 1)


def test_a_promoted_rollout_teaches_of_its_canaries_too_and_a_failed_one_of_its_controls_only():
    warming = restarted(20.0)
    assert taught(warming, promoted=True).restarts == 16
    failed = taught(warming, promoted=False)
    assert failed.restarts == 8
    assert failed.due["errors"][0] == pytest.approx(0.5 * taught(warming).due["errors"][0], rel=0.05)


def test_a_canary_that_was_bad_does_not_become_what_is_usual():
    """Only its controls restarted well; the canaries of a failed rollout were as if cold for ever."""
    good = restarted(20.0, amplitude=0.0)
    bad = replace(good, curve=good.curve.copy(), own=good.own.copy())
    bad.curve[1, 0] *= 30.0
    bad.own[[place for place, mine in enumerate(bad.canary) if mine], 0] *= 30.0
    learned = taught(restarted(20.0))
    after = taught(bad, learned, promoted=False)
    before = taught(good, learned, promoted=False)
    assert (after.curve, after.cold_s, after.spreads) == (before.curve, before.cold_s, before.spreads)


def test_the_revision_rises_with_every_rollout_that_taught_of_restarts():
    first = taught(restarted(20.0))
    second = taught(restarted(20.0), first)
    assert (first.revision, second.revision) == (1, 2)
    assert (second.restarts, second.rollouts) == (32, 2)
    nothing = taught(Warming(), second, promoted=False)
    assert (nothing.revision, nothing.curve) == (2, second.curve)


def test_few_restarts_replace_no_prior():
    few = restarted(20.0)
    few = replace(
        few, nodes=few.nodes[-(RESTARTS_MIN - 2) :], canary=(False,) * (RESTARTS_MIN - 2), own=few.own[-(RESTARTS_MIN - 2) :]
    )
    found = taught(few)
    assert found.restarts == RESTARTS_MIN - 2
    assert (found.curve, found.cold_s, found.spreads) == ({}, Learned().cold_s, {})
    more = taught(few, found)
    assert more.curve
    assert more.spreads


def test_placebos_are_the_largest_of_healthy_rollouts_and_of_no_others():
    learned = Learned()
    for value in range(40):
        learned = taught(Warming(), learned, largest=float(value % 25))
        learned = taught(Warming(), learned, promoted=False)
    assert learned.rollouts == 40
    assert learned.placebos == tuple(sorted((float(value % 25) for value in range(40)), reverse=True)[:16])


def test_a_new_cold_start_replaces_an_old_one_within_a_few_rollouts():
    learned = Learned()
    for _ in range(4):
        learned = taught(restarted(60.0), learned)
    long = learned.cold_s
    for _ in range(8):
        learned = taught(restarted(10.0), learned)
    assert learned.cold_s < 0.6 * long


def own_of(logs: np.ndarray, due: float = 2_000.0) -> Warming:
    """Servers that were so far from their own past once warm, and no cold start."""
    own = np.zeros((len(logs), 3, COUNT))
    own[:, 0] = due * np.exp(logs)[:, None]
    own[:, 1] = due
    curve = np.zeros((2, 2, len(AGES_S), COUNT))
    curve[0] = 1_000.0
    return Warming(tuple(f"k{at}" for at in range(len(logs))), (False,) * len(logs), curve, own)


@pytest.mark.parametrize("sd", [0.05, 0.2, 0.6])
def test_the_spread_of_servers_after_a_restart_is_learned_within_a_factor(sd):
    rng = np.random.default_rng(21)
    learned = Learned()
    for _ in range(6):
        learned = taught(own_of(sd * rng.standard_normal(40)), learned, promoted=False)
    assert 0.7 * sd < learned.spread("errors").node / teaching.SAFETY**0.5 < 1.6 * sd
    assert learned.spread("errors").host == Learned().spread("errors").host


def test_what_a_cohort_has_in_common_is_learned_apart():
    rng = np.random.default_rng(22)
    learned = Learned()
    for sign in (1, -1) * 4:
        learned = taught(own_of(0.05 * rng.standard_normal(40) + 0.3 * sign), learned, promoted=False)
    assert 0.2 < learned.spread("errors").common < 0.6
    assert learned.spread("errors").node < 0.12


def test_an_incident_of_one_of_many_does_not_widen_what_servers_differ_by():
    logs = 0.05 * np.random.default_rng(23).standard_normal(40)
    calm = taught(own_of(logs), promoted=False)
    logs[7] = 3.0
    stormy = taught(own_of(logs), promoted=False)
    assert stormy.spread("errors").node < 1.2 * calm.spread("errors").node


def test_a_curve_never_rises_with_age():
    seen = (300.0, 100.0, 100.0, 300.0, 100.0)
    found = teaching._curve(seen, (100.0,) * 5)
    assert list(found) == sorted(found, reverse=True)


def test_names_without_room_teach_the_curve_all_the_same():
    fleet = Fleet(canaries=80, controls=5, rest=5)
    past = quiet(fleet, 1)
    warming = Play(fleet=fleet, past=past, seconds=20, every=1_000, ages=lambda at: at + 1.0).run().counts.warming
    assert len(warming.nodes) == teaching.NODES_MAX
    assert warming.curve[1, 1, :, 0].sum() > 0.9 * 20 * 50 * 80 * 0.001


def test_every_metric_is_taught():
    found = taught(restarted(20.0))
    assert {*found.curve} == {*found.seen} == {*found.due} == {*METRICS}
