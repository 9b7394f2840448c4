"""The fold of conditions into edges, with damping.

An alarm fires once its condition has held for the rule's ``for_ms``, and ends once it has not for ``keep_ms``. One that has
fired before, not long ago, flaps: each earlier time within ten minutes doubles how long it is kept, up to five minutes. So an
alarm that comes and goes becomes one that stays, and a first one still ends as soon as it can.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tidegate.alarms.budget import Budget
from tidegate.alarms.conditions import STEADY_MS, WRITER, Condition, Rule, Seen
from tidegate.alarms.registry import rules
from tidegate.wire.judgement import Alarm, AlarmKind, AlarmState, Severity, fired_again

FLAP_MS = 600_000
"""An episode that ended so long before is no flapping any more."""
KEEP_MAX_MS = 300_000
"""Damping ends here: longer, and what is over would be called open."""
ENDED_KEPT = 16
"""So many ended alarms of a service are known with their history; of more, those that ended first are forgotten."""

UNKNOWN = Rule(
    kind=AlarmKind(name="", severity=Severity.WARNING, writer=WRITER, meaning="", remedy=""),
    find=lambda _: (),
    for_ms=STEADY_MS,
    keep_ms=STEADY_MS,
)
"""Of an alarm whose rule newer code has, or older had: it ends, since nobody finds it true."""


class Watched(Struct, frozen=True):
    """One condition: since when it has been true without a gap, when it was true last, and the alarm if it fires."""

    condition: Condition
    since_ms: int
    true_ms: int
    alarm: Alarm | None = None


class AlarmBook(Struct, frozen=True):
    """The conditions of one service by identity; plain data for the checkpoint. ``watched`` holds what is true or fires."""

    watched: dict[str, Watched] = {}
    ended: dict[str, Alarm] = {}
    """The last record of those that fired before, for their history."""
    budget: Budget | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not (self.watched or self.ended or self.budget)


def fold(
    book: AlarmBook,
    conditions: Sequence[Condition],
    start_ms: int,
    end_ms: int,
    known: dict[str, Rule] | None = None,
) -> tuple[AlarmBook, tuple[Alarm, ...]]:
    """Return the book after the pane [start_ms, end_ms), and the edges. An edge's times are ends of panes.

    The alarm's id is that of its condition whenever it fires, so that its last record on the compacted topic is its state.
    """
    by_name = rules() if known is None else known
    seen: dict[str, Condition] = {}
    for condition in conditions:
        if not condition.sustains or condition.id not in seen:
            seen[condition.id] = condition
    watched: dict[str, Watched] = {}
    ended = dict(book.ended)
    edges: list[Alarm] = []
    for name in sorted(book.watched.keys() | seen.keys()):
        rule, entry = by_name.get(name.partition("/")[0], UNKNOWN), book.watched.get(name)
        holds = name in seen and (not seen[name].sustains or _sustained(entry, start_ms, rule))
        if holds:
            entry = _true(entry, seen[name], start_ms, end_ms)
        if entry is None:
            continue
        if holds and entry.alarm is None and end_ms - entry.since_ms >= rule.for_ms:
            entry = replace(entry, alarm=fired_again(_firing(entry.condition, rule, end_ms), ended.pop(name, None)))
            edges += [entry.alarm] if entry.alarm else []
        elif not holds and entry.alarm is not None and end_ms - entry.true_ms >= keep_ms(rule, entry.alarm):
            ended[name] = replace(entry.alarm, state=AlarmState.RESOLVED, end_ms=end_ms)
            edges.append(ended[name])
            continue
        if holds or entry.alarm is not None:
            watched[name] = entry
    return AlarmBook(watched, _newest(ended), book.budget), tuple(edges)


def _sustained(entry: Watched | None, start_ms: int, rule: Rule) -> bool:
    """Return whether a lower threshold keeps an alarm: while it was true within the rule's own time, however long flapping has
    made that since. Else what chance alone crosses now and then keeps a damped alarm for hours.
    """
    return entry is not None and entry.alarm is not None and start_ms - entry.true_ms < rule.keep_ms


def keep_ms(rule: Rule, alarm: Alarm) -> int:
    """Return how long an alarm outlives its condition: twice as long for each time it fired lately."""
    flaps = sum(episode.end_ms > alarm.start_ms - FLAP_MS for episode in alarm.past)
    return max(rule.keep_ms, min(rule.keep_ms << flaps, KEEP_MAX_MS))


def inherit(book: AlarmBook, alarm: Alarm, now_ms: int) -> AlarmBook:
    """Return the book with an alarm that fires though it does not know of it, as if it had been true until ``now_ms``.

    One that began later, as it may for a judge that folds the past, is no less true until it began.
    """
    told = alarm.labels.get
    condition = Condition(
        name=alarm.name,
        service=alarm.service,
        subject=alarm.subject,
        summary=alarm.summary,
        cohort=told("cohort", ""),
        cap=told("cap", ""),
        metric=told("metric", ""),
    )
    entry = Watched(condition, alarm.start_ms, max(now_ms, alarm.start_ms), alarm)
    return replace(book, watched=book.watched | {alarm.id: entry})


def _true(entry: Watched | None, condition: Condition, start_ms: int, end_ms: int) -> Watched:
    if entry is None or (entry.alarm is None and entry.true_ms < start_ms):
        return Watched(condition, start_ms, end_ms)
    return Watched(condition, entry.since_ms, max(end_ms, entry.true_ms), entry.alarm)


def _firing(condition: Condition, rule: Rule, end_ms: int) -> Alarm:
    told = (("cohort", condition.cohort), ("cap", condition.cap), ("metric", condition.metric))
    return Alarm(
        id=condition.id,
        writer=WRITER,
        name=condition.name,
        state=AlarmState.FIRING,
        severity=rule.kind.severity,
        start_ms=end_ms,
        service=condition.service,
        subject=condition.subject,
        labels={name: value for name, value in told if value},
        summary=condition.summary,
    )


def _newest(ended: dict[str, Alarm]) -> dict[str, Alarm]:
    if len(ended) <= ENDED_KEPT:
        return ended
    return dict(sorted(ended.items(), key=lambda one: (one[1].end_ms, one[0]))[-ENDED_KEPT:])


__all__ = ["WRITER", "AlarmBook", "Seen", "Watched", "fold", "inherit", "keep_ms"]
