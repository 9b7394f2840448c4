import pytest

from tidegate.kpi.clock import Clock

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


@pytest.mark.parametrize(("step_ms", "resumed_ms"), [(200, 0), (2_000, 0), (2_001, 12_001), (60_000, 70_000)])
def test_a_clock_that_jumps_tells_where_it_went_on(step_ms, resumed_ms):
    """The jump is there when the last partition has made it."""
    clock = Clock()
    clock.fold(dict.fromkeys(ALL, 10_000), 99_000)
    clock.fold({0: 10_000 + step_ms}, 99_000)
    assert clock.resumed_ms == 0
    clock.fold(dict.fromkeys(ALL, 10_000 + step_ms), 99_000)
    assert clock.resumed_ms == resumed_ms


@pytest.mark.parametrize(("spread_ms", "down"), [(5_000, False), (5_001, True)])
def test_partitions_more_than_five_seconds_apart_mean_telemetry_down(spread_ms, down):
    clock = Clock()
    clock.fold(dict.fromkeys(ALL, 10_000) | {3: 10_000 + spread_ms}, 99_000)
    assert clock.telemetry_down is down
