import numpy as np
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


@pytest.mark.parametrize(
    ("what", "rows_ms", "marks_ms", "resumed_ms"),
    [
        ("rows all the time", [[11_000], [12_900], [14_000]], [14_000], 0),
        ("intake was away: marks jump, rows were appended meanwhile", [[12_000, 13_500, 15_000, 16_000]], [16_000], 0),
        ("the broker was away: rows jump", [[10_100], [16_000, 16_050]], [16_050], 16_000),
        ("and some rows came in between", [[10_100, 13_000, 14_000]], [14_000], 13_000),
        ("it came back and nobody had reached it yet", [], [16_000], 16_000),
        ("rows come then, later and later", [[16_900], [18_800]], [16_000, 16_950, 18_850], 16_900),
        ("a slower intake's rows are older, and no outage", [[11_000], [10_500], [12_900]], [12_900], 0),
        ("a second without rows is none", [], [12_000], 0),
    ],
)
def test_an_outage_of_the_broker_is_told_from_one_of_intake_by_what_was_appended_meanwhile(what, rows_ms, marks_ms, resumed_ms):
    clock = Clock()
    clock.rows(np.array([9_950, 10_000]))
    clock.fold(dict.fromkeys(ALL, 10_000), 99_000)
    if len(marks_ms) > 1:
        clock.fold(dict.fromkeys(ALL, marks_ms.pop(0)), 99_000)
    for at in rows_ms:
        clock.rows(np.array(at))
    for mark_ms in marks_ms:
        clock.fold(dict.fromkeys(ALL, mark_ms), 99_000)
    assert clock.resumed_ms == resumed_ms, what


@pytest.mark.parametrize("every_ms", [2_500, 5_000, 10_000, 50_000])
def test_a_fleet_that_speaks_seldom_is_not_away_each_time(every_ms):
    clock = Clock()
    resumed = set()
    for append_ms in range(every_ms, 40 * every_ms, every_ms):
        clock.rows(np.array([append_ms, append_ms + 20]))
        resumed.add(clock.resumed_ms)
    assert resumed <= {0, 2 * every_ms}
    clock.rows(np.array([43 * every_ms]))
    assert clock.resumed_ms == 43 * every_ms


@pytest.mark.parametrize(("spread_ms", "down"), [(5_000, False), (5_001, True)])
def test_partitions_more_than_five_seconds_apart_mean_telemetry_down(spread_ms, down):
    clock = Clock()
    clock.fold(dict.fromkeys(ALL, 10_000) | {3: 10_000 + spread_ms}, 99_000)
    assert clock.telemetry_down is down
