from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kpi.buckets import UPPER_EDGES_S, quantile_s, slot_of
from tidegate.scrape.spread import SHARES, phase_of, place_of, spread
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

places = st.floats(0, 160)
lows = places | st.just(-inf)
phases = st.integers(0, SHARES - 1)


def spreading(count, low, high, phase=SHARES // 2):
    slots = [0] * HISTOGRAM_SLOTS
    spread(slots, count, low, high, phase)
    return slots


@given(st.integers(0, 1 << 40), lows, places, phases)
def test_what_is_spread_is_neither_more_nor_less_and_never_negative(count, low, high, phase):
    slots = spreading(count, low, max(low, high), phase)
    assert sum(slots) == count
    assert min(slots) >= 0


@given(st.integers(1, 1 << 40), places, places, phases)
def test_a_count_stays_within_its_bucket(count, one, other, phase):
    low, high = sorted((one, other))
    used = [slot for slot, number in enumerate(spreading(count, low, high, phase)) if number]
    assert used[0] >= min(int(low), 159)
    assert used[-1] < max(high, int(low) + 1)


def test_a_bucket_of_our_own_width_goes_to_its_slot():
    for slot, edge in enumerate(UPPER_EDGES_S):
        assert round(place_of(edge), 9) == slot + 1
        assert spreading(9, float(slot), float(slot + 1))[slot] == 9


def test_a_wide_bucket_is_spread_geometrically_and_the_lowest_evenly():
    assert spreading(80, place_of(0.25), place_of(0.5))[64:72] == [10] * 8
    below = spreading(1_000, -inf, place_of(0.1))
    for share in (0.1, 0.5, 0.9):
        assert quantile_s(below, share) == pytest.approx(0.1 * share, rel=0.06)


def test_one_request_a_second_fills_a_wide_bucket_as_many_in_one_second_would():
    seconds = [0] * HISTOGRAM_SLOTS
    for number in range(1, 801):
        spread(seconds, 1, 64.0, 72.0, phase_of(number))
    assert seconds[64:72] == pytest.approx([100] * 8, abs=2)


@pytest.mark.parametrize(("seconds", "slot"), [(0.0, 0), (-1.0, 0), (1e-9, 0), (1e9, 159), (inf, 159)])
def test_what_lies_beyond_our_range_is_in_the_outermost_slots(seconds, slot):
    place = place_of(seconds)
    assert spreading(1, place, place)[slot] == 1
    assert seconds == inf or slot_of(seconds) == slot
