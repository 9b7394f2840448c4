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


@pytest.mark.parametrize(("spread_ms", "down"), [(5_000, False), (5_001, True)])
def test_partitions_more_than_five_seconds_apart_mean_telemetry_down(spread_ms, down):
    clock = Clock()
    clock.fold(dict.fromkeys(ALL, 10_000) | {3: 10_000 + spread_ms}, 99_000)
    assert clock.telemetry_down is down
