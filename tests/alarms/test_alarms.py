"""Alarms: what is true becomes edges with a start, an end and one identity (I1, C6)."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.detect.healthy import NEW, OLD, START_MS, context, pane, row, run

import tidegate.alarms.rules
from tidegate.alarms import plant
from tidegate.alarms.book import FLAP_MS, KEEP_MAX_MS, AlarmBook, fold
from tidegate.alarms.conditions import Condition, Seen
from tidegate.alarms.registry import conditions_of, rules
from tidegate.kpi.pane import NodePane, ServicePane
from tidegate.wire.judgement import Alarm, AlarmState, Episode, Outcome, Score, Severity, Verdict
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

LOST = Condition(name="coverage_lost", service="shop", cohort="canary", summary="1 of 3 nodes do not report")
VERDICT = Verdict(
    subject="svc/shop",
    service="shop",
    epoch=1,
    generation=1,
    rollout="r.1",
    placement="p",
    stage=0,
    outcome=Outcome.HOLD,
    reason=Reason.CLEAN,
)
FIRING, RESOLVED = AlarmState.FIRING, AlarmState.RESOLVED


def folded(truth: Sequence[bool], book: AlarmBook | None = None) -> tuple[AlarmBook, list[Alarm]]:
    book, edges = book or AlarmBook(), []
    for second, holds in enumerate(truth):
        book, found = fold(book, (LOST,) if holds else (), START_MS + second * 1_000, START_MS + second * 1_000 + 1_000)
        edges.extend(found)
    return book, edges


@pytest.mark.parametrize(
    ("sentence", "truth", "states"),
    [
        ("two seconds are a late row", "110", []),
        ("three seconds are an alarm", "111", [FIRING]),
        ("it fires once", "1111111", [FIRING]),
        ("it does not end on one good second", "1110110", [FIRING]),
        ("it ends after three", "111000", [FIRING, RESOLVED]),
        ("it may fire again", "111000111", [FIRING, RESOLVED, FIRING]),
        ("a gap starts the count anew", "110110", []),
    ],
)
def test_edges(sentence: str, truth: str, states: list[AlarmState]) -> None:
    assert [edge.state for edge in folded([mark == "1" for mark in truth])[1]] == states


@given(st.lists(st.booleans(), max_size=60))
def test_edges_alternate_and_share_one_key(truth: list[bool]) -> None:
    book, edges = folded(truth)
    assert all(len(list(same)) == 1 for _, same in groupby(edges, key=lambda edge: edge.state))
    assert {edge.key for edge in edges} <= {"judge/coverage_lost/shop/canary"}
    assert all(edge.end_ms > edge.start_ms for edge in edges if edge.state is RESOLVED)
    open_ones = [entry.alarm for entry in book.watched.values() if entry.alarm is not None]
    assert bool(open_ones) is bool(edges and edges[-1].state is FIRING)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 40))
def test_a_book_from_a_checkpoint_goes_on_as_if_nothing_had_happened(truth: list[bool], cut: int) -> None:
    book, _ = folded(truth[:cut])
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=AlarmBook)
    assert folded(truth[cut:], book) == folded(truth[cut:], restored)


def names(seen: ServicePane) -> list[str]:
    return [condition.id for condition in conditions_of(Seen(pane=seen))]


@pytest.mark.parametrize(
    ("sentence", "found", "alarms"),
    [
        ("reports", row("a", NEW, requests=1), []),
        ("no row at all", None, ["coverage_lost/shop/canary"]),
        ("runs, says its agent, and is mute", row("a", NEW, telemetry=False), ["coverage_lost/shop/canary"]),
        ("failed", row("a", NEW, telemetry=False, state=ServiceState.FAILED), ["coverage_lost/shop/canary"]),
        ("starting", row("a", NEW, telemetry=False, state=ServiceState.STARTING), []),
        ("stopped on purpose", row("a", NEW, telemetry=False, state=ServiceState.STOPPED), []),
        ("has not changed yet", row("a", OLD, telemetry=False), []),
    ],
)
def test_coverage_is_lost_where_a_node_should_report_and_does_not(
    sentence: str, found: NodePane | None, alarms: list[str]
) -> None:
    seen = pane(0, [found] if found else [], expected={"canary": ("a",)})
    assert names(seen) == alarms


def test_an_environment_verdict_is_a_critical_alarm_of_its_subject() -> None:
    make = lambda second: pane(second, [row("a", NEW, requests=50, errors=40)], [row("b", requests=50, errors=40)])  # noqa: E731
    _, verdicts = run(make, 3, context())
    book, edges = AlarmBook(), []
    for second, verdict in enumerate(verdicts):
        book, found = fold(
            book,
            conditions_of(Seen(pane=make(second), verdicts=(verdict,))),
            START_MS + second * 1_000,
            START_MS + second * 1_000 + 1_000,
        )
        edges.extend(found)
    assert [(edge.name, edge.severity, edge.subject) for edge in edges] == [("environment", Severity.CRITICAL, "svc/shop")]


def lengths(edges: Sequence[Alarm]) -> list[int]:
    return [(edge.end_ms - edge.start_ms) // 1_000 for edge in edges if edge.state is RESOLVED]


def test_an_alarm_that_flaps_is_kept_longer_each_time_and_becomes_one() -> None:
    # Three seconds true, four not: undamped, an edge every few seconds for ever.
    _, edges = folded([second % 7 < 3 for second in range(600)])
    # Kept 3 s the first time, then 6, which no gap of 4 s ends.
    assert lengths(edges) == [3]
    assert [edge.state for edge in edges] == [FIRING, RESOLVED, FIRING]


def test_damping_has_a_bound_and_an_end() -> None:
    # Three seconds true, six minutes not: longer than any damping.
    cycle = KEEP_MAX_MS // 1_000 + 60
    truth = [second % cycle < 3 for second in range(cycle * 12)]
    _, edges = folded(truth)
    times = lengths(edges)
    assert len(times) == 12
    assert max(times) <= KEEP_MAX_MS // 1_000
    quiet = [*truth[:cycle], *[False] * (FLAP_MS // 1_000), *[True] * 3, *[False] * 4]
    assert lengths(folded(quiet)[1]) == [3, 3]


def test_history_stands_in_the_record_and_is_bounded() -> None:
    book, edges = folded([second % 700 < 3 for second in range(700 * 25)])
    last = edges[-1]
    assert last.episodes == 25
    assert len(last.past) == 20
    ended = [edge for edge in edges if edge.state is RESOLVED]
    assert [(one.start_ms, one.end_ms) for one in last.past] == [(one.start_ms, one.end_ms) for one in ended[4:24]]
    assert book.ended == {last.id: last}
    assert len(msgspec.msgpack.encode(last)) < 1_000


def test_a_condition_that_only_sustains_begins_nothing_and_keeps_what_fires() -> None:
    still = msgspec.structs.replace(LOST, sustains=True)
    book, edges = AlarmBook(), []
    for second, condition in enumerate([still, still, still, still, LOST, LOST, LOST, *[still] * 20, *[None] * 4]):
        found = (condition,) if condition is not None else ()
        book, new = fold(book, found, START_MS + second * 1_000, START_MS + second * 1_000 + 1_000)
        edges += new
    assert [(edge.state, (edge.start_ms - START_MS) // 1_000) for edge in edges] == [(FIRING, 7), (RESOLVED, 7)]
    assert (edges[-1].end_ms - START_MS) // 1_000 == 30


def test_chance_does_not_keep_an_alarm_that_flapped_beyond_its_damping() -> None:
    """An anomaly's lower threshold is crossed by one healthy second in a hundred: one kept five minutes always found another."""
    crossing, rule = Condition(name="anomaly", service="shop", summary="unusual"), rules()["anomaly"]
    past = tuple(Episode(START_MS - 2 * at, START_MS - at) for at in range(9, 0, -1))
    before = replace(rule.kind.firing("shop", START_MS, ""), state=RESOLVED, end_ms=START_MS, past=past)
    book, edges = AlarmBook(ended={crossing.id: before}), []
    for second in range(2 * KEEP_MAX_MS // 1_000):
        found = (replace(crossing, sustains=second > 0),) if second % 100 == 0 else ()
        book, new = fold(book, found, START_MS + second * 1_000, START_MS + second * 1_000 + 1_000)
        edges += new
    assert [edge.state for edge in edges] == [FIRING, RESOLVED]
    assert lengths(edges) == [KEEP_MAX_MS // 1_000]


def test_an_alarm_whose_rule_is_gone_ends() -> None:
    book, _ = folded([True] * 3)
    book, edges = fold(book, (), START_MS + 9_000, START_MS + 10_000, {})
    assert [edge.state for edge in edges] == [RESOLVED]


def test_every_file_of_the_folder_is_a_rule_and_no_name_stands_twice() -> None:
    folder = Path(tidegate.alarms.rules.__file__).parent
    found = rules()
    assert {rule.find.__module__.rpartition(".")[2] for rule in found.values()} == {
        path.stem for path in folder.glob("*.py") if path.stem != "__init__"
    }
    assert all(name == rule.kind.name for name, rule in found.items())


@pytest.mark.parametrize("reason", [Reason.LIMIT_BROKEN, Reason.GROSS_ERRORS])
def test_a_broken_guardrail_fires_while_it_is_broken(reason: Reason) -> None:
    broken = replace(VERDICT, outcome=Outcome.FAIL, reason=reason)
    assert [one.id for one in conditions_of(Seen(pane=pane(0, []), verdicts=(broken,)))] == ["limit_broken/shop"]
    assert conditions_of(Seen(pane=pane(0, []), verdicts=(replace(VERDICT, reason=Reason.CLEAN),))) == ()


def unusual(crossing: bool, conformal: float) -> Seen:
    score = Score(
        service="shop", cohort="rest", metric="rate", end_ms=1, value=9.0, score=7.5, conformal=conformal, crossing=crossing
    )
    return Seen(pane=pane(0, []), scores=(score,))


def test_an_anomaly_begins_with_a_crossing_goes_on_while_unusual_and_ends_with_it() -> None:
    seconds = [unusual(False, 0.004), unusual(True, 0.001), *[unusual(False, 0.006)] * 60, *[unusual(False, 0.4)] * 40]
    book, edges = AlarmBook(), []
    for second, seen in enumerate(seconds):
        book, new = fold(book, conditions_of(seen), START_MS + second * 1_000, START_MS + second * 1_000 + 1_000)
        edges += new
    assert [(edge.id, edge.severity) for edge in edges] == [("anomaly/shop/rest/rate", Severity.INFO)] * 2
    assert [(edges[0].start_ms - START_MS) // 1_000, (edges[1].end_ms - START_MS) // 1_000] == [2, 92]


def test_watermarks_that_come_apart_again_and_again_are_one_alarm() -> None:
    edges: list[Alarm] = []
    book = AlarmBook()
    for tick in range(600):
        book, found = plant.look(book, 3, START_MS + 200 * tick, down=tick % 2 == 1, behind_ms=0)
        edges += found
    assert [edge.state for edge in edges] == [FIRING]


@pytest.mark.parametrize(
    ("sentence", "down", "behind_ms", "fires"),
    [
        ("all is well", False, 500, []),
        ("a little late", False, plant.BEHIND_MS, []),
        ("intake stands", False, plant.BEHIND_MS + 1, ["clock_standing/partition-3"]),
        ("watermarks apart", True, 6_000, ["telemetry_down/partition-3"]),
        ("both", True, 60_000, ["clock_standing/partition-3", "telemetry_down/partition-3"]),
    ],
)
def test_the_control_plane_has_alarms_of_its_own(sentence: str, down: bool, behind_ms: int, fires: list[str]) -> None:
    book, edges = plant.look(AlarmBook(), 3, START_MS, down=down, behind_ms=behind_ms)
    assert [edge.id for edge in edges] == fires
    book, ends = plant.look(book, 3, START_MS + 11_000, down=False, behind_ms=0)
    assert [edge.id for edge in ends] == fires
    assert plant.look(book, 3, START_MS + 12_000, down=False, behind_ms=0)[1] == ()
