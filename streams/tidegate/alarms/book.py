"""The fold of conditions into edges: firing after three panes of being true, ended after three of not."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tidegate.alarms.conditions import Condition, severity_of
from tidegate.wire.judgement import Alarm, AlarmState

WRITER = "judge"
STEADY_MS = 3_000
"""So long a condition holds, or does not, before an edge: a late row is not an alarm."""


class Watched(Struct, frozen=True):
    """One condition: since when it has been true without a gap, when it was true last, and the alarm if it fires."""

    condition: Condition
    since_ms: int
    true_ms: int
    alarm: Alarm | None = None


class AlarmBook(Struct, frozen=True):
    """The conditions of one service by identity; plain data for the checkpoint. It holds only what is true or fires."""

    watched: dict[str, Watched] = {}


def fold(book: AlarmBook, conditions: Sequence[Condition], start_ms: int, end_ms: int) -> tuple[AlarmBook, tuple[Alarm, ...]]:
    """Return the book after the pane [start_ms, end_ms) of one service, and the edges. An edge's times are ends of panes.

    The alarm's id is (name, service, cohort) whenever it fires, so that its last record on the compacted topic is its state.
    """
    seen = {condition.id: condition for condition in conditions}
    watched: dict[str, Watched] = {}
    edges: list[Alarm] = []
    for name in sorted(book.watched.keys() | seen.keys()):
        entry = _step(book.watched.get(name), seen.get(name), start_ms, end_ms)
        before = book.watched[name].alarm if name in book.watched else None
        if entry.alarm is not None and entry.alarm != before:
            edges.append(entry.alarm)
        fires = entry.alarm is not None and entry.alarm.state is AlarmState.FIRING
        if fires or entry.true_ms == end_ms:
            watched[name] = entry
    return AlarmBook(watched), tuple(edges)


def open_alarms(book: AlarmBook) -> tuple[Alarm, ...]:
    """Return what fires, for writing it again after a restart."""
    return tuple(entry.alarm for _, entry in sorted(book.watched.items()) if entry.alarm is not None)


def _step(entry: Watched | None, condition: Condition | None, start_ms: int, end_ms: int) -> Watched:
    if condition is not None:
        since_ms = entry.since_ms if entry is not None and (entry.alarm is not None or entry.true_ms >= start_ms) else start_ms
        alarm = entry.alarm if entry is not None else None
        if alarm is None and end_ms - since_ms >= STEADY_MS:
            alarm = _firing(condition, end_ms)
        return Watched(condition, since_ms, end_ms, alarm)
    assert entry is not None  # noqa: S101 - the caller's keys are of one or the other
    if entry.alarm is not None and end_ms - entry.true_ms >= STEADY_MS:
        return replace(entry, alarm=replace(entry.alarm, state=AlarmState.RESOLVED, end_ms=end_ms))
    return entry


def _firing(condition: Condition, end_ms: int) -> Alarm:
    return Alarm(
        id=condition.id,
        writer=WRITER,
        name=condition.name,
        state=AlarmState.FIRING,
        severity=severity_of(condition.name),
        start_ms=end_ms,
        service=condition.service,
        subject=condition.subject,
        labels={name: value for name, value in (("cohort", condition.cohort), ("cap", condition.cap)) if value},
        summary=condition.summary,
    )
