import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kpi.rows import T0, fleet_rows, histogram, idle, record, row

from tidegate.judge import JudgeState, restore, snapshot, step
from tidegate.wire.codec import Malformed
from tidegate.wire.judgement import AlarmState
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState, Source

SERVICE = "shop"


def play(records, state=None, append_second=1_000):
    state = state or JudgeState()
    outcomes = [step(state, one, T0 + append_second * 1_000) for one in records]
    return state, outcomes


def kpis(outcomes, window_s=1):
    return {(kpi.cohort, kpi.end_ms): kpi for outcome in outcomes for kpi in outcome.kpis if kpi.window_s == window_s}


def context(**fields):
    fields = {"subject": "svc/shop", "service": SERVICE, "epoch": 1, "generation": 1, "rest_version": "v1"} | fields
    return Context(**fields)


CANARY = context(
    placement="p1",
    rollout="r.1",
    cohorts=(
        CohortMembers(name="canary", version="v2", nodes=("n0",)),
        CohortMembers(name="control", version="v1", nodes=("n1",)),
    ),
    stage_nodes=1,
    min_requests=10,
)


@settings(deadline=None)
@given(fleet_rows(), st.integers(0, 2**32), st.booleans())
def test_kpis_do_not_depend_on_order_repeats_or_how_rows_are_batched(rows, seed, with_context):
    before = [CANARY] if with_context else []
    _, straight = play([*before, record(rows, 0), *idle(30)])
    shuffled = rows + rows[: len(rows) // 2]
    random.Random(seed).shuffle(shuffled)
    batches = [shuffled[at : at + 3] for at in range(0, len(shuffled), 3)]
    state, scattered = play([*before, *(record(batch, 0) for batch in batches), *idle(30)])
    assert kpis(scattered) == kpis(straight)
    assert state.tally.accepted == len(rows)
    assert state.tally.duplicate == len(shuffled) - len(rows)


@settings(deadline=None, max_examples=15)
@given(fleet_rows(), st.integers(0, 6))
def test_a_snapshot_in_the_middle_changes_nothing(rows, cut):
    seconds = [[one for one in rows if one.start_ms == T0 + second * 1_000] for second in range(7)]
    records = [CANARY, *(record(part, second + 0.2) for second, part in enumerate(seconds))]
    records.append(record([], 20))
    _, whole = play(records)
    state, first = play(records[: cut + 1])
    _, second_half = play(records[cut + 1 :], restore(snapshot(state)))
    assert first + second_half == whole


@settings(deadline=None, max_examples=10)
@given(fleet_rows())
def test_the_same_records_give_the_same_bytes_and_the_same_state(rows):
    records = [CANARY, *(record(rows[at : at + 5], at / 5) for at in range(0, len(rows), 5)), *idle(30)]
    (one, first), (other, second) = play(records), play(records)
    assert [msgspec.msgpack.encode(outcome) for outcome in first] == [msgspec.msgpack.encode(outcome) for outcome in second]
    assert snapshot(one) == snapshot(other)


def test_a_pane_closes_one_second_after_its_end_by_the_slowest_mark_and_not_before():
    state, outcomes = play([record([row(requests=3)], 1.9), record([], 1.999), record([], 2.0)])
    assert [len(outcome.kpis) for outcome in outcomes] == [0, 0, 1]
    (kpi,) = outcomes[2].kpis
    assert (kpi.cohort, kpi.start_ms, kpi.end_ms, kpi.requests, kpi.rate) == ("rest", T0, T0 + 1_000, 3, 3.0)
    assert state.closed_ms == T0 + 1_000


def test_a_row_for_a_closed_pane_is_late_counted_and_not_judged():
    state, outcomes = play([record([row(requests=3)], 2), record([row(seq=2, requests=5)], 3), record([], 4)])
    assert state.tally.late == 1
    assert sum(kpi.requests for kpi in kpis(outcomes).values()) == 3
    assert sum(kpi.late_rows for kpi in kpis(outcomes).values()) == 1


def test_the_context_says_who_belongs_where_and_a_wrong_version_counts_for_none():
    rows = [
        row("n0", requests=10, version="v2", cohort="rest"),
        row("n1", requests=20, cohort="canary"),
        row("n2", requests=30),
        row("n0", seq=1, boot="old", requests=99, version="v1"),
        row("n1", seq=1, boot="new", requests=99, version="v2"),
    ]
    state, outcomes = play([CANARY, record(rows, 5)])
    found = {cohort: kpi.requests for (cohort, end_ms), kpi in kpis(outcomes).items() if end_ms == T0 + 1_000}
    assert found == {"canary": 10, "control": 20, "rest": 30}
    assert state.tally.transition == 2


@pytest.mark.parametrize(
    ("known", "later", "kept"),
    [((1, 5), (1, 6), "later"), ((1, 5), (1, 4), "known"), ((2, 1), (1, 9), "known"), ((1, 9), (2, 1), "later")],
)
def test_the_greatest_epoch_and_generation_of_a_context_stays(known, later, kept):
    first = context(epoch=known[0], generation=known[1], rollout="known")
    second = context(epoch=later[0], generation=later[1], rollout="later")
    state, _ = play([first, second])
    assert state.contexts["svc/shop"].rollout == kept


def test_of_several_sources_of_one_node_the_first_in_order_counts():
    rows = [
        row(requests=7, source=Source.SCRAPE, boot="scrape"),
        row(requests=5, source=Source.SDK, boot="sdk"),
        row(requests=6, source=Source.OTLP, boot="otlp"),
    ]
    for order in (rows, rows[::-1]):
        _, outcomes = play([record(order, 5)])
        assert kpis(outcomes)[("rest", T0 + 1_000)].requests == 5


def test_two_lives_of_a_service_in_one_second_add_up():
    _, outcomes = play([record([row(requests=7), row(requests=5, boot="b2")], 5)])
    assert kpis(outcomes)[("rest", T0 + 1_000)].requests == 12


def test_windows_of_ten_and_sixty_seconds_are_sums_of_panes():
    base = (T0 + 59_999) // 60_000 * 60_000
    rows = [
        row(seq=second + 1, start_ms=base + second * 1_000, requests=second, latency=histogram(0.01) if second else None)
        for second in range(60)
    ]
    state = JudgeState()
    outcome = step(state, record(rows, (base - T0) / 1_000 + 61), base + 100_000)
    tens = [kpi for kpi in outcome.kpis if kpi.window_s == 10]
    (minute,) = (kpi for kpi in outcome.kpis if kpi.window_s == 60)
    assert [kpi.requests for kpi in tens] == [sum(range(at, at + 10)) for at in range(0, 60, 10)]
    assert (minute.requests, minute.nodes, minute.coverage, minute.rate) == (sum(range(60)), 1, 1.0, sum(range(60)) / 60)


def test_a_node_whose_clock_is_wrong_is_shifted_and_one_far_off_is_left_out():
    slow = [row("slow", seq=second + 1, second=second - 30, requests=1) for second in range(5)]
    state = JudgeState()
    _, outcomes = play([*(record([one], second + 1, late_ms=30_300) for second, one in enumerate(slow)), *idle(20)], state)
    assert state.tally.skewed == 5
    assert sum(kpi.requests for kpi in kpis(outcomes).values()) == 5
    step(state, record([row("lost", second=-4_000)], 20, late_ms=4_000_000), T0 + 90_000)
    assert state.tally.excluded == 1


def test_a_node_whose_clock_is_far_off_raises_an_alarm_that_ends_with_it():
    wrong = [row("lost", seq=second + 1, second=second - 4_000) for second in range(6)]
    records = [record([row(requests=1)], 1)]
    records += [record([one], second + 2, late_ms=4_000_000) for second, one in enumerate(wrong)]
    records += [record([], second) for second in range(8, 30)]
    _, outcomes = play(records)
    edges = [alarm for outcome in outcomes for alarm in outcome.alarms if alarm.name == "clock_wrong"]
    assert [edge.state for edge in edges] == [AlarmState.FIRING, AlarmState.RESOLVED]
    assert "lost" in edges[0].summary


def test_a_row_of_a_boot_is_not_taken_twice_although_no_partition_had_a_clock_yet():
    early = record([row(requests=3)])
    state, _ = play([early, record([], 9.5), early], append_second=10)
    assert (state.tally.accepted, state.tally.duplicate) == (1, 1)


@pytest.mark.parametrize(
    ("start_ms", "length_ms", "second"),
    [(0, 1_000, 0), (3, 1_000, 0), (-3, 1_000, 0), (499, 1_000, 0), (500, 1_000, 1), (1, 1_600, 0), (1, 60_000, 59), (0, 1, 0)],
)
def test_a_row_belongs_to_the_second_in_which_the_middle_of_its_window_lies(start_ms, length_ms, second):
    _, outcomes = play([record([row(start_ms=T0 + start_ms, length_ms=length_ms, requests=1)]), record([], 70)])
    assert [end_ms for (_, end_ms), kpi in kpis(outcomes).items() if kpi.requests] == [T0 + second * 1_000 + 1_000]


def test_a_window_holds_no_second_of_before_a_long_silence():
    base = T0 // 60_000 * 60_000 - T0
    first = row(requests=7, start_ms=T0 + base + 60_000)
    later = row(seq=2, requests=5, start_ms=T0 + base + 3_655_000)
    marks = (base / 1_000 + 63, base / 1_000 + 3_662)
    records = [
        record([first], marks[0]),
        record([], marks[1] - 10),
        record([later], marks[1]),
        *(record([], marks[1] + second) for second in range(1, 8)),
    ]
    _, outcomes = play(records, append_second=10_000)
    assert [kpi.requests for kpi in kpis(outcomes, 60).values() if kpi.requests] == [5]


def test_what_falls_silent_is_forgotten_with_all_that_was_known_of_it():
    rows = [row(f"n{node}", service=f"s{node}", requests=200, latency=histogram(0.01)) for node in range(30)]
    state, outcomes = play([record([], 0), record(rows, 2), *(record([], second) for second in range(4, 900, 2))])
    assert len({alarm.key for outcome in outcomes for alarm in outcome.alarms if alarm.service}) == 30
    assert all(alarm.state is AlarmState.RESOLVED for alarm in kept_last(outcomes).values() if alarm.service)
    tables = (state.seen, state.subjects, state.books, state.late, state.excluded, state.panes.seconds, state.dedupe, state.skews)
    assert [len(table) for table in tables] == [0] * len(tables)


def kept_last(outcomes):
    return {alarm.key: alarm for outcome in outcomes for alarm in outcome.alarms}


def test_a_torn_record_changes_nothing():
    state, _ = play([record([row(requests=3)], 1)])
    before = snapshot(state)
    with pytest.raises(Malformed):
        step(state, msgspec.structs.replace(record([row(seq=2)], 5), seq=b"torn"), T0 + 9_000)
    assert snapshot(state) == before


def test_a_state_of_many_nodes_comes_back_whole():
    rows = [row(f"n{node}", seq=seq, second=seq - 1, requests=1) for node in range(300) for seq in (1, 3)]
    state, _ = play([record(rows, 1.5)])
    again = restore(snapshot(state))
    assert snapshot(again) == snapshot(state)
    more = [record([row(f"n{node}", seq=2, second=1, requests=1) for node in range(300)], 9)]
    assert play(more, again)[1] == play(more, state)[1]


def test_partitions_that_stop_raise_one_alarm_and_its_end():
    state, _ = play([record([row(requests=1)], 1)])
    ahead = record([], None)
    marks = dict.fromkeys(range(11), T0 + 9_000)
    (first,) = step(state, type(ahead)(marks=marks), T0 + 90_000).alarms
    assert (first.name, first.state) == ("telemetry_down", AlarmState.FIRING)
    assert step(state, type(ahead)(marks=marks), T0 + 90_000).alarms == ()
    assert step(state, type(ahead)(marks={11: T0 + 9_000}), T0 + 90_000).alarms == ()
    alarms = step(state, type(ahead)(), T0 + 93_000).alarms
    assert [alarm.state for alarm in alarms if alarm.name == "telemetry_down"] == [AlarmState.RESOLVED]


def test_a_long_gap_of_the_clock_does_not_close_every_second_of_it():
    state, outcomes = play([record([row(requests=3)], 0.5), record([], 50_000), *idle(50_006, 50_001)], append_second=100_000)
    assert sum(kpi.requests for kpi in kpis(outcomes).values()) == 3
    assert state.closed_ms == T0 + 50_005_000
    assert state.tally.panes < 2_000


def seconds(first, last, late_ms=300, mark=None):
    """Three nodes' rows of some seconds; a mark 500 ms after each, or one behind all of them."""
    parts = [[row(f"n{node}", seq=second + 1, second=second, requests=1) for node in range(3)] for second in range(first, last)]
    if mark is not None:
        return [record([one for part in parts for one in part], mark, late_ms=late_ms)]
    return [record(part, second + 1.5, late_ms=late_ms) for second, part in enumerate(parts, first)]


def test_rows_that_waited_for_a_broker_to_come_back_belong_to_their_seconds():
    """Of an outage of six seconds 16,000 rows of 18,000 were late, and their seconds empty."""
    state, before = play(seconds(0, 4))
    _, back = play([record([], 10.2), *seconds(4, 10, late_ms=6_200, mark=10.6), *seconds(10, 14)], state)
    assert kpis(back) == {}
    _, after = play([*seconds(14, 20), *idle(25, 21)], state)
    assert sum(kpi.requests for kpi in kpis([*before, *after]).values()) == 60
    assert state.tally.late == 0


def test_where_only_intake_was_away_nothing_waits_for_rows_that_are_here():
    state, _ = play(seconds(0, 4))
    _, back = play(seconds(4, 10, mark=10.6), state)
    assert max(end_ms for _, end_ms in kpis(back)) == T0 + 9_000


ZONED = msgspec.structs.replace(
    CANARY,
    cohorts=(
        CohortMembers(name="canary", version="v2", nodes=("n0", "n1", "n2")),
        CohortMembers(name="control", version="v1", nodes=("n3", "n4", "n5")),
    ),
    stage_nodes=3,
)


def zoned(second, *, burns=None):
    """Canaries and the last of the rest stand in zone one, all others in zone two; ``burns``: who fails to four fifths. Of a
    thirteenth server only its agent speaks.
    """
    yield row("n12", second + 1, second, boot="agent", version="v1", source=Source.AGENT, state=ServiceState.READY)
    for node in range(12):
        zone = "one" if node < 3 or node > 8 else "two"
        errors = 40 if burns is not None and burns(node, zone) else 0
        at = {"second": second, "seq": second + 1, "version": "v2" if node < 3 else "v1", "zone": zone}
        yield row(f"n{node}", requests=50, errors=errors, **at)


@pytest.mark.parametrize(
    ("sentence", "burns", "split", "early"),
    [
        ("canaries fail", lambda node, _zone: node < 3, None, True),
        ("their zone fails", lambda _node, zone: zone == "one", None, False),
        ("their zone fails, and the rest of it comes later", lambda _node, zone: zone == "one", 9, False),
        ("canaries fail, and most of the rest comes later", lambda node, _zone: node < 3, 7, True),
    ],
)
def test_an_open_second_is_judged_beside_the_neighbours_too(sentence, burns, split, early):
    """An incident of their own zone rolled canaries back on the open second; once it was closed, it was the environment (C2)."""
    state, _ = play([ZONED, *(record(zoned(second), second + 1.2) for second in range(9))])
    rows = [*zoned(9, burns=burns)]
    parts = [rows] if split is None else [rows[: split + 1], rows[split + 1 :]]
    _, outcomes = play([record(part, 10.2 + at / 5) for at, part in enumerate(parts)], state)
    found = [[verdict.reason for verdict in outcome.verdicts if verdict.last_pane_ms == T0 + 10_000] for outcome in outcomes]
    assert found == [[]] * (len(parts) - 1) + [[Reason.GROSS_ERRORS] if early else []], sentence
    closing = step(state, record([], 11), T0 + 1_000_000).verdicts[-1]
    assert (closing.action is Action.ROLLBACK) is early


@pytest.mark.parametrize("data", [b"", b"\x80", b"garbage"])
def test_a_torn_checkpoint_is_refused(data):
    with pytest.raises(Malformed):
        restore(data)
