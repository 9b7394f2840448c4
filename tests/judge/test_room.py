"""While the clock stands rows wait, as many as there is room for; a second with more is left out whole (A3, C6)."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.judge.test_fold import CANARY, play
from tests.kpi.rows import T0, record, row

from tidegate.judge import JudgeState, Outcome, restore, snapshot
from tidegate.kpi import panes
from tidegate.wire.judgement import Outcome as Says
from tidegate.wire.nodeseconds import Record

MOST = 60
NODES = 4
STANDS = range(10, 60)
"""Seconds in which one telemetry partition has no mark. As many rows as have room come in 15 s."""


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(panes, "ROWS_MAX", MOST)


def second(at: int, *, stands: bool) -> Record:
    told = [row(f"n{node}", at + 1, at, version="v2" if node == 0 else "v1", requests=10) for node in range(NODES)]
    one = record(told, at + 1.2)
    return replace(one, marks={partition: ms for partition, ms in one.marks.items() if partition or not stands})


LOG = [replace(CANARY, started_ms=T0), *(second(at, stands=at in STANDS) for at in range(90))]


def waiting(state: JudgeState) -> int:
    return sum(len(part.rows) for parts in state.panes.seconds.values() for part in parts)


def requests(outcomes: list[Outcome]) -> dict[int, int]:
    found: dict[int, int] = {}
    for kpi in (kpi for outcome in outcomes for kpi in outcome.kpis if kpi.window_s == 1):
        found[kpi.end_ms] = found.get(kpi.end_ms, 0) + kpi.requests
    return found


@pytest.mark.usefixtures("small")
def test_rows_that_wait_are_bounded_counted_and_missed_by_nobody():
    state, outcomes, most = JudgeState(), [], 0
    for at, one in enumerate(LOG):
        outcomes += play([one], state, at + 0.3)[1]
        most = max(most, waiting(state))
    assert most == MOST
    told = requests(outcomes)
    assert set(told.values()) == {10 * NODES}
    assert {T0 + 1_000 * at for at in (*range(1, 22), *range(62, 85))} <= told.keys()
    assert (state.tally.accepted, state.tally.no_room) == (90 * NODES, 90 * NODES - waiting(state) - NODES * len(told))
    assert {verdict.outcome for outcome in outcomes for verdict in outcome.verdicts} <= {Says.PASS, Says.HOLD}
    lost = [alarm for outcome in outcomes for alarm in outcome.alarms if alarm.name in ("coverage_lost", "both_silent")]
    assert lost == []


def test_where_there_is_room_nothing_is_left_out():
    state, outcomes = play(LOG)
    assert state.tally.no_room == 0
    assert len(requests(outcomes)) == 89


def told_late(behind_s: list[int], seed: int) -> Iterator[Record]:
    """Yield seconds whose rows come in any order, up to 2 s later, while the clock is so far behind; then it catches up."""
    source, rows = random.Random(seed), []
    for at, behind in enumerate(behind_s):
        rows += [row(f"n{node}", at + 1, at, requests=10) for node in range(source.randint(1, NODES))]
        due = [one for one in rows if source.random() < 0.5 or one.start_ms <= T0 + (at - 2) * 1_000]
        rows = [one for one in rows if one not in due]
        yield record(source.sample(due, len(due)), max(0, at - 3 - behind))
    yield record(rows)
    yield from (record([], len(behind_s) + after) for after in range(1, 40))


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 30), min_size=3, max_size=8), st.integers(0, 2**32), st.integers(1, 60))
def test_a_second_is_there_whole_or_not_at_all_whenever_the_clock_goes_on(behind_s, seed, cut):
    records = [*told_late([behind for behind in behind_s for _ in range(8)], seed)]
    sent = requests(play(records)[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panes, "ROWS_MAX", 24)
        state, outcomes = play(records)
        first, before = play(records[:cut])
        assert before + play(records[cut:], restore(snapshot(first)))[1] == outcomes
    told = requests(outcomes)
    assert {end_ms: sent[end_ms] for end_ms in told} == told
    assert (state.tally.late, waiting(state)) == (0, 0)
    assert (sent != told) is bool(state.tally.no_room)
