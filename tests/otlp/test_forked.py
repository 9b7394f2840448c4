"""Processes that call themselves the same, such as those of a server that forks: each counts by its own intervals.

Their exports come one after the other within a moment, and the time between two of them is the interval of none.
"""

import pytest
from tests.otlp.kit import Partition, export, point

RATE = 10
"""Requests a second of each process."""


def forked(workers: int, interval_s: int, until_s: int, *, apart_s: float = 0.1, delta: bool = False, idle: bool = False):
    """Return exports in order; ``workers`` began one after the other, ``apart_s`` between them."""
    found = []
    for worker in range(workers):
        start = worker * apart_s
        for number in range(1, until_s // interval_s + 1):
            end = start + number * interval_s
            told = point(
                end,
                RATE * interval_s * (1 if delta else number),
                start=end - interval_s if delta else start,
                delta=delta,
            )
            found.append(export(end) if idle else export(end, told))
    return sorted(found, key=lambda one: one.end_ns)


def played(exports):
    one = Partition(since=-1)
    for told in exports:
        one.take(told)
    return one


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("apart_s", [0.001, 0.1, 0.9])
@pytest.mark.parametrize(("workers", "interval_s"), [(1, 10), (2, 10), (4, 10), (8, 10), (4, 60)])
def test_forked_processes_count_as_evenly_as_one(workers, interval_s, apart_s, delta):
    """The time between exports was taken for an interval: counts of 60 s came in one, and 58 without a row, as of the mute."""
    one = played(forked(workers, interval_s, 300, apart_s=apart_s, delta=delta)).until(305)
    began = interval_s + 10
    assert one.told[began - interval_s : 290 - interval_s] == [(second, workers * RATE, 0) for second in range(began, 290)]


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_what_forked_processes_missed_is_made_good_within_their_usual_interval(workers):
    exports = [one for one in forked(workers, 10, 250) if not 200 <= one.end_ns // 10**9 % 10_000 <= 239]
    assert len(exports) == workers * 21
    one = played(exports).until(260)
    again = [(second, requests) for second, requests, _ in one.told if second >= 240]
    assert again[:10] == [(second, workers * RATE * 5) for second in range(240, 250)]
    assert again[10:] == [(second, workers * RATE) for second in range(250, 260)]


@pytest.mark.parametrize("workers", [1, 4, 8])
def test_forked_processes_without_a_request_are_silent_for_two_intervals_at_most(workers):
    rows = [row.seq for row in played(forked(workers, 10, 200, idle=True)).rows]
    assert rows[-170:] == [*range(rows[-1] - 169, rows[-1] + 1)]


def test_the_first_requests_of_a_process_that_was_idle_are_not_spread_over_its_life():
    """Some SDKs let every series start with the process, whenever it first counted."""
    one = Partition(since=-1)
    for second in range(1, 51):
        one.take(export(second))
    for second, failures in ((51, 3), (52, 8)):
        one.take(export(second, point(second, failures, series="500", failed=True)))
    assert one.until(60).told == [(51, 3, 3), (52, 5, 5)]
