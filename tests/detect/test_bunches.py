import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detect.bunches import DISPERSION_MAX, DISPERSION_MIN, bunched_nats, bunching
from tidegate.detect.drift.past import Past, learn
from tidegate.detect.shares import surprise_nats
from tidegate.kpi.pane import Table

MOST = 120


def chance(part: int, usual: float, dispersion: float) -> float:
    """Exact: a Poisson number of bunches, and so many errors in so many bunches are a negative binomial."""
    size = (dispersion + 1) / 2
    again, mean = 1 - 1 / size, usual / size
    few = math.exp(-mean) if part else 0.0
    for errors in range(1, part):
        few += sum(
            math.exp(-mean + bunches * math.log(mean) - math.lgamma(bunches + 1))
            * math.comb(errors - 1, bunches - 1)
            * (1 - again) ** bunches
            * again ** (errors - bunches)
            for bunches in range(1, errors + 1)
        )
    return max(0.0, 1.0 - few) if part else 1.0


@given(st.integers(1, 40), st.floats(0.05, 8.0), st.floats(1.0, 6.0))
def test_nats_bound_the_chance_of_so_many_errors(part: int, usual: float, dispersion: float) -> None:
    assert chance(part, usual, dispersion) <= math.exp(-bunched_nats(part, usual, dispersion)) * (1 + 1e-6) + 1e-9


@given(st.integers(1, 40), st.floats(0.05, 8.0), st.floats(1.0, 5.0))
def test_the_more_bunched_the_less_errors_say(part: int, usual: float, dispersion: float) -> None:
    assert bunched_nats(part, usual, dispersion + 1) <= bunched_nats(part, usual, dispersion) + 1e-9


def test_single_errors_among_many_requests_say_what_they_say_of_a_share() -> None:
    assert bunched_nats(30, 10, 1.0) == pytest.approx(surprise_nats(30, 1e7, 1e-6), rel=1e-3)


def seen(rng: np.random.Generator, size: float) -> Past:
    """Twenty minutes of twenty servers whose errors come in geometric bunches."""
    past, names = Past(), tuple(f"n{number:02}" for number in range(20))
    for second in range(1_200):
        bunches = rng.poisson(0.5 / size, 20)
        errors = bunches + np.array([rng.negative_binomial(one, 1 / size) if one and size > 1 else 0 for one in bunches])
        table = Table(names, np.full(20, 500), errors, np.zeros((20, 0), dtype=np.int64), ("",) * 20)
        past = learn(past, table, 1_000 * (second + 1), ())
    return past


@pytest.mark.parametrize(
    ("sentence", "size", "least", "most"),
    [
        ("single errors are not believed to be single", 1.0, DISPERSION_MIN, DISPERSION_MIN),
        ("three attempts are learned", 3.0, 3.5, DISPERSION_MAX),
        ("bunches of ten are bounded", 10.0, DISPERSION_MAX, DISPERSION_MAX),
    ],
)
def test_how_bunched_a_services_errors_are_is_learned_within_bounds(
    sentence: str, size: float, least: float, most: float
) -> None:
    assert least <= bunching(seen(np.random.default_rng(3), size)) <= most


def test_a_service_never_seen_is_believed_to_try_again() -> None:
    assert bunching(Past()) == DISPERSION_MIN
