"""The table of users against a plain dictionary, and what a user costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.experiments import USERS_MAX
from tidegate.experiments.recent import Recent
from tidegate.experiments.users import FREE, Columns, Users

KEYS = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(0, 5).map(lambda at: at << 20 | 7))


@given(st.lists(st.tuples(KEYS, st.integers(1, 8), st.floats(-9, 9)), max_size=80))
def test_it_holds_what_a_dictionary_would(puts):
    users, plain = Users(1), {}
    for key, variant, total in puts:
        users.put(key, variant)
        users.tell(key, 0, total)
        plain[key] = (variant, total)
    assert users.count == len(plain)
    assert {key: (users.variant(key), users.total(key, 0)) for key in plain} == plain
    again = Users.of(users.columns())
    assert again.columns() == users.columns()
    assert {key: (again.variant(key), again.total(key, 0)) for key in plain} == plain


def test_it_grows_and_forgets_nobody(say):
    keys = np.random.default_rng(1).integers(0, 2**64, 50_000, dtype=np.uint64).tolist()
    users = Users(2)
    for at, key in enumerate(keys):
        users.put(key, 1 + at % 3)
        if at % 10 == 0:
            users.tell(key, 1, float(at))
    assert users.count == len(keys)
    assert all(users.variant(key) == 1 + at % 3 for at, key in enumerate(keys))
    assert all(users.total(key, 1) == at for at, key in enumerate(keys) if at % 10 == 0)
    assert math.isnan(users.total(keys[1], 1))
    assert users.variant(12345) == FREE
    say(f"{users.size_bytes / users.count:.0f} bytes a user of 2 metrics at {users.count}")


def test_a_partition_at_the_cap_has_half_a_million_slots():
    users = Users.of(Columns(np.arange(USERS_MAX, dtype=np.uint64).tobytes(), b"\x01" * USERS_MAX, ()))
    assert users.size_bytes == 9 << 19


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="lengths"):
        Users.of(Columns(bytes(16), b"\x01", ()))


def test_what_came_lately_is_known_again_also_after_a_snapshot_and_what_is_long_ago_is_not():
    recent = Recent(half=3)
    assert [recent.seen(one) for one in (1, 2, 1, 3, 4, 1)] == [False, False, True, False, False, True]
    assert [recent.seen(one) for one in (5, 6, 7)] == [False, False, False]
    assert not recent.seen(1)
    assert Recent.of(recent.packed()).packed() == recent.packed()
