import msgspec
import numpy as np

from tidegate.detect.scores import ScoreState, score


def scores(state: ScoreState, values: list[float], first: int = 0) -> list[float]:
    return [score(state, "shop", "rest", "rate", value, first + at).score for at, value in enumerate(values)]


def usual(count: int, seed: int = 1) -> list[float]:
    return list(np.random.default_rng(seed).normal(100, 5, count))


def test_a_score_counts_standard_deviations_and_never_saturates() -> None:
    state = ScoreState()
    scores(state, usual(500))
    found = [score(ScoreState(dict(state.series)), "shop", "rest", "rate", value, 500).score for value in (110.0, 200.0, 1_100.0)]
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


def test_a_state_from_a_checkpoint_scores_the_same() -> None:
    state = ScoreState()
    scores(state, usual(100))
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ScoreState)
    later = usual(50, seed=9)
    assert scores(state, later) == scores(restored, later)
