"""What the author tells others beside its commands: who belongs where (to the judge), alarms, dead letters."""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.decider.deadletters import letter
from tidegate.decider.inbox import Inbox
from tidegate.decider.timings import Timings
from tidegate.ports import Clock, Log
from tidegate.rollout.alarms import alarms_of
from tidegate.rollout.drift import Drift, drifted
from tidegate.rollout.flag_levels import contexts_of, judged_now
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.levels import context_of
from tidegate.rollout.restraint import WRITER
from tidegate.rollout.view import View
from tidegate.wire import nodeseconds
from tidegate.wire.codec import encode
from tidegate.wire.judgement import Alarm, AlarmState, fired_again
from tidegate.wire.partition import partition_of
from tidegate.wire.topics import BY_NAME

LONG_AGO_S = -1e9


class _OfServices(Struct, frozen=True):
    """The contexts of services, and all that they are made of."""

    ledger: Ledger
    enrolled: frozenset[str]
    contexts: tuple[nodeseconds.Context, ...]


class Notices:
    """What one author has told in its epoch. SendUnknown ends a call; the next one goes on from there."""

    def __init__(self, log: Log, clock: Clock, timings: Timings) -> None:
        self._log = log
        self._clock = clock
        self._timings = timings
        self._contexts: dict[tuple[str, str], nodeseconds.Context] = {}
        self._of_services: _OfServices | None = None
        self._told_s = LONG_AGO_S
        self._alarms: dict[str, Alarm] = {}
        self._drift = Drift()

    def begin(self, view: View) -> None:
        """Begin an epoch: everything is to be told again; alarms of the author before are this one's to end or to go on with."""
        self._contexts.clear()
        self._told_s = LONG_AGO_S
        self._alarms = {key: alarm for key, alarm in {**view.ended, **view.alarms}.items() if alarm.writer == WRITER}

    async def contexts(self, ledger: Ledger, view: View) -> None:
        """Tell the judge who belongs where: each context when it changes, all of them every ``context_s`` (A6, C7)."""
        again = self._clock.monotonic_s() - self._told_s >= self._timings.context_s
        contexts = [*self._contexts_of_services(ledger, view)]
        contexts += [one for flag in judged_now(ledger, self._clock.now_ms()) for one in contexts_of(ledger, flag)]
        for context in contexts:
            name = context.subject, context.service
            if again or self._contexts.get(name) != context:
                target = partition_of(context.service, BY_NAME["nodeseconds"].partitions)
                await self._log.append("nodeseconds", None, nodeseconds.encode(context), partition=target)
                self._contexts[name] = context
        if again:
            self._told_s = self._clock.monotonic_s()

    def _contexts_of_services(self, ledger: Ledger, view: View) -> tuple[nodeseconds.Context, ...]:
        last = self._of_services
        if last is None or last.ledger is not ledger or last.enrolled is not view.enrolled:
            found = tuple(context_of(ledger, view, subject) for subject in sorted(ledger.subjects))
            self._of_services = last = _OfServices(ledger, view.enrolled, found)
        return last.contexts

    async def alarms(self, ledger: Ledger, view: View) -> None:
        """Write the edges of the author's own alarms (I1)."""
        self._drift = drifted(ledger, view, self._drift)
        firing = {alarm.key: alarm for alarm in alarms_of(ledger, view, self._clock.now_ms(), self._drift)}
        for key, alarm in sorted(firing.items()):
            await self._tell(key, _with_history(alarm, self._alarms.get(key)))
        for key, before in sorted(self._alarms.items()):
            if key not in firing and before.state is AlarmState.FIRING:
                await self._tell(key, replace(before, state=AlarmState.RESOLVED, end_ms=self._clock.now_ms()))

    async def _tell(self, key: str, alarm: Alarm) -> None:
        if self._alarms.get(key) != alarm:
            await self._log.append("alarms", key, encode(alarm))
            self._alarms[key] = alarm

    async def dead_letters(self, inbox: Inbox) -> int:
        """Write a dead letter for each record that did not count; return how many."""
        written = 0
        while inbox.faulty:
            record, cause = inbox.faulty[0]
            value, headers = letter(record, cause)
            await self._log.append("deadletters", record.topic, value, headers=headers)
            inbox.faulty.popleft()
            written += 1
        return written


def _with_history(alarm: Alarm, before: Alarm | None) -> Alarm:
    """Return an alarm that fires with what its last record knows; one that goes on keeps its start."""
    if before is None or before.state is AlarmState.RESOLVED:
        return fired_again(alarm, before)
    return replace(alarm, start_ms=min(alarm.start_ms, before.start_ms), past=before.past, episodes=before.episodes)
