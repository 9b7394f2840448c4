"""Scores of a series: level, season, history and crossing together; each knob alone is in the files beside this one."""

import msgspec
import numpy as np

from tidegate.detect.scores import ScoreState, score, scores_of
from tidegate.detect.scores.rank import HISTORY_LEAST
from tidegate.detect.scores.series import CUSTOM_MAX, SERIES_MAX, Series
from tidegate.wire.judgement import Kpi


def take(state: ScoreState, values: list[float], first: int = 0) -> list:
    return [score(state, "shop", "rest", "rate", value, 1_000 * (first + at + 1)) for at, value in enumerate(values)]


def scores(state: ScoreState, values: list[float], first: int = 0) -> list[float]:
    return [one.score for one in take(state, values, first)]


def crossings(state: ScoreState, values: list[float], first: int = 0) -> list[int]:
    return [at for at, one in enumerate(take(state, values, first)) if one.crossing]


def usual(count: int, seed: int = 1) -> list[float]:
    return list(np.random.default_rng(seed).normal(100, 5, count))


def copy(state: ScoreState) -> ScoreState:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ScoreState)


def kpi(**fields) -> Kpi:
    numbers = dict.fromkeys(("rate", "error_ratio", "p50_ms", "p95_ms", "p99_ms", "coverage"), 1.0)
    counts = dict.fromkeys(("start_ms", "end_ms", "errors", "nodes", "nodes_expected", "requests"), 1)
    words = {"service": "shop", "cohort": "rest", "subject": "svc/shop", "placement": "", "version": "v1"}
    return Kpi(**(numbers | counts | words | {"window_s": 1} | fields))


def test_a_score_counts_standard_deviations_and_never_saturates() -> None:
    state = ScoreState()
    scores(state, usual(500))
    found = [score(copy(state), "shop", "rest", "rate", value, 500_000).score for value in (110.0, 200.0, 1_100.0)]
    assert found[0] < 3
    assert 15 < found[1] < 25
    assert found[2] > 150


def test_the_first_half_minute_is_not_scored() -> None:
    assert set(scores(ScoreState(), usual(30))) == {0.0}


def test_an_anomaly_does_not_teach_that_it_is_usual() -> None:
    state = ScoreState()
    scores(state, usual(300))
    during = scores(state, [300.0] * 10, 300)
    assert min(during) > 8
    assert np.mean(scores(state, usual(60, seed=2), 310)) < 2


def test_a_new_level_becomes_usual_within_the_memory() -> None:
    state = ScoreState()
    scores(state, usual(600))
    assert scores(state, [value + 30 for value in usual(1_800, seed=3)], 600)[-1] < 3


def test_a_series_that_stands_still_is_not_scored_infinitely() -> None:
    assert scores(ScoreState(), [5.0] * 60 + [5.05])[-1] < 2
    assert scores(ScoreState(), [0.0] * 60 + [0.002])[-1] < 3


def test_there_is_no_p_value_before_there_is_enough_history_for_a_small_one() -> None:
    found = [one.conformal for one in take(ScoreState(), usual(600))]
    first = next(at for at, p_value in enumerate(found) if p_value >= 0)
    assert set(found[:first]) == {-1.0}
    assert first == 30 + HISTORY_LEAST
    assert all(0 < p_value <= 1 for p_value in found[first:])


def test_p_values_of_a_healthy_series_are_uniform_or_larger() -> None:
    found = np.array([one.conformal for one in take(ScoreState(), usual(20_000))][500:])
    for share in (0.5, 0.1, 0.02, 0.005):
        assert np.mean(found <= share) <= 1.25 * share


def test_p_values_mean_the_same_whatever_the_series_is_like() -> None:
    """The tails of these differ by a factor of ten in standard deviations; one threshold fits both."""
    heavy = list(100 + np.random.default_rng(5).standard_t(2.5, 20_000))
    found = [np.mean([one.conformal <= 0.01 for one in take(ScoreState(), values)][500:]) for values in (usual(20_000), heavy)]
    assert max(found) <= 0.0125


def test_a_shift_crosses_once_within_seconds_and_a_healthy_series_never() -> None:
    state = ScoreState()
    assert crossings(state, usual(7_200)) == []
    found = crossings(state, [value + 50 for value in usual(60, seed=3)], 7_200)
    assert len(found) == 1
    assert found[0] < 8


def test_a_single_outlier_does_not_cross_however_large_it_is() -> None:
    state = ScoreState()
    take(state, usual(7_200))
    assert crossings(state, [1e6, *usual(600, seed=3)], 7_200) == []


def test_two_incidents_apart_are_two_crossings() -> None:
    state = ScoreState()
    take(state, usual(7_200))
    found = crossings(state, [*[200.0] * 20, *usual(1_200, seed=3), *[400.0] * 20], 7_200)
    assert len(found) == 2


def test_an_incident_like_the_last_one_is_found_as_soon() -> None:
    state = ScoreState()
    take(state, usual(7_200))
    delays = []
    for number in range(4):
        delays += crossings(state, [300.0] * 20, 7_200 + number * 3_620)[:1]
        assert crossings(state, usual(3_600, seed=number), 7_220 + number * 3_620) == []
    assert len(delays) == 4
    assert max(delays) <= delays[0] + 1


def test_the_batch_of_every_night_is_an_anomaly_on_two_nights_and_usual_from_the_third() -> None:
    rng = np.random.default_rng(7)
    state = ScoreState()
    nights = []
    for night in range(4):
        values = list(rng.normal(100, 5, 3_600)) + list(rng.normal(300, 5, 900)) + list(rng.normal(100, 5, 900))
        nights.append(len(crossings(state, values, night * 86_400)))
    assert nights[0] >= 1
    assert nights[1] >= 1
    assert nights[2:] == [0, 0]


def test_a_state_from_a_checkpoint_scores_the_same() -> None:
    state = ScoreState()
    take(state, usual(2_000))
    restored = copy(state)
    later = [*usual(50, seed=9), *[300.0] * 20, *usual(2_000, seed=10)]
    assert take(state, later, 2_000) == take(restored, later, 2_000)
    assert state == restored


def test_a_checkpoint_of_code_that_kept_three_numbers_goes_on() -> None:
    old = msgspec.msgpack.encode({"series": {"shop/rest/rate": [100.0, 100.0, 25.0]}})
    state = msgspec.msgpack.decode(old, type=ScoreState)
    assert scores(state, [150.0])[0] > 8


def test_a_series_takes_some_six_hundred_bytes_of_a_checkpoint() -> None:
    state = ScoreState()
    take(state, usual(20_000))
    for _ in range(3):
        state.series["shop/rest/rate"].past.learned = 10**9
        take(state, usual(1_000), 40_000)
    assert len(msgspec.msgpack.encode(state)) < 700


def test_numbers_that_have_no_square_harm_nothing() -> None:
    state = ScoreState()
    found = take(state, [*usual(300), 1e308, -1e308, float("inf"), float("nan"), *usual(300)])
    assert all(np.isfinite(one.score) and -1 <= one.conformal <= 1 for one in found)


def test_beyond_the_most_series_the_one_known_for_longest_goes() -> None:
    state = ScoreState(dict.fromkeys((f"s/rest/{number}" for number in range(SERIES_MAX)), Series()))
    take(state, [1.0])
    assert len(state.series) == SERIES_MAX
    assert "s/rest/0" not in state.series


def test_a_pane_without_requests_has_a_rate_and_no_ratio() -> None:
    assert [one.metric for one in scores_of(ScoreState(), kpi(requests=0))] == ["rate"]


def test_of_many_custom_values_a_few_are_scored() -> None:
    found = scores_of(ScoreState(), kpi(values={f"gauge.{number:02}": 1.0 for number in range(50)}))
    assert len([one for one in found if one.metric.startswith("gauge")]) == CUSTOM_MAX
    assert {"rate", "error_ratio", "p50_ms", "p95_ms", "p99_ms"} < {one.metric for one in found}
