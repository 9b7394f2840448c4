import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kpi.buckets import BASE, MIDDLES_S, RELATIVE_ERROR, UPPER_EDGES_S, quantile_s, slot_of

IN_RANGE = st.floats(0.001, 1_000.0)


@given(IN_RANGE)
def test_a_value_lies_in_its_slot_and_is_shown_within_the_stated_error(seconds):
    slot = slot_of(seconds)
    assert UPPER_EDGES_S[slot] / BASE < seconds * (1 + 1e-12)
    assert seconds <= UPPER_EDGES_S[slot]
    assert abs(MIDDLES_S[slot] - seconds) / seconds <= RELATIVE_ERROR + 1e-12


def test_the_stated_error_is_that_of_scale_3():
    assert math.isclose(RELATIVE_ERROR, 0.0433, abs_tol=5e-5)


@given(st.lists(IN_RANGE, min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_the_stated_error_of_the_exact_one(values, share):
    counts = [0] * 160
    for value in values:
        counts[slot_of(value)] += 1
    exact = float(np.sort(values)[max(1, math.ceil(len(values) * share)) - 1])
    found = quantile_s(counts, share)
    assert found is not None
    assert abs(found - exact) / exact <= RELATIVE_ERROR + 1e-9


def test_without_a_value_there_is_no_quantile():
    assert quantile_s([0] * 160, 0.5) is None
