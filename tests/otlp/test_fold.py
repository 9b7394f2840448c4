"""Exports in order: which points count, for which second, and what is remembered."""

import pytest
from msgspec.structs import replace
from tests.otlp.kit import T0_S, Partition, explicit, export, ns, point

from tidegate.otlp import fold
from tidegate.otlp.fold import FORGET_AFTER_S, WINDOW_MOST_S
from tidegate.wire.otlp import Explicit, Exponential, Level
from tidegate.wire.telemetry import Source


def test_a_process_that_began_before_these_eyes_counts_from_its_start_and_then_by_what_it_grows():
    one = Partition().take(export(1.2, point(1.2, 5, start=0.4)))
    one.take(export(2.2, point(2.2, 8, start=0.4))).until(5)
    assert one.told == [(1, 5, 0), (2, 3, 0)]
    row = one.rows[0]
    assert (row.node, row.service, row.version, row.source, row.boot) == ("web-1", "shop", "v1", Source.OTLP, "otlp.one")
    assert (row.start_ms, row.length_ms, row.seq) == ((T0_S + 1) * 1_000, 1_000, T0_S + 1)


def test_what_an_old_process_says_first_is_where_counting_begins():
    one = Partition(since=-10).take(export(1, point(1, 5_000, start=-3_600))).take(export(2, point(2, 5_004, start=-3_600)))
    assert one.until(5).told == [(2, 4, 0)]
    assert one.results == {"first": 1, "counted": 1}


def test_a_series_that_an_old_process_begins_counts_in_full():
    """The first failure of a process that has run for an hour: some SDKs let all series start with the process."""
    one = Partition().take(export(1, point(1, 100, start=-3_600))).take(export(2, point(2, 100, start=-3_600)))
    one.take(export(3, point(3, 100, start=-3_600), point(3, 2, start=-3_600, series="500", failed=True))).until(5)
    assert one.told == [(3, 2, 2)]


def test_a_second_message_of_the_first_export_does_not_count_in_full():
    """A collector may split what one process said."""
    one = Partition().take(export(1, point(1, 100, start=-3_600))).take(export(1, point(1, 9_000, start=-3_600, series="b")))
    one.take(export(2, point(2, 101, start=-3_600))).take(export(2, point(2, 9_001, start=-3_600, series="b")))
    assert one.until(5).told == [(2, 2, 0)]


@pytest.mark.parametrize(
    ("what", "points", "expected"),
    [
        ("a point that comes twice", [(1, 5, 0), (2, 8, 0), (2, 8, 0)], 8),
        ("points in another order", [(1, 5, 0), (3, 9, 0), (2, 8, 0)], 9),
        ("a new life of the process: another start", [(1, 5, 0), (2, 8, 0), (3, 2, 2.5)], 10),
        ("a new life that counted more than the old one", [(1, 5, 0), (2, 8, 0), (3, 50, 2.5)], 58),
        ("a late word of the old life", [(1, 5, 0), (2, 8, 0), (3, 2, 2.5), (2.2, 9, 0)], 11),
        ("a count that fell under the same start", [(1, 5, 0), (2, 8, 0), (3, 2, 0)], 10),
        ("the last word before it fell, again", [(1, 5, 0), (2, 8, 0), (3, 2, 0), (2, 8, 0)], 10),
        ("two processes under one name", [(1, 5, 0), (1.5, 3, 0.5), (2, 8, 0), (2.5, 4, 0.5), (3, 9, 0), (3.5, 7, 0.5)], 16),
    ],
)
def test_cumulative(what, points, expected):
    one = Partition()
    for end, count, start in points:
        at = max(end, one.state.done_s - T0_S + 1)
        one.take(export(end, point(end, count, start=start)), at=at)
    assert one.until(20).requests == expected, what


@pytest.mark.parametrize(
    ("what", "points", "expected"),
    [
        ("each as it is", [(0, 1, 5), (1, 2, 3)], 8),
        ("twice", [(0, 1, 5), (1, 2, 3), (1, 2, 3), (0, 1, 5)], 8),
        ("in another order", [(1, 2, 3), (0, 1, 5)], 8),
        ("without a start", [(-T0_S, 1, 5)], 5),
    ],
)
def test_delta(what, points, expected):
    one = Partition()
    for start, end, count in points:
        one.take(export(end, point(end, count, start=start, delta=True)), at=2)
    assert one.until(20).requests == expected, what


def test_an_interval_of_five_seconds_is_dealt_out_to_the_five_that_follow():
    one = Partition().take(export(0.3, point(0.3, 0, start=0.1)))
    for number in (1, 2):
        one.take(
            export(5.3 * number, point(5.3 * number, 50 * number, start=0.1, buckets=explicit(20 * number, 30 * number, 0, 0)))
        )
    one.until(30)
    assert [second for second, _, _ in one.told] == [*range(5, 15)]
    assert all(requests == 10 for _, requests, _ in one.told), one.told
    assert one.requests == 100
    # It is not silent in between, and for a moment more, should the next export come a little late.
    assert [row.seq - T0_S for row in one.rows] == [0, 1, *range(5, 16)]
    assert all(sum(row.latency.values()) == row.requests for row in one.rows if row.requests)


def test_what_was_missed_is_made_good_within_a_usual_interval():
    one = Partition()
    for second in range(1, 6):
        one.take(export(second + 0.5, point(second + 0.5, 10 * second, start=0.2)))
    one.take(export(40.5, point(40.5, 400, start=0.2))).until(60)
    assert one.told[-1] == (40, 350, 0)
    assert one.rows[-1].seq - T0_S == 41
    assert one.requests == 400


def test_after_a_gap_that_is_too_long_counting_begins_again():
    one = Partition().take(export(1, point(1, 10, start=0.5)))
    late = 1 + WINDOW_MOST_S + 2
    one.take(export(late, point(late, 900, start=0.5))).take(export(late + 1, point(late + 1, 905, start=0.5)))
    assert one.until(late + 5).requests == 15
    assert one.results == {"counted": 2, "gap": 1}


@pytest.mark.parametrize("off", [-61, 61])
def test_what_belongs_to_no_second_any_more_is_left_aside_and_poisons_nothing(off):
    one = Partition(since=-100).take(export(1, point(1, 10, start=0.5)))
    one.take(export(2 + off, point(2 + off, 900, start=-70)), at=2)
    one.take(export(3, point(3, 12, start=0.5)))
    assert one.until(5).requests == 12
    assert one.results["late"] == 1


def test_what_comes_for_a_second_that_is_over_goes_into_the_next():
    one = Partition().take(export(1.5, point(1.5, 5, start=1))).until(2)
    one.take(export(2.5, point(2.5, 7, start=1)), at=2.5).until(5)
    assert one.told == [(1, 5, 0), (3, 2, 0)]


def test_of_a_metric_and_the_one_before_it_the_newer_counts():
    old = "http.server.duration"
    one = Partition()
    for second in (1, 2):
        one.take(
            export(
                second,
                point(second, 5 * second, metric=old),
                point(second, 5 * second),
                point(second, 3, metric="rpc.server.duration", start=second - 0.5),
            )
        )
    assert one.until(5).requests == 10 + 6
    assert one.results["newer"] == 2


def test_a_process_that_exports_anything_has_rows_and_one_that_is_silent_has_none():
    level = Level(metric="process.memory.usage", series="", end_ns=ns(1), value=5e8)
    one = Partition().take(export(1, levels=(level,))).take(export(2)).until(10)
    assert [(row.seq - T0_S, row.requests, row.gauges) for row in one.rows] == [
        (1, 0, {"process.memory.usage": 5e8}),
        (2, 0, {"process.memory.usage": 5e8}),
        (3, 0, {"process.memory.usage": 5e8}),
    ]


def test_levels_are_added_up_over_their_series_and_replaced_by_the_next():
    def at(second, *values):
        return export(
            second,
            levels=tuple(
                Level(metric="process.cpu.utilization", series=str(n), end_ns=ns(second), value=value)
                for n, value in enumerate(values)
            ),
        )

    one = Partition().take(at(1, 0.25, 0.5)).take(at(2, 0.125)).until(2)
    assert [row.gauges for row in one.rows] == [{"process.cpu.utilization": 0.75}, {"process.cpu.utilization": 0.125}]


def test_buckets_keep_their_counts_whatever_they_are():
    exponential = Exponential(scale=3, threshold=0.0, zero=1, offset=-8, counts=[2, 0, 3])
    one = Partition().take(
        export(
            1,
            point(1, 7, buckets=Explicit([], []), series="count alone"),
            point(1, 7, buckets=Explicit([], [7]), series="one bucket"),
            point(1, 10, buckets=explicit(1, 2, 3, 4), series="bounds"),
            point(1, 6, buckets=exponential, series="exponential"),
        )
    )
    one.until(2)
    assert one.requests == 30
    assert sum(one.slots.values()) == 16  # of the others only the number is known
    assert (one.slots[-8], one.slots[-6]) >= (2, 3)


def test_a_silent_process_and_a_silent_series_are_forgotten():
    one = Partition().take(export(1, point(1, 5), point(1, 5, series="b"))).take(export(1, point(1, 5), resource="two"))
    last = FORGET_AFTER_S + 20
    for second in range(2, last):
        one.take(export(second, point(second, 5 + second)))
    assert set(one.state.processes) == {"one"}
    assert {series for _, series, _ in one.state.processes["one"].series} == {"ok"}


def test_there_is_room_for_so_many_series_and_processes_and_no_more(monkeypatch):
    monkeypatch.setattr(fold, "SERIES_MAX", 2)
    monkeypatch.setattr(fold, "PROCESSES_MAX", 2)
    one = Partition()
    for second in (1, 2):
        one.take(export(second, *(point(second, 5 * second, series=name) for name in "abc")))
        for resource in ("two", "three"):
            one.take(export(second, point(second, 1), resource=resource))
    assert one.results["full"] == 2 + 2
    assert one.until(5).requests == 2 * 10 + 1


def test_a_series_that_had_no_room_begins_to_count_when_there_is_some(monkeypatch):
    """It counted its whole life in one second."""
    monkeypatch.setattr(fold, "SERIES_MAX", 1)
    one = Partition()
    for second in range(1, 2 * FORGET_AFTER_S):
        told = [point(second, 5 * second, series="first")] if second < 20 else []
        one.take(export(second, *told, point(second, 10 * second, series="second")))
    assert {requests for _, requests, _ in one.told} == {5, 10}
    assert one.results["first"] == 1


def test_a_series_that_was_forgotten_and_comes_back_is_where_counting_begins():
    """A process that left a series out for minutes counted all of it in one second."""
    one = Partition()
    for second in range(1, 2 * FORGET_AFTER_S):
        left_out = 20 <= second < FORGET_AFTER_S + 50
        told = [] if left_out else [point(second, 5 * second, series="b")]
        one.take(export(second, point(second, 10 * second), *told))
    assert {requests for _, requests, _ in one.told} == {10, 15}
    assert one.results["first"] == 1


def test_what_a_former_life_left_behind_takes_nothing_from_the_next():
    """Its series are forgotten; the first failure of the next life is as new as any."""
    one = Partition()
    for second in range(1, 10):
        one.take(export(second, point(second, 5 * second)))
    last = FORGET_AFTER_S + 30
    for second in range(10, last):
        one.take(export(second, point(second, 5 * (second - 9), start=9.5)))
    one.take(export(last, point(last, 5 * (last - 9), start=9.5), point(last, 3, start=9.5, series="500", failed=True)))
    assert one.until(last).told[-1] == (last, 8, 3)


def test_once_the_newer_metric_is_gone_the_one_before_it_counts_again():
    old = "http.server.duration"
    one, last = Partition(), FORGET_AFTER_S + 40
    for second in range(1, last):
        newer = [point(second, 5 * second)] if second < 20 else []
        one.take(export(second, point(second, 5 * second, metric=old), *newer))
    assert [requests for second, requests, _ in one.told if second < 20] == [5] * 19
    assert one.told[-1] == (last - 2, 5, 0)
    assert one.results["newer"] >= FORGET_AFTER_S


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("off", [7.3, 20.3, 40.3, 55.3])
def test_a_clock_that_ran_ahead_and_is_set_right_costs_nothing(off, delta):
    """Whoever took its word was deaf until the clock was as late as before: a process that serves was taken for mute."""
    one = Partition()
    for second in range(1, 150):
        end = second + (off if second < 80 else 0)
        told = point(end, 10 if delta else 10 * second, start=end - 1 if delta else off, delta=delta)
        one.take(export(end, told), at=second)
    assert one.until(149).told == [(second, 10, 0) for second in range(1, 150)]


def test_a_clock_that_is_set_back_by_seconds_leaves_no_second_without_a_row_and_loses_no_count():
    one = Partition()
    for second in range(1, 50):
        end = second + (3.3 if second < 20 else 0)
        one.take(export(end, point(end, 10 * second, start=3.3)), at=second)
    assert [row.seq - T0_S for row in one.until(49).rows] == [*range(1, 50)]
    assert one.requests == 10 * 49


@pytest.mark.parametrize("back", [-20.0, -55.0])
def test_a_clock_that_is_set_back_costs_nothing_of_what_is_cumulative(back):
    """Neither of a series that counts, nor of one that counts again only later."""
    one = Partition()
    for second in range(1, 150):
        end = second + (0 if second < 80 else back)
        one.take(export(end, point(end, 10 * second), point(end, max(0, second - 100), series="later")), at=second)
    assert [requests for _, requests, _ in one.until(149).told] == [10] * 100 + [11] * 49


def test_without_a_start_a_late_word_of_the_life_before_counts_for_nothing():
    """It was taken for a clock that was set back, and the whole life before for the growth of a second."""
    one = Partition()
    for end, count, at in [(10, 100_000, 10), (30, 10, 30), (20, 101_000, 31), (40, 30, 40)]:
        one.take(export(end, replace(point(end, count), start_ns=0)), at=at)
    assert one.until(60).requests == 30


def by_name(row):
    return row.seq, row.boot


def test_who_takes_over_makes_the_same_rows_from_the_log_alone():
    """A successor reads what was appended lately, and skips the seconds that are over."""
    log = []
    for node in range(3):
        for number in range(1, 80):
            end = number * (1 + 2 * node) + 0.1 * node
            ok, failed = 7 * number * number, number // 3
            log.append(
                export(
                    end, point(end, ok, start=0.05), point(end, failed, start=0.05, series="f", failed=True), resource=f"{node}"
                )
            )
    log.sort(key=lambda one: one.end_ns)
    first, second = Partition(since=-1), Partition(since=40)
    for one in log:
        first.take(one)
        if one.end_ns >= ns(40) and one.end_ns < ns(120):
            fold.take(second.state, one, one.end_ns // 1_000_000)
    fold.skip(second.state, T0_S + 118)
    for one in log:
        if one.end_ns >= ns(120):
            second.take(one)
    expected = [row for row in first.until(200).rows if row.seq > T0_S + 118]
    assert sorted(second.until(200).rows, key=by_name) == sorted(expected, key=by_name)
    assert len(expected) > 200
