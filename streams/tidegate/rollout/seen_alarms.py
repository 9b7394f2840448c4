"""Alarms as the view holds them: those that are open, and what is remembered of those that are over (D4, I1).

An edge costs the same however many there are, and who asks about one service looks at what is about that one.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from tidegate.wire.grown import Grown
from tidegate.wire.judgement import INBOUND_WRITER, Alarm, AlarmState, Severity
from tidegate.wire.names import service_of

WRITER = "decide"
"""Alarms of this writer are about rollouts themselves and stop none."""
ENDED_KEPT = 100
"""So many alarms from outside are remembered after their end, of each service: critical ones, and others."""

Sort = tuple[str, bool]
"""Service, and whether critical."""


class Shelf(Struct, frozen=True):
    """Alarms by key, and by service those that stop rollouts of it."""

    by_key: Grown[str, Alarm] = Grown({})
    stopping: Grown[str, Grown[str, Alarm]] = Grown({})

    def put(self, alarm: Alarm) -> "Shelf":
        """Return it with one more, which is not there yet."""
        stopping = self.stopping
        for service in _stops(alarm):
            stopping = stopping.put(service, stopping.get(service, _NONE).put(alarm.key, alarm))
        return Shelf(self.by_key.put(alarm.key, alarm), stopping)

    def drop(self, key: str) -> "Shelf":
        """Return it without one; itself where there is none."""
        alarm = self.by_key.get(key)
        if alarm is None:
            return self
        stopping = self.stopping
        for service in _stops(alarm):
            left = stopping[service].drop(key)
            stopping = stopping.put(service, left) if left else stopping.drop(service)
        return Shelf(self.by_key.drop(key), stopping)

    def of(self, service: str) -> Iterator[Alarm]:
        """Yield those that stop rollouts of a service."""
        yield from self.stopping.get(service, _NONE).values()


class Alarms(Struct, frozen=True):
    """The last record of each alarm. Of our own writers all are remembered that are over, for they hold their history; of alarms
    from outside ``ENDED_KEPT``, those that ended last: each may have labels such as a pod's name, and never fire again.
    """

    open: Shelf = Shelf()
    over: Shelf = Shelf()
    outside: Grown[Sort, tuple[str, ...]] = Grown({})
    """Keys of those of ``over`` that are from outside, by sort."""


def told(alarms: Alarms, alarm: Alarm) -> Alarms:
    """Return the alarms after an edge."""
    alarms = _without_end(alarms, alarm.key)
    still = alarms.open.drop(alarm.key)
    if alarm.state is AlarmState.FIRING:
        return replace(alarms, open=still.put(alarm))
    alarms = replace(alarms, open=still, over=alarms.over.put(alarm))
    if alarm.writer != INBOUND_WRITER:
        return alarms
    keys = (*alarms.outside.get(_sort(alarm), ()), alarm.key)
    alarms = replace(alarms, outside=alarms.outside.put(_sort(alarm), keys))
    if len(keys) <= ENDED_KEPT:
        return alarms
    # Never the one that ended last: ramps and deadlines count from its end (``alarms_ended_ms``).
    return _without_end(alarms, min(keys, key=lambda key: alarms.over.by_key[key].end_ms))


def forgotten(alarms: Alarms, key: str) -> Alarms:
    """Return the alarms without one that its topic holds no more. What fires stays, for absence ends nothing, and so does the
    last end of a service's critical alarms: no decision looks different for what is forgotten (D1).
    """
    alarm = alarms.over.by_key.get(key)
    if alarm is None or alarm.writer != INBOUND_WRITER:
        return alarms
    others = (alarms.over.by_key[one] for one in alarms.outside[_sort(alarm)] if one != key)
    if alarm.severity is Severity.CRITICAL and all(one.end_ms < alarm.end_ms for one in others):
        return alarms
    return _without_end(alarms, key)


def _without_end(alarms: Alarms, key: str) -> Alarms:
    alarm = alarms.over.by_key.get(key)
    if alarm is None:
        return alarms
    outside = alarms.outside
    if alarm.writer == INBOUND_WRITER:
        left = tuple(one for one in outside[_sort(alarm)] if one != key)
        outside = outside.put(_sort(alarm), left) if left else outside.drop(_sort(alarm))
    return replace(alarms, over=alarms.over.drop(key), outside=outside)


def _stops(alarm: Alarm) -> set[str]:
    """Return the services whose rollouts an alarm stops while it is open (D4)."""
    if alarm.severity is not Severity.CRITICAL or alarm.writer == WRITER:
        return set()
    return {alarm.service, service_of(alarm.subject) or ""} - {""}


def _sort(alarm: Alarm) -> Sort:
    return alarm.service, alarm.severity is Severity.CRITICAL


_NONE: Grown[str, Alarm] = Grown({})
