import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kpi.buckets import RELATIVE_ERROR, quantile_s, slot_of
from tidegate.kpi.sums import Sums, plus

COUNTS = st.one_of(st.just([]), st.lists(st.integers(0, 1 << 40), min_size=160, max_size=160))
# Whole numbers as floats: their sums are exact in any order.
WHOLE = st.integers(-1_000, 1_000).map(float)
NAMES = st.sampled_from(["a", "b", "c"])
SUMS = st.builds(
    Sums,
    st.integers(0, 60),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    COUNTS,
    st.dictionaries(NAMES, st.tuples(WHOLE, st.integers(1, 9))),
    st.dictionaries(NAMES, st.tuples(st.integers(0, 9), st.integers(9, 99))),
    st.dictionaries(NAMES, st.integers(0, 99)),
)


@given(SUMS, SUMS, SUMS)
def test_adding_is_commutative_and_associative_and_nothing_is_its_neutral(one, two, three):
    assert plus(one, two) == plus(two, one)
    assert plus(plus(one, two), three) == plus(one, plus(two, three))
    assert plus(one, Sums()) == one == plus(Sums(), one)


@given(SUMS, SUMS)
def test_adding_changes_neither_of_both(one, other):
    before = (repr(one), repr(other))
    plus(one, other)
    assert (repr(one), repr(other)) == before


@given(
    st.lists(st.lists(st.floats(0.001, 1_000.0), min_size=1, max_size=40), min_size=1, max_size=6),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_quantiles_of_merged_histograms_are_within_the_stated_error_of_the_exact_ones(nodes, share):
    total = Sums()
    for values in nodes:
        total = plus(total, Sums(counts=np.bincount([*map(slot_of, values)], minlength=160).tolist()))
    together = sorted(value for values in nodes for value in values)
    exact = together[max(1, math.ceil(len(together) * share)) - 1]
    found = quantile_s(total.counts, share)
    assert found is not None
    assert abs(found - exact) / exact <= RELATIVE_ERROR + 1e-9
