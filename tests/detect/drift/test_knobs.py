"""What each knob of DRIFT prevents: with its default a case is fine, and turned off the same case is wrong."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.drift.kit import (
    ERRORS,
    FIRST_SLOW,
    REQUESTS,
    START_MS,
    Fleet,
    Play,
    Played,
    during,
    learnt,
    placed,
    quiet,
    second,
)
from tests.detect.drift.test_gates import FLEET as ZONED
from tests.detect.drift.test_gates import watched
from tests.detect.drift.test_past import bell, minute_of
from tests.detect.drift.test_warming import own_of

from tidegate.detect.drift import counts as counting
from tidegate.detect.drift import evalue, gates, half_minute, layout, onsets
from tidegate.detect.drift import learned as record
from tidegate.detect.drift import past as history
from tidegate.detect.drift import warming as teaching
from tidegate.detect.drift import weigh as weighing
from tidegate.detect.drift.arrays import pack
from tidegate.detect.drift.counts import update
from tidegate.detect.drift.layout import Counts
from tidegate.detect.drift.learned import AGES_S, Learned
from tidegate.detect.drift.metrics import COUNT, METRICS
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import Kind
from tidegate.detect.drift.warming import teach

Case = Callable[[], bool]
CASES: list[Any] = []
SLOW = tuple(range(FIRST_SLOW, COUNT))
P90, P99 = (METRICS.index("slow@p90"),), (METRICS.index("slow@p99"),)
FLEET = Fleet()
CANARIES = FLEET.where(Kind.CANARY)
LONE = Fleet(canaries=1, controls=1)
BUSY = Fleet(canaries=0, controls=0, rest=20, errors=0.01)


def prevents(*off: tuple[Any, str, Any], fault: str = "") -> Callable[[Case], Case]:
    """A case that is fine with the knobs as they are and is not with them turned off: (module, name, value)."""
    marks = [pytest.mark.xfail(reason=fault, strict=True)] if fault else []

    def known(case: Case) -> Case:
        CASES.append(pytest.param(case, off, id=f"{off[0][1]}: {case.__name__}", marks=marks))
        return case

    return known


def forget() -> None:
    """What was worked out once was so under other knobs."""
    for module in (history, record):
        for one in vars(module).values():
            if hasattr(one, "cache_clear"):
                one.cache_clear()


def delay_s(played: Played, begin: int = 0) -> float:
    """Seconds from the begin of a fault to the retreat."""
    reached = np.flatnonzero(played.log_e() >= played.weighed[-1].families[0].threshold)
    return played.at[reached[0]] + 1.0 - begin if len(reached) else math.inf


def faulty(begin: int, size: float, metrics: tuple[int, ...] = (ERRORS,), *, fleet: Fleet = FLEET, last: int = 60) -> float:
    """The delay of a fault of all canaries in the middle of a rollout."""
    sick = fleet.times(size, fleet.where(Kind.CANARY), metrics)
    return delay_s(Play(fleet=fleet, seconds=begin + last, every=2, times=during(begin, 10**9, sick)).run(), begin)


def aged(at: int) -> float:
    return at + 1.0


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


# The e-value.


@prevents((evalue, "_ALTERNATIVES", np.array((1.0, 1.06, 1.15))), (evalue, "_MASSES", np.array((0.5, 0.5))))
def without_large_ratios_eight_errors_to_none_would_be_no_evidence() -> bool:
    return evalue.log_evidence(one(8), one(0), one(0.16), one(0.05))[0] > 5.3


@prevents((evalue, "_ALTERNATIVES", np.array((1.0, 7.0, 25.0))), (evalue, "_MASSES", np.array((0.5, 0.5))))
def without_small_ratios_a_third_more_would_be_evidence_of_health() -> bool:
    return evalue.log_evidence(one(300), one(1_200), one(0.16), one(0.002))[0] > 0.0


@prevents((evalue, "_SHIFT", 0))
def without_a_recurrence_the_gamma_function_of_small_numbers_would_be_wrong() -> bool:
    if evalue._SHIFT == 0:  # the product of six belongs to it
        z = 0.5
        return abs((z - 0.5) * math.log(z) - z + 0.9189385332046727 + 1 / (12 * z) - math.lgamma(z)) < 1e-6
    return abs(evalue.log_gamma(one(0.5))[0] - math.lgamma(0.5)) < 1e-6


# Onsets.


@prevents((onsets, "EARLY", ((0, 0.68),)))
def without_early_onsets_a_fault_with_the_first_real_work_would_be_diluted() -> bool:
    return faulty(60, 10.0) < 10


@prevents((counting, "onset_at", lambda at, stage, start_ms: onsets.onset_at(at, stage, start_ms) if at < 180 else None))
def without_later_onsets_a_fault_after_ten_minutes_would_be_diluted() -> bool:
    return faulty(600, 10.0) < 15


@prevents((onsets, "EVERY_S", 3_600), (onsets, "LASTING_S", 3_600))
def with_an_onset_an_hour_too() -> bool:
    return faulty(600, 10.0) < 15


def marked(seconds: int) -> int:
    """How many onsets are looked at after so long."""
    found: tuple[onsets.Onset, ...] = ()
    for at in range(seconds):
        new = onsets.onset_at(at, 1, 1_000 * at)
        if new is not None:
            found = (*(found[place] for place in onsets.kept(found, 1_000 * at)), new)
    return len(found)


@prevents((onsets, "LIVES_S", 10**6))
def onsets_that_live_for_ever_would_pile_up() -> bool:
    return marked(7_200) < 20


@prevents((onsets, "BRIEF", frozenset()), (onsets, "LASTING_MAX", 6))
def onsets_beside_each_other_would_make_a_state_larger_than_it_need_be() -> bool:
    return marked(7_200) < 13


@prevents((onsets, "LASTING_MAX", 10**6))
def of_a_rollout_that_bakes_for_a_day_each_ten_minutes_would_be_kept() -> bool:
    return marked(86_400) < 20


@prevents((onsets, "LASTING_S", 10**6))
def without_lasting_onsets_a_small_fault_that_came_late_would_drown_in_what_was_before() -> bool:
    fleet = replace(FLEET, canaries=2, errors=0.002)
    sick = fleet.times(2.7, fleet.where(Kind.CANARY), (ERRORS,))
    return Play(fleet=fleet, seconds=1_800, every=100, times=during(1_200, 10**9, sick)).run().rolled_back


@prevents((onsets, "FIRST_STAGE", 0.5))
def half_of_the_budget_would_be_kept_for_stages_that_may_never_come() -> bool:
    return -math.log(onsets.stage_mass(1)) < 0.5


@prevents((onsets, "HALF", 1))
def an_onset_after_an_hour_would_have_no_mass_left() -> bool:
    hour, first = onsets.onset_at(3_660, 1, 0), onsets.onset_at(180, 1, 0)
    return hour is not None and first is not None and math.log(first.mass / hour.mass) < 3.0


# Priors and what replaces them.


def differing(fleet: Fleet, size: float, metrics: tuple[int, ...] = P90, past: Past | None = None) -> bool:
    """Whether canaries that are so much worse are left in peace."""
    odd = fleet.times(size, fleet.where(Kind.CANARY), metrics)
    return not Play(fleet=fleet, past=past, seconds=240, every=30, times=lambda _: odd).run().rolled_back


NONE = {"host": 1e-3, "node": 1e-3, "common": 1e-3, "restart": 0.0, "warm": 0.05}


def without_prior(name: str) -> Callable[[Learned, str], record.Spread]:
    def spread(learned: Learned, metric: str) -> record.Spread:
        return replace(SPREAD(learned, metric), **{name: NONE[name]})

    return spread


SPREAD = Learned.spread


@prevents((Learned, "spread", without_prior("common")))
def what_a_cohort_has_in_common_would_be_the_releases_fault() -> bool:
    return differing(Fleet(canaries=20, controls=5, rest=40), 1.25)


@prevents((Learned, "spread", without_prior("node")))
def what_one_server_differs_by_after_a_restart_would_be_the_releases_fault() -> bool:
    return differing(LONE, 1.6)


@prevents((Learned, "spread", without_prior("host")))
def a_server_that_nobody_has_seen_would_have_to_be_like_the_others() -> bool:
    fleet = replace(LONE, errors=0.02)
    return differing(fleet, 3.0, (ERRORS,), quiet(replace(fleet, canaries=0, controls=0)))


@prevents((Learned, "spread", without_prior("restart")))
def a_cold_start_larger_than_that_of_its_controls_would_be_the_releases_fault() -> bool:
    fleet = Fleet(canaries=3, controls=3)
    mine, theirs = fleet.where(Kind.CANARY), fleet.where(Kind.CONTROL)

    def times(at: int) -> np.ndarray:
        cold = math.exp(-at / 15.0)
        return fleet.times(1.0 + 20.0 * cold, mine, P99) * fleet.times(1.0 + 5.0 * cold, theirs, P99)

    return not Play(fleet=fleet, seconds=60, every=2, ages=aged, times=times).run().rolled_back


@prevents((Learned, "spread", without_prior("warm")))
def a_cold_start_larger_than_those_before_would_be_the_releases_fault() -> bool:
    fleet = Fleet(canaries=20, controls=0)
    curve = {metric: tuple(1.0 + 3.0 * math.exp(-age / 15.0) for age in AGES_S) for metric in METRICS}

    def times(at: int) -> np.ndarray:
        return fleet.times(1.0 + 8.0 * math.exp(-at / 15.0), fleet.where(Kind.CANARY), P99)

    learned = Learned(curve=curve, cold_s=90.0, restarts=40)
    return not Play(fleet=fleet, seconds=60, every=1, ages=aged, times=times, learned=learned).run().rolled_back


@prevents((record, "FEW_CONTROLS", 1))
def the_luck_of_one_control_would_count_more_than_the_mean_of_many_restarts() -> bool:
    fleet = Fleet(canaries=5, controls=1)
    curve = {metric: (1.0,) * len(AGES_S) for metric in METRICS}
    lucky = fleet.times(0.35, fleet.where(Kind.CONTROL), SLOW)
    learned = Learned(curve=curve, cold_s=90.0, restarts=40)
    return not Play(fleet=fleet, seconds=85, every=5, ages=aged, times=lambda _: lucky, learned=learned).run().rolled_back


@prevents((teaching, "RESTARTS_MIN", 1))
def one_restart_with_an_incident_would_be_what_a_cold_start_is_like() -> bool:
    warming = replace(own_of(np.zeros(1)), curve=own_of(np.zeros(1)).curve.copy())
    warming.curve[0, 0] = 1_000.0
    warming.curve[0, 0, :10] = 8_000.0
    return not teach(Learned(), warming, np.ones(COUNT), promoted=False, largest=(0.0, 0.0)).curve


@prevents((teaching, "SAFETY", 1.0))
def every_other_spread_that_is_learned_would_be_too_small() -> bool:
    rng, small = np.random.default_rng(62), 0
    for _ in range(60):
        learned = Learned()
        for _ in range(3):
            learned = teach(learned, own_of(0.2 * rng.standard_normal(16)), np.ones(COUNT), promoted=False, largest=(0.0, 0.0))
        small += learned.spread("errors").node < 0.2
    return small < 18


@prevents((record, "PLACEBOS_MIN", 1))
def one_odd_rollout_would_blind_all_that_follow() -> bool:
    return record.placebo_floors(Learned(placebos=(40.0,), rollouts=1), 0.005) == (0.0, 0.0)


@prevents((teaching, "PLACEBOS_KEPT", 1))
def after_many_rollouts_the_oddest_of_all_would_be_the_floor() -> bool:
    learned = Learned()
    for value in range(900):
        learned = teach(learned, teaching.Warming(), np.ones(COUNT), promoted=True, largest=(float(value), float(value)))
    return record.placebo_floors(learned, 0.005)[0] < 899.0


# The past.


@prevents((history, "KEEP", 1.0))
def an_error_level_of_yesterday_would_be_held_against_today() -> bool:
    past = Past()
    for at in range(60 * 12):
        past = history.learn(past, *minute_of(at, errors=120 if at < 60 * 8 else 30))
    return float(history.rate(past)[ERRORS]) < 1.3 * 30 / (60 * REQUESTS)


@prevents((history, "REQUESTS_MIN", 1))
def edges_would_be_chosen_from_a_handful_of_requests() -> bool:
    past = Past()
    few = np.zeros(160, dtype=np.int64)
    few[[50, 60]] = 3
    for at in range(3):
        past = history.learn(past, *minute_of(at, slots=few))
    return past.edges == ()


def minutes_without_a_rate(swing: int) -> int:
    """In three hours of a service whose latency comes and goes by so many buckets each hour."""
    past, without = Past(), 0
    for at in range(180):
        told, end_ms, slots = minute_of(at, slots=bell(60 + round(swing * math.sin(at / 10.0))))
        past = history.learn(past, replace(told, slow=np.full_like(told.slow, 5)), end_ms, slots)
        without += bool(past.edges) and float(history.rate(past)[FIRST_SLOW]) == 0.0
    return without


@prevents((history, "EDGES_MS", 0), (history, "EDGE_MOVES", 1))
def a_service_that_breathes_would_never_know_its_slow_requests() -> bool:
    return minutes_without_a_rate(8) <= 4


@prevents((history, "EDGE_MOVES", 0))
def edges_that_stay_where_they_are_would_be_chosen_anew_each_hour() -> bool:
    return minutes_without_a_rate(0) <= 1


@prevents((history, "NODES_MIN", 1))
def a_single_server_would_be_known_never_to_wander() -> bool:
    """What all have in common is taken out, and one server has all in common with itself."""
    single = replace(BUSY, rest=1, errors=0.1)
    steps = np.exp(0.5 * np.random.default_rng(63).standard_normal(12))
    with np.errstate(all="ignore"):
        past = learnt(single, 12, lambda at: float(steps[at // 60 % 12]))
    return bool(history.wander(past)[ERRORS] > 0.01)


@prevents((history, "BLOCK_MS", 60_000))
def what_wanders_for_half_a_minute_would_be_bunches() -> bool:
    steps = np.exp(0.5 * np.random.default_rng(68).standard_normal((90, 20, 1)))
    past = learnt(BUSY, 15, lambda at: steps[at // 20 % 90], np.random.default_rng(69))
    return history.dispersion(past)[ERRORS] < 2.0


@prevents((history, "BUNCH_MAX", math.inf))
def a_service_with_a_storm_now_and_then_would_be_blind() -> bool:
    rng = np.random.default_rng(64)
    fleet = replace(FLEET, errors=0.01, retries=60)
    past = learnt(fleet, 12, rng=rng)
    return float(history.dispersion(past)[ERRORS]) <= 30.0


@prevents((history, "WANDER_TRUSTED", 1e-6))
def a_dozen_errors_would_tell_how_far_servers_wander() -> bool:
    few = replace(BUSY, errors=0.0001)
    return all(history.wander(learnt(few, 8, rng=np.random.default_rng(81 + at)))[ERRORS] > 0.01 for at in range(4))


@prevents((history, "BURST", math.inf))
def bursts_that_servers_feel_differently_would_be_their_wandering() -> bool:
    felt = np.exp(0.8 * np.random.default_rng(82).standard_normal((20, 1)))
    fleet = replace(BUSY, errors=0.02)
    past = learnt(fleet, 20, lambda at: 1.0 + 0.8 * felt if at // 60 % 4 == 3 else 1.0, np.random.default_rng(83))
    return history.wander(past)[ERRORS] < 0.03


@prevents((history, "WANDER_PRIOR", 0.0))
def a_service_of_five_minutes_would_be_known_never_to_wander() -> bool:
    return history.wander(quiet(FLEET, 4))[ERRORS] > 0.0


@prevents((history, "NODES_MAX", 10**9))
def servers_with_a_new_name_each_would_fill_the_memory() -> bool:
    told, end_ms, _ = minute_of(0, nodes=13_000)
    return len(history.learn(Past(), told, end_ms, []).nodes) <= 12_000


@prevents((history, "GONE_MINUTES", math.inf))
def servers_that_are_gone_would_be_kept() -> bool:
    past = Past()
    for at in range(300):
        past = history.learn(past, *minute_of(at, nodes=10, begin=10 * (at // 20)))
    return len(past.nodes) < 80


# Gates.


@prevents((gates, "TRAIL", 0.0))
def a_burst_of_few_events_a_second_would_not_be_seen() -> bool:
    return not watched(ZONED, 6.0, 12, due=0.05)[1].any()


@prevents((gates, "TRAIL", 0.995))
def a_burst_would_be_remembered_for_minutes() -> bool:
    shut, _ = watched(ZONED, ZONED.times(10.0, ZONED.where()), 20)
    return bool(watched(ZONED, 1.0, 60, before=shut)[1].all())


@prevents((gates, "HOT", 1.0))
def a_third_more_of_everything_would_be_a_burst() -> bool:
    return bool(watched(ZONED, 1.4, 20)[1].all())


@prevents((gates, "HOT_UNKNOWN", 2.0))
def a_server_whose_level_nobody_knows_would_be_an_incident() -> bool:
    odd = ZONED.times(2.6, np.array(ZONED.nodes) == "r003")
    return bool(watched(ZONED, odd, 20, known=0.0)[1].all())


def by_chance(due: float) -> float:
    """Which part of node-seconds counts where all is chance."""
    rng = np.random.default_rng(65)
    drawn = [rng.poisson(due, (30, COUNT)) / due for _ in range(300)]
    found = None
    kept = []
    for times in drawn:
        found, counts = watched(ZONED, times, 1, before=found, due=due)
        kept.append(counts.mean())
    return float(np.mean(kept))


@prevents((gates, "SIGMAS", 0.0))
def chance_would_shut_gates_where_events_are_few() -> bool:
    return by_chance(0.6) > 0.98


@prevents((gates, "MARGIN", 0.0))
def two_errors_would_shut_gates_where_next_to_none_are_due() -> bool:
    return by_chance(0.004) > 0.98


@prevents((gates, "PEERS_MIN", 2))
def what_ails_one_of_two_would_be_no_matter_of_their_zone() -> bool:
    fleet = replace(ZONED, controls=0, rest=6)
    ill = fleet.where(Kind.REST, zone="x") & (np.cumsum(fleet.where(Kind.REST)) == 1)
    _, counts = watched(fleet, fleet.times(10.0, ill), 8)
    return not counts[fleet.where(Kind.CANARY, zone="x")].any()


def part_of_them(ill: int, canaries: int = 6) -> bool:
    """Whether canaries are rolled back of which so many are slow from their start on, the others not at all."""
    fleet = replace(FLEET, canaries=canaries)
    mine = fleet.where(Kind.CANARY) & (np.arange(len(fleet.nodes)) < ill)
    return Play(fleet=fleet, seconds=240, every=5, times=lambda _: fleet.times(4.0, mine, P90)).run().rolled_back


@prevents((weighing, "DELETED", 0.5))
def what_ails_two_of_six_canaries_would_be_left_out() -> bool:
    return part_of_them(2)


@prevents((weighing, "without", np.ones_like))
def one_canary_would_be_enough_if_only_it_were_ill_for_long() -> bool:
    return not part_of_them(1, canaries=3)


@prevents((gates, "HOLD_S", 0.0))
def the_lulls_of_a_burst_would_count() -> bool:
    """It comes and goes every few seconds."""
    burst = ZONED.times(10.0, ZONED.where())
    found, _ = watched(ZONED, burst, 10)
    counted = []
    for at in range(60):
        found, counts = watched(ZONED, burst if at % 16 < 2 else 0.2, 1, before=found)
        counted.append(counts.mean())
    return sum(counted) < 20


@prevents((gates, "LEVEL_S", 1e9))
def what_has_become_usual_would_be_a_burst_for_ever() -> bool:
    found, _ = watched(ZONED, 2.5, 1_200)
    return bool(watched(ZONED, 2.5, 60, before=found)[1].all())


@prevents((gates, "LEVEL_S", 5.0))
def a_burst_of_a_minute_would_be_usual_before_it_is_over() -> bool:
    return not watched(ZONED, 10.0, 60)[1].any()


def storm(fleet: Fleet) -> bool:
    """Whether the canary of a pair may send thousands of errors in two seconds that lie two minutes apart."""
    errors = fleet.times(600.0, np.array(fleet.nodes) == "c000", (ERRORS,))
    times = during(200, 201, errors)
    play = Play(fleet=fleet, seconds=150, every=10, times=lambda at: errors if at in {60, 200} else times(at))
    return not replace(play, seconds=300).run().rolled_back


@prevents((gates, "CAP_TIMES", math.inf))
def a_storm_of_retries_in_two_seconds_would_be_a_regression() -> bool:
    return storm(LONE)


# Counts.


def size_of(fleet: Fleet) -> int:
    counts = Counts()
    for at in range(2):
        counts = update(counts, quiet(replace(fleet, zones=1), 1), Learned(), second(fleet, at), placed(fleet))
    return len(msgspec.msgpack.encode(counts, enc_hook=pack))


@prevents((layout, "GROUPS_MAX", 10_000))
def the_state_would_grow_with_canaries() -> bool:
    return size_of(Fleet(canaries=200, controls=5, rest=5)) < 3 * size_of(Fleet(canaries=30, controls=5, rest=5))


class Strewn(Fleet):
    """Everybody in a stratum of his own."""

    @property
    def strata(self) -> tuple[str, ...]:
        return tuple(f"zone-{at}" for at in range(len(self.nodes)))


@prevents((layout, "STRATA_MAX", 10_000))
def the_state_would_grow_with_strata() -> bool:
    return size_of(Strewn(canaries=3, controls=3, rest=100)) < 3 * size_of(Fleet(canaries=3, controls=3, rest=100))


@prevents((layout, "STRATA_MAX", 1))
def an_incident_of_the_zone_of_the_canaries_would_be_their_fault() -> bool:
    fleet = Fleet(canaries=5, controls=3, rest=30, zones=3, together=True)
    seen = fleet.times(2.5, fleet.where(zone="x"), SLOW)
    return not Play(fleet=fleet, seconds=240, every=10, times=during(30, 230, seen)).run().rolled_back


def restarted_apart(apart_s: int, size: float) -> Played:
    fleet = Fleet(canaries=5, controls=5)
    mine, theirs = fleet.where(Kind.CANARY), fleet.where(Kind.CONTROL)

    def ages(at: int) -> np.ndarray:
        return np.where(mine, at + 1.0, at + 1.0 + apart_s)

    def times(at: int) -> np.ndarray:
        young, old = (1.0 + size * math.exp(-age / 15.0) for age in (at, at + apart_s))
        return fleet.times(young, mine, SLOW[3:]) * fleet.times(old, theirs, SLOW[3:])

    return Play(fleet=fleet, seconds=60, every=2, ages=ages, times=times).run()


@prevents((counting, "AGE_TIMES", math.inf))
def the_cold_start_of_a_canary_would_be_compared_with_controls_that_are_warm() -> bool:
    return not restarted_apart(60, 5.0).rolled_back


@prevents((counting, "AGE_S", 0.0))
def controls_that_came_two_seconds_later_would_be_of_another_age_for_the_first_seconds() -> bool:
    return restarted_apart(2, 0.0).counts.canary[1].sum() > 0.99 * 60 * REQUESTS * 5 * COUNT


@prevents((half_minute, "WORST_S", 6))
def an_incident_longer_than_what_is_left_out_would_roll_back() -> bool:
    sick = LONE.times(100.0, LONE.where(Kind.CANARY), (ERRORS,))
    return not Play(fleet=LONE, seconds=300, every=3, times=during(230, 250, sick)).run().rolled_back


@prevents((weighing, "LEFT_S", 0))
def one_second_more_than_what_is_left_out_would_roll_back() -> bool:
    sick = LONE.times(20.0, LONE.where(Kind.CANARY), SLOW)
    return not Play(fleet=LONE, seconds=120, every=1, times=during(60, 91, sick)).run().rolled_back


@prevents((layout, "CHECKS", 1), (counting, "CHECKS", 1))
def one_odd_control_would_put_all_in_doubt() -> bool:
    fleet = Fleet(controls=2)
    odd = fleet.times(1.9, np.array(fleet.nodes) == "k001")
    sick = fleet.times(2.0, fleet.where(Kind.CANARY))
    play = Play(fleet=fleet, seconds=120, every=40, ages=lambda at: 500.0 + at)
    plain, doubtful = (
        replace(play, times=lambda _, times=times: times).run().weighed[-1].families[0].variance for times in (sick, sick * odd)
    )
    return doubtful < 1.04 * plain


@prevents((half_minute, "FEW", 1), (weighing, "FEW", 1))
def a_lone_canary_would_always_be_the_one_that_is_left_out() -> bool:
    return faulty(60, 20.0, SLOW, fleet=LONE, last=100) < math.inf


@prevents((half_minute, "FEW", 100), (weighing, "FEW", 100))
def one_bad_canary_of_five_would_roll_back() -> bool:
    bad = FLEET.times(50.0, np.array(FLEET.nodes) == "c001")
    return not Play(seconds=130, every=5, times=lambda _: bad).run().rolled_back


# What is learned of restarts.


@prevents((teaching, "NODES_MAX", 10**6))
def a_rollout_of_thousands_would_be_remembered_server_by_server() -> bool:
    fleet = Fleet(canaries=120, controls=5, rest=5)
    counts = update(Counts(), quiet(fleet, 1), Learned(), second(fleet, 0, age_s=5.0), placed(fleet))
    return len(counts.warming.nodes) < 100


def restart_of(lasts_s: float, ratio: float = 4.0, events: float = 1_000.0) -> teaching.Warming:
    """Sums of sixteen restarts with so many times the events until they are so old; no chance."""
    found = own_of(np.zeros(16))
    curve = np.zeros_like(found.curve)
    curve[0, 1] = events
    curve[0, 0] = events * np.where(np.array(AGES_S) < lasts_s, ratio, 1.0)[:, None]
    return replace(found, curve=curve)


def told(*warmings: teaching.Warming) -> Learned:
    learned = Learned()
    for warming in warmings:
        learned = teach(learned, warming, np.ones(COUNT), promoted=False, largest=(0.0, 0.0))
    return learned


@prevents((teaching, "TRUSTED", 0.0))
def five_servers_that_happen_to_be_alike_would_mean_that_all_are() -> bool:
    return told(own_of(np.zeros(12))).spread("errors").node > 0.1


@prevents((counting, "LEVEL_PULL", 0.0))
def the_luck_of_a_small_fleet_in_one_second_would_be_taught() -> bool:
    fleet = Fleet(canaries=8, controls=8, rest=10)
    play = Play(fleet=fleet, seconds=5, every=1_000, ages=aged, rng=np.random.default_rng(2))
    due = play.run().counts.warming.curve[:, 1, 0, ERRORS].sum()
    return bool(due > 16 * REQUESTS * 0.001 * 4 / 1.6)


@prevents((weighing, "LEVEL_DRIFTS", 1e-3))
def what_is_remembered_of_cold_starts_would_count_more_than_controls_of_today() -> bool:
    """The service has nearly twice the errors that it had, on both sides, and controls have too few to contradict."""
    fleet = Fleet(canaries=40, controls=3, rest=20)
    today = fleet.times(1.9, fleet.where(), (ERRORS,))
    learned = Learned(curve={metric: (1.0,) * len(AGES_S) for metric in METRICS}, cold_s=90.0, restarts=40)
    played = Play(fleet=fleet, seconds=60, every=10, ages=aged, times=lambda _: today, learned=learned).run()
    return bool(played.log_e().max() < 1.0)


@prevents((teaching, "KEEP", 1.0))
def a_cold_start_that_the_code_no_longer_has_would_be_allowed_for_ever() -> bool:
    return told(*[restart_of(300.0)] * 10, *[restart_of(30.0)] * 14).cold_s < 120.0


@prevents((teaching, "STILL_COLD", 1.0))
def servers_that_end_up_two_percent_worse_would_be_cold_for_ever() -> bool:
    many = [restart_of(60.0, events=1e7) for _ in range(8)]
    for warming in many:
        warming.curve[0, 0] *= 1.05
    learned = Learned(restarts=100_000)
    for warming in many:
        learned = teach(learned, warming, np.ones(COUNT), promoted=False, largest=(0.0, 0.0))
    return learned.cold_s < 200.0


@prevents((teaching, "COLD_TIMES", 1.0))
def a_cold_start_a_third_longer_than_the_last_one_would_be_the_releases_fault() -> bool:
    return told(restart_of(90.0)).cold_s >= 120.0


@prevents((teaching, "COLD_MIN_S", 0.0))
def what_was_too_short_or_too_small_to_be_seen_would_never_be_allowed_for() -> bool:
    return told(restart_of(0.0)).cold_s >= 30.0


@prevents((teaching, "COLD_MAX_S", math.inf))
def a_service_that_is_never_again_what_it_was_would_be_cold_for_longer_than_ages_are_known() -> bool:
    return told(restart_of(1e9)).cold_s <= AGES_S[-1]


@prevents((teaching, "EVENTS_MIN", 0.0))
def spreads_would_be_learned_of_servers_without_an_event() -> bool:
    rng = np.random.default_rng(66)
    idle = own_of(np.zeros(16), due=0.05)
    idle.own[:, 0] = rng.poisson(0.05, (16, 1))
    return told(idle).spreads.get("errors") is None


@prevents((teaching, "QUARTILE", 0.999))
def an_incident_of_one_of_sixteen_would_widen_what_servers_differ_by() -> bool:
    logs = 0.05 * np.random.default_rng(67).standard_normal(16)
    calm = told(own_of(logs)).spread("errors").node
    logs[7] = 3.0
    return told(own_of(logs)).spread("errors").node < 1.3 * calm


@prevents((teaching, "KEPT", 1.0))
def an_incident_of_one_of_sixteen_would_be_what_all_have_in_common() -> bool:
    logs = 0.05 * np.random.default_rng(68).standard_normal(16)
    calm = told(own_of(logs)).spread("errors").common
    logs[7] = 3.0
    return told(own_of(logs)).spread("errors").common < 1.3 * calm


# Weighing.


@prevents((weighing, "RECENT", 1e-3))
def a_cold_start_that_is_known_would_be_as_good_as_unknown() -> bool:
    curve = dict.fromkeys(METRICS, tuple(6.0 if age < 60 else 1.0 for age in AGES_S))
    known = Learned(revision=4, restarts=80, cold_s=90.0, curve=curve)
    few = replace(FLEET, controls=3)
    sick = few.times(10.0, few.where(Kind.CONTROL), (ERRORS,)) * few.times(60.0, few.where(Kind.CANARY), (ERRORS,))
    return delay_s(Play(fleet=few, seconds=60, every=1, ages=aged, learned=known, times=lambda _: sick).run()) < 5


@prevents((weighing, "ALPHA", 2.0))
def what_servers_differ_by_would_now_and_then_be_enough() -> bool:
    return differing(Fleet(canaries=20, controls=5, rest=40), 1.3)


@prevents((weighing, "LICENCE_THRESHOLD", math.log(2.0)))
def a_canary_with_a_third_more_errors_would_get_its_licence_on_the_toss_of_a_coin() -> bool:
    sick = FLEET.times(1.3, CANARIES, (ERRORS,))
    return not any(weighed.certified for weighed in Play(seconds=300, every=20, times=lambda _: sick).run().weighed)


@prevents((weighing, "COLD_MOST", 1.0))
def twice_the_errors_of_a_warm_canary_would_be_hidden_by_ten_times_those_of_a_cold_one() -> bool:
    fleet = Fleet(canaries=20, controls=20, errors=0.002)
    curve = {"errors": tuple(10.0 if age < 150 else 1.0 for age in AGES_S)}
    known = Learned(restarts=80, cold_s=180.0, curve=dict.fromkeys(METRICS, (1.0,) * len(AGES_S)) | curve)

    def times(at: int) -> np.ndarray:
        sick = fleet.times(10.0 if at < 150 else 1.0, fleet.where(Kind.CANARY, Kind.CONTROL), (ERRORS,))
        sick[fleet.where(Kind.CANARY), ERRORS] += 1.0
        return sick

    played = Play(fleet=fleet, seconds=200, every=10, times=times, ages=aged, learned=known).run()
    return not any(weighed.certified for weighed in played.weighed)


@prevents((weighing, "DELETED", 0.0))
def two_bad_canaries_of_twenty_would_roll_back() -> bool:
    fleet = Fleet(canaries=20, controls=5)
    bad = fleet.times(30.0, np.isin(fleet.nodes, ["c001", "c002"]))
    return not Play(fleet=fleet, seconds=120, every=10, times=lambda _: bad).run().rolled_back


def doubtful() -> bool:
    """Whether a rollout whose cold start goes on for longer than any before is left in peace."""
    cold = FLEET.times(1.9, FLEET.where(Kind.CANARY, Kind.CONTROL), P90)
    return not Play(seconds=120, every=5, ages=lambda at: 200.0 + at, times=lambda _: cold).run().rolled_back


@prevents((weighing, "DOUBT_FROM", math.inf))
def a_cold_start_longer_than_any_before_would_be_the_releases_fault() -> bool:
    return doubtful()


@prevents((weighing, "DOUBT_MAX", 0.0))
def what_widens_the_null_would_widen_it_by_nothing() -> bool:
    return doubtful()


@prevents((weighing, "DOUBT_MAX", math.inf))
def controls_that_are_very_odd_would_hide_what_is_gross() -> bool:
    odd = FLEET.times(0.0, FLEET.where(Kind.CONTROL), (ERRORS,)) * FLEET.times(100.0, CANARIES, (ERRORS,))
    return bool(Play(seconds=100, every=20, ages=lambda at: 500.0 + at, times=lambda _: odd).run().log_e()[-1] > 5.3)


@prevents((counting, "LICENCE_FROM_MS", 1))
def a_licence_would_be_given_before_the_first_minute_is_over() -> bool:
    fleet = Fleet(canaries=20, controls=20, rest=40, errors=0.01)
    return not any(weighed.certified for weighed in Play(fleet=fleet, past=quiet(fleet, 3), seconds=60, every=15).run().weighed)


@pytest.mark.parametrize(("case", "off"), CASES)
@pytest.mark.thorough
def test_a_knob_prevents_what_it_is_there_for(monkeypatch, case: Case, off: tuple[tuple[Any, str, Any], ...]) -> None:
    forget()
    assert case()
    for where, name, value in off:
        assert hasattr(where, name)
        monkeypatch.setattr(where, name, value)
    forget()
    assert not case()


@pytest.fixture(autouse=True)
def fresh():
    yield
    forget()


def test_leaving_out_what_cannot_be_worth_anything_changes_no_decision(monkeypatch):
    """``WORTH`` saves time, and that is all: what is left out could not have carried a family over its threshold."""
    sick = FLEET.times(4.0, CANARIES, (ERRORS,))
    plays = [Play(seconds=60, times=lambda _, times=times: times) for times in (1.0, sick)]
    before = [play.run() for play in plays]
    monkeypatch.setattr(weighing, "WORTH", 0.0)
    after = [play.run() for play in plays]
    for one, other in zip(before, after, strict=True):
        decided = one.weighed[0].families[0].threshold
        assert ((one.log_e() >= decided) == (other.log_e() >= decided)).all()
        assert (one.log_e() <= other.log_e() + 1e-9).all()
    assert START_MS % 60_000 == 0
