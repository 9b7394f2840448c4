import pytest

from tidegate.kpi.clock import Clock
from tidegate.kpi.skew import BLOCK_ROWS, Skews

ALL = range(12)


def test_there_is_no_clock_before_every_partition_has_spoken():
    clock = Clock()
    clock.fold(dict.fromkeys(range(11), 5_000), 9_000)
    assert clock.now_ms is None
    clock.fold({11: 4_000}, 9_000)
    assert clock.now_ms == 4_000


def test_a_mark_never_goes_back_and_never_passes_its_own_append_time():
    clock = Clock()
    clock.fold(dict.fromkeys(ALL, 5_000), 9_000)
    clock.fold(dict.fromkeys(ALL, 4_000), 9_000)
    assert clock.now_ms == 5_000
    clock.fold(dict.fromkeys(ALL, 50_000), 9_000)
    assert clock.now_ms == 9_000


@pytest.mark.parametrize(("spread_ms", "down"), [(5_000, False), (5_001, True)])
def test_partitions_more_than_five_seconds_apart_mean_telemetry_down(spread_ms, down):
    clock = Clock()
    clock.fold(dict.fromkeys(ALL, 10_000) | {3: 10_000 + spread_ms}, 99_000)
    assert clock.telemetry_down is down


@pytest.mark.parametrize(
    ("delay_ms", "shift_ms"),
    [
        (300, 0),
        (2_000, 0),
        (-2_000, 0),
        (2_001, 2_001),
        (-60_000, -60_000),
        (300_000, 300_000),
        (300_001, None),
        (-300_001, None),
    ],
)
def test_a_steady_delay_is_a_wrong_clock(delay_ms, shift_ms):
    skews = Skews()
    assert [skews.shift_ms("n1", delay_ms) for _ in range(100)][-1] == shift_ms


def test_one_prompt_row_proves_a_clock_right_for_as_long_as_it_is_remembered():
    skews = Skews()
    skews.shift_ms("n1", 100)
    assert [skews.shift_ms("n1", 9_000) for _ in range(BLOCK_ROWS)] == [0] * BLOCK_ROWS
    assert [skews.shift_ms("n1", 9_000) for _ in range(2 * BLOCK_ROWS)][-1] == 9_000
