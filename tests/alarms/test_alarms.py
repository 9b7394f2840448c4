"""Alarms: what is true becomes edges with a start, an end and one identity (I1, C6)."""

from collections.abc import Sequence
from itertools import groupby

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.detect.healthy import NEW, OLD, START_MS, context, pane, row, run

from tidegate.alarms.book import AlarmBook, fold, open_alarms
from tidegate.alarms.conditions import Condition, Name, conditions_of
from tidegate.kpi.pane import NodePane, ServicePane
from tidegate.wire.judgement import Alarm, AlarmState, Severity
from tidegate.wire.telemetry import ServiceState

LOST = Condition(name=Name.COVERAGE_LOST, service="shop", cohort="canary", summary="1 of 3 nodes do not report")
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
    assert bool(open_alarms(book)) is bool(edges and edges[-1].state is FIRING)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 40))
def test_a_book_from_a_checkpoint_goes_on_as_if_nothing_had_happened(truth: list[bool], cut: int) -> None:
    book, _ = folded(truth[:cut])
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=AlarmBook)
    assert folded(truth[cut:], book) == folded(truth[cut:], restored)


def names(seen: ServicePane, **options: bool) -> list[str]:
    return [condition.id for condition in conditions_of(seen, **options)]


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


def test_while_telemetry_is_down_no_node_is_blamed() -> None:
    seen = pane(0, expected={"canary": ("a",)})
    assert names(seen, telemetry_down=True) == ["telemetry_down/shop"]


def test_an_environment_verdict_is_a_critical_alarm_of_its_subject() -> None:
    make = lambda second: pane(second, [row("a", NEW, requests=50, errors=40)], [row("b", requests=50, errors=40)])  # noqa: E731
    _, verdicts = run(make, 3, context())
    book, edges = AlarmBook(), []
    for second, verdict in enumerate(verdicts):
        book, found = fold(
            book, conditions_of(make(second), [verdict]), START_MS + second * 1_000, START_MS + second * 1_000 + 1_000
        )
        edges.extend(found)
    assert [(edge.name, edge.severity, edge.subject) for edge in edges] == [("environment", Severity.CRITICAL, "svc/shop")]
