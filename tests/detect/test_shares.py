import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detect.shares import quantile_ms, surprise_nats, weights_above
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

histograms = st.lists(st.integers(0, 50), min_size=HISTOGRAM_SLOTS, max_size=HISTOGRAM_SLOTS).map(np.array)


@given(histograms, st.floats(0.01, 0.99))
def test_what_lies_above_a_quantile_is_the_rest_of_the_share(counts: np.ndarray, share: float) -> None:
    bound = quantile_ms(counts, share)
    if bound is None:
        assert counts.sum() == 0
    else:
        assert counts @ weights_above(bound) == pytest.approx((1 - share) * counts.sum(), abs=1e-6 * counts.sum())


@given(histograms)
def test_quantiles_rise_with_their_share(counts: np.ndarray) -> None:
    found = [quantile_ms(counts, share) or 0.0 for share in (0.1, 0.5, 0.95, 0.99)]
    assert found == sorted(found)


@given(st.integers(1, 400), st.floats(0.001, 0.5))
def test_surprise_bounds_the_chance_of_a_result_at_least_as_extreme(whole: int, allowed: float) -> None:
    part = min(whole, math.ceil(2 * allowed * whole) + 1)
    chances = [math.comb(whole, k) * allowed**k * (1 - allowed) ** (whole - k) for k in range(part, whole + 1)]
    assert sum(chances) <= math.exp(-surprise_nats(part, whole, allowed)) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("part", "whole", "allowed", "nats"),
    [(0, 0, 0.1, 0.0), (1, 10, 0.1, 0.0), (3, 10, 0.0, math.inf), (10, 10, 0.5, 10 * math.log(2)), (10, 10, 1.0, 0.0)],
)
def test_surprise_at_its_edges(part: int, whole: int, allowed: float, nats: float) -> None:
    assert surprise_nats(part, whole, allowed) == pytest.approx(nats)
