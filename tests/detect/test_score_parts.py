"""What each knob of a score prevents, one part at a time."""

import numpy as np
import pytest

from tidegate.detect.scores import crossing, level, rank, season
from tidegate.detect.scores.crossing import Watch, bet
from tidegate.detect.scores.rank import Past, bin_of
from tidegate.detect.scores.season import DAY_MS, SLOT_MS, Season, nearer

RARE = 1e-4


def crosses(watch: Watch, points: list[tuple[float, float]]) -> list[int]:
    """Points are (score, p-value)."""
    return [at for at, (score, p_value) in enumerate(points) if watch.see(score, p_value)]


def healthy(count: int, seed: int = 1) -> list[tuple[float, float]]:
    return [(1 / p_value, p_value) for p_value in np.random.default_rng(seed).uniform(0.0001, 1, count).tolist()]


def settled(**fields) -> Watch:
    """A series without clusters, after some healthy minutes."""
    return Watch(**({"length": 1.0, "peaks": [5.0] * 5} | fields))


# level


@pytest.mark.parametrize(("memory", "most"), [(60, 2.0), (level.MEMORY, 100.0)])
def test_a_short_memory_would_make_an_incident_usual_while_it_lasts(monkeypatch, memory, most):
    monkeypatch.setattr(level, "MEMORY", memory)
    moments, unusual = (0.0, 0.0, 0.0), 0.0
    for at in range(720):
        unusual, *moments = level.follow(*moments, 100.0 + at % 3 + (20 if at >= 600 else 0))
    assert (unusual < 2) == (memory == 60)
    assert unusual < most


def test_without_a_clip_one_outlier_would_hide_the_next(monkeypatch):
    def second(clip: float) -> float:
        monkeypatch.setattr(level, "CLIP", clip)
        moments = (0.0, 0.0, 0.0)
        for at in range(300):
            _, *moments = level.follow(*moments, 100.0 + at % 3)
        _, *moments = level.follow(*moments, 1_000.0)
        return level.follow(*moments, 130.0)[0]

    assert second(4.0) > 20
    assert second(1e9) < 2


# season


def days(count: int, usual, slots: int = 8) -> Season:
    """The first ``slots`` quarters of an hour of some days, a minute of values each."""
    found = Season()
    for day in range(count):
        for slot in range(slots):
            for second in range(season.VALUES_LEAST):
                found.take(usual(slot), day * DAY_MS + slot * SLOT_MS + 1_000 * (second + 1))
    return found


def opening(slot: int) -> float:
    return 300.0 if slot >= 4 else 100.0


def begin(found: Season, day: int, slot: int) -> float:
    """The step in the first second of a slot."""
    for second in range(season.VALUES_LEAST):
        found.take(opening(slot - 1), day * DAY_MS + (slot - 1) * SLOT_MS + 1_000 * (second + 1))
    found.take(opening(slot), day * DAY_MS + slot * SLOT_MS + 1_000)
    return found.step


def test_a_step_is_known_after_two_days_and_only_where_it_comes():
    assert begin(days(1, opening), 1, 4) == 0.0
    assert begin(days(2, opening), 2, 4) == pytest.approx(200.0)
    assert begin(days(2, opening), 2, 3) == 0.0


def test_with_a_step_two_levels_are_usual_and_a_value_belongs_to_the_nearer():
    found = Season(step=200.0)
    assert nearer(found, 110.0, 100.0, 5.0) == 100.0
    assert nearer(found, 290.0, 100.0, 5.0) == 300.0
    assert found.step == -200.0
    assert nearer(found, 105.0, 300.0, 5.0) == 100.0


def test_a_small_step_is_left_to_the_level_or_it_would_cut_the_spread_in_half():
    assert nearer(Season(step=10.0), 110.0, 100.0, 5.0) == 100.0


def test_a_slot_of_which_little_was_seen_teaches_nothing():
    found = days(2, opening)
    found.take(1e6, 2 * DAY_MS + 1_000)
    found.take(1.0, 2 * DAY_MS + SLOT_MS + 1_000)
    assert found._usual(0) == pytest.approx(100.0)


def test_one_odd_day_does_not_become_the_rule():
    found = days(7, opening)
    for second in range(season.VALUES_LEAST):
        found.take(1_000.0, 7 * DAY_MS + 1_000 * (second + 1))
    found.take(1.0, 7 * DAY_MS + SLOT_MS + 1_000)
    assert found._usual(0) == pytest.approx(100 + 900 / season.DAYS_MEMORY)


def test_a_gap_between_slots_is_no_step():
    found = days(2, opening)
    found.take(100.0, 2 * DAY_MS + 1_000)
    found.take(300.0, 2 * DAY_MS + 4 * SLOT_MS + 1_000)
    assert found.step == 0.0


# rank


def test_the_p_value_counts_ties_as_higher_so_that_it_is_never_too_small():
    past = Past()
    for score in [1.0] * 199 + [50.0]:
        past.learn(bin_of(score))
    assert past.p_value(bin_of(60.0)) == 1 / 201
    assert past.p_value(bin_of(50.0)) == 2 / 201
    assert past.p_value(bin_of(1.0)) == 1.0


def test_with_little_history_there_is_no_p_value():
    past = Past()
    for _ in range(rank.HISTORY_LEAST - 1):
        past.learn(3)
    assert past.p_value(3) == -1.0
    past.learn(3)
    assert past.p_value(40) <= crossing.UNUSUAL


def hourly(generation: int, monkeypatch) -> float:
    """p-value of the burst that comes every hour, on its fifth time."""
    monkeypatch.setattr(rank, "GENERATION", generation)
    past = Past()
    for second in range(4 * 3_600):
        past.learn(bin_of(30.0 if second % 3_600 < 30 else 1.0))
    return past.p_value(bin_of(30.0))


def test_a_history_of_half_an_hour_would_make_the_hourly_burst_news_each_time(monkeypatch):
    chosen = rank.GENERATION
    assert hourly(1_000, monkeypatch) < 0.001
    assert hourly(chosen, monkeypatch) > crossing.UNUSUAL


def test_what_was_is_dropped_in_two_generations(monkeypatch):
    monkeypatch.setattr(rank, "GENERATION", 500)
    past = Past()
    for _ in range(5_000):
        past.learn(7)
    assert past.learned + past.before <= 1_000


def test_coarse_bins_would_tie_what_is_just_beyond_all_others_with_them(monkeypatch):
    assert bin_of(6.0) > bin_of(5.2)
    monkeypatch.setattr(rank, "BINS_PER_DOUBLING", 2)
    assert bin_of(6.0) == bin_of(5.2)


def test_the_first_seconds_of_an_incident_do_not_make_the_next_look_usual():
    past = Past(now=[199], learned=199)
    for _ in range(5):
        past.take(40, wait=True)
    past.pending.clear()
    assert past.p_value(40) == 1 / 200
    for _ in range(5):
        past.take(40, wait=True)
    past.take(0, wait=False)
    assert past.p_value(40) == 6 / 206


def test_what_lasts_for_a_minute_without_being_an_incident_is_learned():
    past = Past()
    for _ in range(rank.PENDING):
        past.take(40, wait=True)
    assert past.learned == rank.PENDING


# crossing


def test_a_bet_is_fair_over_uniform_p_values():
    edges = np.exp(np.linspace(np.log(1e-300), 0.0, 2_000_001))
    middle = (edges[1:] + edges[:-1]) / 2
    assert np.sum([bet(p) for p in middle.tolist()[::20]] * np.diff(edges)[::20]) * 20 == pytest.approx(1.0, abs=0.01)


def test_healthy_p_values_do_not_cross_and_rare_ones_do_within_seconds():
    watch = settled()
    assert crosses(watch, healthy(50_000)) == []
    assert crosses(watch, [(1e6, RARE)] * 10)[0] < 6


def test_little_patience_would_report_chance(monkeypatch):
    monkeypatch.setattr(crossing, "EVIDENCE", np.log(100))
    assert len(crosses(settled(), healthy(50_000))) > 5


def test_a_long_run_of_mildly_high_values_is_not_reported(monkeypatch):
    mild = [(100.0 + at, 0.03) for at in range(300)]
    assert crosses(settled(), mild) == []
    monkeypatch.setattr(crossing, "UNUSUAL", 0.05)
    assert crosses(settled(), mild)


def test_bets_nearer_to_all_p_values_would_add_up_an_hour_that_is_a_little_high(monkeypatch):
    little = [(9.0, p_value) for p_value in [0.004, 0.3, 0.05, 0.15] * 200]
    assert crosses(settled(), little) == []
    monkeypatch.setattr(crossing, "EXPONENT", 0.3)
    assert crosses(settled(), little)


def test_a_burst_no_larger_than_that_of_five_minutes_ago_is_the_same_story(monkeypatch):
    before = [(1.0, 0.5)] * 300
    watch = settled(peaks=[20.0])
    assert crosses(watch, [*before, *[(20.0, RARE)] * 20]) == []
    assert crosses(settled(peaks=[20.0]), [*before, *[(20.5, RARE)] * 20])
    monkeypatch.setattr(crossing, "BLOCKS", 1)
    assert crosses(settled(peaks=[20.0]), [*before, *[(20.0, RARE)] * 20])


def test_an_incident_that_flickers_is_said_once(monkeypatch):
    flicker = [(50.0 + at, RARE if at % 20 < 10 else 0.5) for at in range(200)]
    assert len(crosses(settled(), flicker)) == 1
    monkeypatch.setattr(crossing, "QUIET", 1)
    assert len(crosses(settled(), flicker)) > 3


def test_an_incident_is_kept_out_of_the_history_but_not_what_lasts():
    watch = settled()
    taught = [watch.see(50.0 + at, RARE) or watch.teaches for at in range(crossing.HELD + 100)]
    assert not any(taught[10 : crossing.HELD])
    assert all(taught[-50:])


def bursts(count: int, length: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(3)
    found: list[tuple[float, float]] = []
    for _ in range(count):
        found += [(1.0, p_value) for p_value in rng.uniform(0.03, 1, 300).tolist()]
        found += [(float(score), 0.001) for score in rng.uniform(5, 50, rng.integers(2, 2 * length))]
    return found


def test_a_series_whose_rare_scores_come_in_clusters_is_tempered(monkeypatch):
    assert len(crosses(Watch(), bursts(300, 5))) <= 2
    monkeypatch.setattr(crossing, "TEMPERING", 0.0)
    assert len(crosses(Watch(), bursts(300, 5))) > 20


def test_by_its_middling_length_alone_a_cluster_that_is_long_by_chance_would_cross(monkeypatch):
    tempered = len(crosses(Watch(), bursts(1_000, 5)))
    monkeypatch.setattr(crossing, "TEMPERING", 0.5)
    assert len(crosses(Watch(), bursts(1_000, 5))) > 3 * (tempered + 1)


def test_a_bursty_series_does_not_cross_in_its_first_hour(monkeypatch):
    assert crosses(Watch(), bursts(12, 3)) == []
    assert crosses(Watch(length=0.9), bursts(12, 3)) != []


def test_one_incident_that_did_not_cross_does_not_make_a_series_deaf(monkeypatch):
    def length() -> float:
        watch = settled(peaks=[1e9])
        crosses(watch, [*[(5.0, 0.01)] * 600, (1.0, 0.5)])
        return watch.length

    assert length() < 1.3
    monkeypatch.setattr(crossing, "CLUSTER_MOST", 1_000)
    assert length() > 5


def test_clusters_are_of_the_rare_scores_and_not_of_the_bulk():
    watch = settled()
    crosses(watch, [(1.0, p_value) for p_value in [0.05] * 500])
    assert watch.length == 1.0


def far(count: int, beyond: int) -> list[bool]:
    """A series of which nothing is known but that it clusters, some bins beyond its history."""
    watch = Watch(length=8.0, peaks=[5.0] * 5)
    return [watch.see(1e3, 0.004, (20 + beyond, 20 if at == 0 else 20 + beyond)) for at in range(count)]


def test_what_is_twice_as_high_as_anything_in_a_day_does_not_wait_for_tempered_evidence():
    assert far(10, crossing.FAR).index(True) == crossing.FAR_RUN - 1
    assert not any(far(10, crossing.FAR - 1))


def test_a_single_outlier_and_its_neighbour_are_not_far_for_long_enough():
    assert not any(far(2, 30))
