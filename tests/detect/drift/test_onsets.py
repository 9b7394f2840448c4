"""Onsets: however stages follow each other, all masses together are one error budget; and what is still looked at."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detect.drift import onsets
from tidegate.detect.drift.onsets import EARLY, LASTING_MAX, LASTING_S, LATER, LIVES_S, Onset, kept, onset_at, stage_mass


def begun(lengths_s: list[int]) -> list[Onset]:
    """All onsets of stages that last so long, one after another."""
    found, begin_s = [], 0
    for stage, length_s in enumerate(lengths_s, start=1):
        seconds = {at for at, _ in EARLY} | {*range(0, length_s, 60)}
        for second in sorted(at for at in seconds if at < length_s):
            onset = onset_at(second, stage, 1_000 * (begin_s + second))
            if onset is not None:
                found.append(onset)
        begin_s += length_s
    return found


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=12))
def test_masses_of_all_onsets_that_can_ever_be_sum_to_at_most_one(lengths_s):
    assert sum(onset.mass for onset in begun(lengths_s)) <= 1.0 + 1e-9


def test_nearly_the_whole_budget_is_given_to_a_rollout_that_takes_a_day():
    assert 0.95 < sum(onset.mass for onset in begun([86_400] * 25)) <= 1.0


def test_the_parts_of_the_budget_are_as_stated():
    assert sum(mass for _, mass in EARLY) + LATER == pytest.approx(1.0)
    assert sum(stage_mass(stage) for stage in range(1, 10_000)) == pytest.approx(1.0, abs=1e-3)


def test_no_second_has_two_onsets_and_most_have_none():
    assert max(at for at, _ in EARLY) < onsets.FIRST_S
    assert onset_at(1, 1, 0) is None
    assert onset_at(onsets.FIRST_S + 1, 1, 0) is None


def test_of_later_onsets_none_is_worth_much_more_than_the_next():
    masses = [onset_at(second, 1, 0).mass for second in range(onsets.FIRST_S, 7_200, onsets.EVERY_S)]
    assert all(0.9 * before < now < before for before, now in itertools.pairwise(masses))


@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=6))
def test_what_is_kept_is_bounded_and_holds_the_begin_of_the_first_stage_and_of_the_last(lengths_s):
    everything = tuple(begun(lengths_s))
    now_ms = 1_000 * sum(lengths_s)
    found = [everything[place] for place in kept(everything, now_ms)]
    most = 2 * len(EARLY) + LASTING_MAX + -(-LIVES_S // onsets.EVERY_S) + 1
    assert len(found) <= most
    starts = {onset.start_ms for onset in found if onset.early}
    assert 0 in starts
    assert 1_000 * sum(lengths_s[:-1]) in starts
    for onset in found:
        assert onset.early in {0, 1, len(lengths_s)}
        assert onset.early or not onset.until_ms or onset.until_ms > now_ms


@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=6))
def test_what_is_dropped_never_comes_back(lengths_s):
    """Looking each second gives the same as looking at the end."""
    left: tuple[Onset, ...] = ()
    for onset in begun(lengths_s):
        left = (*(left[place] for place in kept(left, onset.start_ms)), onset)
    now_ms = 1_000 * sum(lengths_s)
    everything = tuple(begun(lengths_s))
    assert [left[place] for place in kept(left, now_ms)] == [everything[place] for place in kept(everything, now_ms)]


def test_a_later_onset_lives_three_minutes_and_each_tenth_minute_stays():
    everything = tuple(begun([3_600]))
    for now_s in range(1_000, 3_600, 77):
        seen = {onset.start_ms // 1_000 for onset in everything if onset.start_ms < 1_000 * now_s}
        mine = tuple(onset for onset in everything if onset.start_ms < 1_000 * now_s)
        found = {mine[place].start_ms // 1_000 for place in kept(mine, 1_000 * now_s)}
        lasting = sorted(at for at in seen if at and at % LASTING_S == 0)[-LASTING_MAX:]
        living = {at for at in seen if at > 180 and at % LASTING_S and at > now_s - LIVES_S}
        assert found - {at for at, _ in EARLY} == {*lasting} | living
