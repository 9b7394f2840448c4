"""One timeline of what happened: rollouts, flags, alarms, and what people did beside them."""

from collections.abc import Iterator
from enum import StrEnum
from heapq import merge
from itertools import chain

from msgspec import Struct

from tidegate.model.asked import EVERYTHING
from tidegate.model.model import Model, Told
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.groups import is_group
from tidegate.wire.judgement import Alarm, AlarmState, Episode, Severity
from tidegate.wire.names import FLAG_PREFIX, service_of, service_subject
from tidegate.wire.reasons import Reason

Place = tuple[int, str]
"""Time and id: where an entry stands."""
STEPS = frozenset({DecisionKind.RELEASE, DecisionKind.BAKE})
"""Parts of a stage: they stand in the decisions of their rollout."""


class EntryKind(StrEnum):
    """What an entry is about."""

    ROLLOUT = "rollout"
    FLAG = "flag"
    ALARM = "alarm"
    FLEET = "fleet"
    """What concerns no rollout and no flag: cordons, silences, policies, another decision agent."""


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened. Of a decision ``what`` is its kind, of an alarm whether it began (firing) or ended (resolved)."""

    id: str
    at_ms: int
    kind: EntryKind
    what: str
    subject: str = ""
    actor: str = ""
    """Who asked for it; empty: the rules did."""
    reason: Reason | None = None
    sentence: str = ""
    severity: Severity | None = None
    """Of an alarm."""
    alarm: str = ""
    """Name of an alarm."""
    seq: int | None = None
    """Of a decision."""

    @property
    def place(self) -> Place:
        """Where it stands in the timeline."""
        return self.at_ms, self.id


def timeline(model: Model, before: Place | None = None) -> Iterator[Entry]:
    """Yield what is remembered from before a place on, the newest first: of the last 10,000 decisions, and of each alarm the last
    20 times it fired.
    """
    most_ms = before[0] if before is not None else None
    told = [one for one in model.told if most_ms is None or one.at_ms <= most_ms]
    told.sort(key=lambda one: (one.at_ms, one.decision.seq), reverse=True)
    decided = (_decided(one) for one in told if one.decision.kind not in STEPS)
    alarms = chain(model.view.alarms.values(), model.view.ended.values())
    alarmed = sorted(chain.from_iterable(map(_alarmed, alarms)), key=_place, reverse=True)
    found = merge(decided, alarmed, key=_place, reverse=True)
    yield from (one for one in found if before is None or one.place < before)


def _place(one: Entry) -> Place:
    return one.place


def _decided(told: Told) -> Entry:
    one = told.decision
    of_flag = one.subject.startswith(FLAG_PREFIX)
    of_service = service_of(one.subject) is not None and one.subject != EVERYTHING
    of_rollout = is_group(one.subject) or (of_service and one.kind is not DecisionKind.SETTING)
    return Entry(
        id=f"decision/{one.seq:012}",
        at_ms=told.at_ms,
        kind=EntryKind.FLAG if of_flag else EntryKind.ROLLOUT if of_rollout else EntryKind.FLEET,
        what=one.kind,
        subject=one.subject,
        actor=one.actor,
        reason=one.reason,
        sentence=one.message,
        seq=one.seq,
    )


def _alarmed(alarm: Alarm) -> Iterator[Entry]:
    now = Episode(alarm.start_ms, alarm.end_ms if alarm.state is AlarmState.RESOLVED else 0)
    for one in (*alarm.past, now):
        for what, at_ms in ((AlarmState.FIRING, one.start_ms), (AlarmState.RESOLVED, one.end_ms)):
            if at_ms:
                yield Entry(
                    id=f"alarm/{alarm.key}/{one.start_ms}/{what}",
                    at_ms=at_ms,
                    kind=EntryKind.ALARM,
                    what=what,
                    subject=alarm.subject or (service_subject(alarm.service) if alarm.service else ""),
                    sentence=alarm.summary if one is now else "",
                    severity=alarm.severity,
                    alarm=alarm.name,
                )
