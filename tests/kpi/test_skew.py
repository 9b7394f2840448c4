import numpy as np
import pytest

from tidegate.kpi.skew import BLOCK_ROWS, FORGET_AFTER_MS, Skews


def told(skews, delay_ms, clock_ms=0, node="n1"):
    """What one row of a node that came so late is shifted by."""
    return int(skews.shifts_ms([node], np.zeros(1, dtype=np.int64), np.array([delay_ms], dtype=np.int64), clock_ms)[0])


@pytest.mark.parametrize(
    ("delay_ms", "shift_ms"),
    [(300, 0), (2_000, 0), (-2_000, 0), (2_001, 2_001), (-60_000, -60_000), (300_000, 300_000), (300_001, 300_001)],
)
def test_a_steady_delay_is_a_wrong_clock(delay_ms, shift_ms):
    skews = Skews()
    assert [told(skews, delay_ms) for _ in range(100)][-1] == shift_ms


def test_one_prompt_row_proves_a_clock_right_for_as_long_as_it_is_remembered():
    skews = Skews()
    told(skews, 100)
    assert [told(skews, 9_000) for _ in range(BLOCK_ROWS)] == [0] * BLOCK_ROWS
    assert [told(skews, 9_000) for _ in range(2 * BLOCK_ROWS)][-1] == 9_000


def test_rows_of_one_record_are_judged_by_the_promptest_of_their_node():
    skews = Skews()
    node, delays = np.array([0, 1, 0, 1]), np.array([50_000, 9_000, 100, 8_000])
    assert skews.shifts_ms(["n1", "n2", "silent"], node, delays, 0).tolist() == [0, 8_000, 0]


def test_a_node_that_is_quiet_for_minutes_is_still_known_by_what_it_sends_late():
    skews = Skews()
    told(skews, 100)
    skews.forget(FORGET_AFTER_MS)
    assert told(skews, 90_000, FORGET_AFTER_MS) == 0
    skews.forget(2 * FORGET_AFTER_MS + 1)
    assert len(skews) == 0
