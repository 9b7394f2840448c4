from hypothesis import given
from hypothesis import strategies as st

from tidegate.kpi.dedupe import FORGET_AFTER_MS, HOLES_MAX, Dedupe

KEY = ("n1", "shop", "b1")


@given(st.permutations(list(range(1, 40))), st.lists(st.integers(1, 39), max_size=60))
def test_whatever_the_order_each_row_is_admitted_exactly_once(order, repeats):
    dedupe = Dedupe()
    admitted = [seq for seq in [*order, *repeats] if dedupe.admit(KEY, seq, 0)]
    assert sorted(admitted) == list(range(1, 40))


def test_boots_and_services_of_one_node_are_told_apart():
    dedupe = Dedupe()
    keys = [KEY, ("n1", "shop", "b2"), ("n1", "cart", "b1"), ("n2", "shop", "b1")]
    assert all(dedupe.admit(key, 1, 0) for key in keys)
    assert not any(dedupe.admit(key, 1, 0) for key in keys)


def test_a_boot_that_falls_silent_is_forgotten_after_a_minute_of_judge_clock():
    dedupe = Dedupe()
    dedupe.admit(KEY, 1, 0)
    dedupe.forget(FORGET_AFTER_MS)
    assert KEY in dedupe.boots
    dedupe.forget(FORGET_AFTER_MS + 1)
    assert not dedupe.boots


def test_holes_are_bounded_however_far_a_sequence_jumps():
    dedupe = Dedupe()
    for jump in range(20):
        dedupe.admit(KEY, 1 + jump * 1_000_000, 0)
    assert len(dedupe.boots[KEY].holes) <= HOLES_MAX
