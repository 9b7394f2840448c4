"""Sizes, placements and the order of nodes (B1, B2, B8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rollout.fleet import plan

from tidegate.rollout.stages import control_size, placement, size_of, sizes
from tidegate.wire.documents import Roster
from tidegate.wire.plans import ControlMode, Stage


def roster(rollout: str, whole: int) -> Roster:
    return Roster(fleet="test", subject="svc/shop", rollout=rollout, nodes=tuple(f"n{number}" for number in range(whole)))


@pytest.mark.parametrize(
    ("stage", "whole", "size"),
    [
        (Stage(set_weight=1), 12, 1),
        (Stage(set_weight=25), 12, 3),
        (Stage(set_weight=33), 12, 3),
        (Stage(set_weight=100), 12, 12),
        (Stage(set_nodes=3), 12, 3),
        (Stage(set_nodes=3), 2, 2),
    ],
)
def test_percent_is_of_the_roster_rounded_down_and_at_least_one(stage, whole, size):
    assert size_of(stage, whole) == size


@given(st.integers(1, 2_000), st.lists(st.integers(1, 100), min_size=1, max_size=8, unique=True))
def test_stages_grow_and_canary_and_control_fit_on_the_roster(whole, weights):
    document = plan("2", stages=tuple(Stage(set_weight=weight) for weight in sorted({*weights, 100})))
    found = [sizes(document, index, whole) for index in range(len(document.stages))]
    assert [one.canary for one in found] == sorted(one.canary for one in found)
    assert found[-1].canary == whole
    for one in found:
        assert one.canary + one.control <= whole
        assert one.control <= min(one.canary, 20)
        assert one.control == 0 or one.canary * 4 <= whole


def test_beyond_a_quarter_of_the_roster_there_is_no_control():
    assert [control_size(canary, 12, 12) for canary in (1, 2, 3, 4, 12)] == [1, 2, 3, 0, 0]


def test_a_first_plan_and_one_without_control_have_none():
    assert sizes(plan("2", None), 0, 12).control == 0
    assert sizes(plan("2", control=ControlMode.NONE), 0, 12).control == 0


def test_a_placement_changes_with_rollout_attempt_stage_and_size_and_with_nothing_else():
    document = plan("2")
    base = placement(document, roster("r.1", 12), 1, 0)
    assert placement(document, roster("r.1", 12), 1, 0) == base
    others = {
        placement(document, roster("r.2", 12), 1, 0),
        placement(document, roster("r.1", 12), 2, 0),
        placement(document, roster("r.1", 12), 1, 1),
        placement(plan("3"), roster("r.1", 12), 1, 0),
        placement(document, roster("r.1", 13), 1, 2),
    }
    assert base not in others
    assert len(others) == 5
