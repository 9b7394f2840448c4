"""Alarms that fire on the topic and that no book here knows: their judge has lost its state, and nobody else would ever end them.

A state is born with them, as with the word that it was lost, and they stand in its checkpoint from then on; what it folds is its
partition alone. One that has lost nothing takes over none: what began after its last second comes about again from the log.
"""

from collections.abc import Iterable

from tidegate.alarms.book import WRITER, AlarmBook, inherit
from tidegate.alarms.plant import place_of
from tidegate.judge.state import JudgeState
from tidegate.kpi.caps import OVERFLOW
from tidegate.wire.judgement import Alarm, AlarmState
from tidegate.wire.partition import partition_of
from tidegate.wire.topics import BY_NAME


def bequeath(state: JudgeState, alarms: Iterable[Alarm]) -> None:
    """Tell a state, before its first record, what stands on the topic: it takes over what fires there and is its own to end."""
    state.inherited = tuple(
        alarm
        for alarm in alarms
        if (alarm.writer, alarm.state) == (WRITER, AlarmState.FIRING)
        and _is_own(state, alarm)
        and alarm.id not in _book(state, alarm).watched
        and alarm.start_ms <= (state.closed_ms or alarm.start_ms)
    )


def adopt(state: JudgeState, now_ms: int) -> None:
    """Put what a state inherits into its books: it ends like what was true until ``now_ms``, unless it is true."""
    for alarm in state.inherited:
        book = inherit(_book(state, alarm), alarm, now_ms)
        if alarm.service:
            state.books[alarm.service] = book
        else:
            state.plant = book
    state.inherited = ()


def _is_own(state: JudgeState, alarm: Alarm) -> bool:
    if alarm.service.startswith(OVERFLOW):
        return alarm.service == state.overflow
    if alarm.service:
        return partition_of(alarm.service, BY_NAME["nodeseconds"].partitions) == state.partition
    return alarm.labels.get("metric") == place_of(state.partition)


def _book(state: JudgeState, alarm: Alarm) -> AlarmBook:
    return state.books.get(alarm.service, AlarmBook()) if alarm.service else state.plant
