"""A worker that stands still with work before it ends; one without work lives on."""

import pytest
from faust.types import TP

from tidegate.worker.watch import Stalled, Watch

HERE, THERE = TP("telemetry", 0), TP("telemetry", 1)


def test_an_idle_partition_may_stand_for_ever():
    watch = Watch(0.0)
    for now_s in range(0, 1_000, 5):
        watch.flowing({HERE: 7}, {HERE: 7}, {HERE: 7}, now_s)


def test_a_partition_that_moves_may_lag_for_ever():
    watch = Watch(0.0)
    for now_s in range(0, 1_000, 5):
        watch.flowing({HERE: now_s}, {HERE: 10_000}, {HERE: now_s}, now_s)


def test_a_partition_that_stands_with_records_before_it_is_stalled_after_30_s_and_named():
    watch = Watch(0.0)
    for now_s in range(0, 35, 5):
        watch.flowing({HERE: 7, THERE: now_s}, {HERE: 9, THERE: 99}, {HERE: 7, THERE: now_s}, now_s)
    with pytest.raises(Stalled, match="telemetry/0 stands at 7 of 9 for 35 s"):
        watch.flowing({HERE: 7, THERE: 35}, {HERE: 9, THERE: 99}, {HERE: 7, THERE: 35}, 35)


def test_time_at_the_end_does_not_count():
    watch = Watch(0.0)
    watch.flowing({HERE: 7}, {HERE: 7}, {HERE: 7}, 0)
    watch.flowing({HERE: 7}, {HERE: 7}, {HERE: 7}, 100)
    watch.flowing({HERE: 7}, {HERE: 8}, {HERE: 7}, 105)
    watch.flowing({HERE: 7}, {HERE: 8}, {HERE: 7}, 130)


def test_a_rebalance_begins_anew_and_may_not_last():
    watch = Watch(0.0)
    watch.flowing({HERE: 7}, {HERE: 9}, {HERE: 7}, 0)
    watch.stopped(20)
    watch.flowing({HERE: 7}, {HERE: 9}, {HERE: 7}, 40)
    watch.stopped(100)
    with pytest.raises(Stalled, match="no partitions for 61 s"):
        watch.stopped(101)


def test_a_commit_that_stands_for_a_minute_while_rows_are_read_is_stuck_and_named():
    watch = Watch(0.0)
    for now_s in range(0, 65, 5):
        watch.flowing({HERE: 100 + now_s}, {HERE: 900}, {HERE: 100}, now_s)
    with pytest.raises(Stalled, match="telemetry/0 is read up to 165; its commit stands at 100 for 65 s"):
        watch.flowing({HERE: 165}, {HERE: 900}, {HERE: 100}, 65)


def test_a_commit_behind_a_partition_that_nobody_writes_to_may_stand_for_ever():
    """A judge that begins at a checkpoint beyond its commit, while intake is down."""
    watch = Watch(0.0)
    for now_s in range(0, 1_000, 5):
        watch.flowing({HERE: 105}, {HERE: 105}, {HERE: 100}, now_s)


def test_while_the_broker_is_away_no_time_counts():
    watch = Watch(0.0)
    watch.flowing({HERE: 7}, {HERE: 9}, {HERE: 5}, 0)
    watch.flowing({HERE: 7}, {}, {HERE: 5}, 100)
    watch.flowing({HERE: 8}, {HERE: 9}, {HERE: 5}, 105)
