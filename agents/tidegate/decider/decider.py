"""The loop: read, fold, decide, append the record, publish the levels. Standby does the first two and waits for its
turn.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

import structlog
from msgspec.structs import replace
from prometheus_client import REGISTRY, CollectorRegistry

from tidegate.decider.book import Book
from tidegate.decider.intake import ASKING_TOPICS, POLICY_PREFIX, VIEW_TOPICS, asking_event, view_event
from tidegate.decider.leadership import Leadership, claimed, heard, may_claim
from tidegate.decider.levels import Levels
from tidegate.decider.metrics import Metrics
from tidegate.decider.timings import Timings
from tidegate.ports import Clock, Log, LogReader, Record, SendUnknown
from tidegate.rollout.events import Event, NodesEnrolled, Tick
from tidegate.rollout.levels import alarms_of, context_of
from tidegate.rollout.step import step, wake_at
from tidegate.rollout.view import View, see
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import Claim, Heartbeat, digest_of
from tidegate.wire.envelope import Refused, Signer, Trust, seal, trust_after, unseal
from tidegate.wire.judgement import Alarm, AlarmState
from tidegate.wire.partition import partition_of
from tidegate.wire.reasons import Reason
from tidegate.wire.topics import BY_NAME

TOPICS = ("keys", "desired", "decisions", *VIEW_TOPICS, *ASKING_TOPICS)
WRITER = "decide"
CLAIM, HEARTBEAT = "claim/", "heartbeat"

log = structlog.get_logger("tidegate.decide")


class Decider:
    """One decision agent. Any number may run; the log says which of them is the author (E2).

    ``life`` names this life of the process and is never used again. ``run`` returns after ``stop``.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        signer: Signer,
        trust: Trust,
        *,
        life: str,
        timings: Timings | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._log = log
        self._clock = clock
        self._signer = signer
        self._trust = trust
        self._life = life
        self._timings = timings or Timings()
        self._metrics = Metrics(registry)
        self._reader: LogReader
        self._leadership = Leadership()
        self._leads = 0
        """The epoch in which this process acts; 0: it stands by."""
        self._book = Book()
        self._view = View(fleet=trust.fleet)
        self._asked: deque[Record] = deque()
        """Plans and intents that nobody has answered yet, in order."""
        self._inputs: dict[str, int] = {}
        self._levels = Levels(log, signer)
        self._contexts: dict[str, nodeseconds.Context] = {}
        self._context_s = -1e9
        self._heartbeat_s = -1e9
        self._beats = 0
        self._alarms: dict[str, Alarm] = {}
        self._stopping = asyncio.Event()
        self._news = False
        self.caught_up = False

    @property
    def leading(self) -> bool:
        """Whether this process is the author, as far as it knows."""
        return bool(self._leads)

    async def run(self) -> None:
        """Read everything, then lead or stand by until ``stop``. A broker that is away delays, and nothing else."""
        self._reader = await self._log.reader(TOPICS)
        try:
            self._fold(await self._reader.read_to_end())
            self.caught_up = True
            while not self._stopping.is_set():
                try:
                    await self._turn()
                except SendUnknown as unknown:
                    self._metrics.unknown.inc()
                    log.warning("a send got no answer; reading back", cause=str(unknown))
                    await self._clock.sleep(self._timings.retry_s)
                    self._fold(await self._reader.read_to_end())
            await self._resign()
        finally:
            await self._reader.close()

    async def stop(self) -> None:
        """End ``run`` after the turn under way, resigning so that a successor need not wait."""
        self._stopping.set()

    # one turn

    async def _turn(self) -> None:
        if not self._leads:
            await self._maybe_claim()
        if self._leads:
            await self._decide()
        if self._leads:
            await self._publish()
        self._fold(await self._reader.poll(self._patience_s()))

    def _patience_s(self) -> float:
        """Return how long to wait for news: until the next heartbeat, or the next time at which time itself is news."""
        if not self._leads:
            return self._timings.poll_s
        now_ms = self._clock.now_ms()
        due_s = self._heartbeat_s + self._timings.heartbeat_s - self._clock.monotonic_s()
        wake_ms = wake_at(self._book.ledger, self._view, now_ms)
        if wake_ms is not None:
            due_s = min(due_s, (wake_ms - now_ms) / 1000)
        return max(0.0, min(due_s, self._timings.poll_s))

    # reading

    def _fold(self, records: Iterable[Record]) -> None:
        """Fold records in the order that makes sense of them: whose keys count, who leads, what was decided, what the
        world says.
        """
        ranks = {topic: rank for rank, topic in enumerate(TOPICS)}
        for record in sorted(records, key=lambda one: ranks[one.topic]):
            self._metrics.input_ms.set(record.time_ms)
            if record.topic in ASKING_TOPICS:
                self._ask(record)
            elif record.value is None:
                continue
            elif record.topic == "decisions":
                self._book.read(record)
                self._follow()
            else:
                self._understand(record)
        if self._leads and (self._leadership.epoch, self._leadership.life) != (self._leads, self._life):
            log.warning("another one leads", epoch=self._leadership.epoch, life=self._leadership.life)
            self._stand_by()

    def _understand(self, record: Record) -> None:
        try:
            match record.topic:
                case "keys":
                    self._trust = trust_after(self._trust, record.key or "", record.value or b"")
                    self._see(NodesEnrolled(self._trust.nodes()))
                case "desired":
                    self._hear(record)
                case _:
                    self._see(view_event(record, self._trust))
                    self._inputs[f"{record.topic}/{record.partition}"] = record.offset + 1
        except (Malformed, Refused) as error:
            self._metrics.refused.labels(record.topic).inc()
            log.warning("a record does not count", topic=record.topic, key=record.key, offset=record.offset, cause=str(error))

    def _hear(self, record: Record) -> None:
        key, value = record.key or "", record.value or b""
        if key.startswith(CLAIM):
            self._leadership = claimed(self._leadership, unseal(value, Claim, self._trust)[0], record.time_ms)
            self._metrics.epoch.set(self._leadership.epoch)
        elif key == HEARTBEAT:
            self._leadership = heard(self._leadership, unseal(value, Heartbeat, self._trust)[0], record.time_ms)
        else:
            self._levels.saw(key, value, record.offset)

    def _see(self, event: Event) -> None:
        self._view = see(self._view, event)
        self._news = True

    def _ask(self, record: Record) -> None:
        if not (record.key or "").startswith(POLICY_PREFIX) and record.value is not None:
            self._asked.append(record)

    def _follow(self) -> None:
        """Forget what has been answered, by whomever."""
        inputs = self._book.ledger.inputs
        self._asked = deque(one for one in self._asked if one.offset >= inputs.get(f"{one.topic}/{one.partition}", 0))

    # leading

    async def _maybe_claim(self) -> None:
        """Claim the next epoch where the place is free; won only when the log says so (E2)."""
        mine = self._leadership.life == self._life
        if not (mine or may_claim(self._leadership, self._clock.now_ms(), int(self._timings.takeover_s * 1000))):
            return
        self._fold(await self._reader.read_to_end())
        if self._book.broken:
            log.error("the topic decisions is broken; nobody may lead on it", cause=self._book.broken)
            await self._clock.sleep(self._timings.takeover_s)
            return
        mine = self._leadership.life == self._life
        if not (mine or may_claim(self._leadership, self._clock.now_ms(), int(self._timings.takeover_s * 1000))):
            return
        epoch = self._leadership.epoch + 1
        claim = Claim(
            fleet=self._trust.fleet,
            epoch=epoch,
            life=self._life,
            read_to=self._reader.positions()["desired", 0],
            issued_ms=self._clock.now_ms(),
        )
        await self._log.append("desired", f"{CLAIM}{epoch}/{self._life}", seal(claim, self._signer))
        self._fold(await self._reader.read_to_end())
        if (self._leadership.epoch, self._leadership.life) == (epoch, self._life):
            await self._take_over(epoch)

    async def _take_over(self, epoch: int) -> None:
        """Record the takeover behind all that was decided before it; from here on this process acts (E3)."""
        ledger = self._book.ledger
        taken = Decision(
            seq=ledger.seq,
            prev=ledger.head,
            epoch=epoch,
            kind=DecisionKind.TAKEOVER,
            subject="",
            generation=0,
            now_ms=max(self._clock.now_ms(), ledger.now_ms),
            reason=Reason.TAKEOVER,
            message=f"{self._life} leads from epoch {epoch}",
            inputs=self._answered(),
            cut=self._book.next_offset,
        )
        await self._record(taken)
        self._leads = epoch
        self._levels.forget()
        self._contexts.clear()
        self._context_s = self._heartbeat_s = -1e9
        self._alarms = {
            key: alarm for key, alarm in self._view.alarms.items() if alarm.writer == WRITER and alarm.state is AlarmState.FIRING
        }
        self._news = True
        self._metrics.leading.set(1)
        log.info("leading", epoch=epoch, life=self._life, decided_so_far=self._book.ledger.seq)

    def _stand_by(self) -> None:
        self._leads = 0
        self._metrics.leading.set(0)

    async def _decide(self) -> None:
        """Answer what was asked, in order, then let the news and the time work."""
        if self._asked or self._news or self._due():
            self._fold(await self._reader.read_to_end())
        self._news = False
        while self._asked and self._leads:
            record = self._asked[0]
            # Only the record that answers it may say that it was read: without an answer to that send it is asked again.
            await self._step(asking_event(record, self._trust), {f"{record.topic}/{record.partition}": record.offset + 1})
            self._follow()
        if self._leads:
            await self._step(Tick(), {})

    def _due(self) -> bool:
        wake_ms = wake_at(self._book.ledger, self._view, self._book.ledger.now_ms)
        return wake_ms is not None and wake_ms <= self._clock.now_ms()

    async def _step(self, event: Event, inputs: dict[str, int]) -> None:
        ledger = self._book.ledger
        now_ms = max(self._clock.now_ms(), ledger.now_ms)
        for decision in step(ledger, self._view, event, now_ms, self._answered() | inputs):
            if self._leads:
                await self._record(decision)

    def _answered(self) -> dict[str, int]:
        return dict(sorted((self._book.ledger.inputs | self._inputs).items()))

    async def _record(self, decision: Decision) -> None:
        """Append a record; only then it is so. Without an answer this process stands by: the next takeover's cut
        settles it.
        """
        raw = encode(decision)
        try:
            appended = await self._log.append("decisions", decision.subject or None, raw)
        except SendUnknown:
            self._stand_by()
            raise
        if appended.offset != self._book.next_offset:
            # Somebody else wrote in between: what stands where is for the fold of the log to say.
            self._stand_by()
            return
        self._book.next_offset = appended.offset + 1
        self._book.wrote(appended.offset, decision, raw)
        self._metrics.decisions.labels(decision.kind, decision.reason).inc()
        log.info(
            "decided",
            kind=decision.kind,
            subject=decision.subject,
            generation=decision.generation,
            reason=decision.reason,
            actor=decision.actor or None,
            message=decision.message or None,
        )

    # publishing

    async def _publish(self) -> None:
        ledger = self._book.ledger
        self._metrics.levels.inc(await self._levels.publish(ledger, self._trust.root_version, self._trust.fleet))
        await self._publish_contexts()
        await self._publish_alarms()
        if self._clock.monotonic_s() - self._heartbeat_s >= self._timings.heartbeat_s:
            await self._beat()

    async def _publish_contexts(self) -> None:
        """Tell the judge who belongs where: each context when it changes, all of them every 10 s."""
        again = self._clock.monotonic_s() - self._context_s >= self._timings.context_s
        for subject in sorted(self._book.ledger.subjects):
            context = context_of(self._book.ledger, subject)
            if again or self._contexts.get(subject) != context:
                target = partition_of(context.service, BY_NAME["nodeseconds"].partitions)
                await self._log.append("nodeseconds", None, nodeseconds.encode(context), partition=target)
                self._contexts[subject] = context
        if again:
            self._context_s = self._clock.monotonic_s()

    async def _publish_alarms(self) -> None:
        firing = {alarm.key: alarm for alarm in alarms_of(self._book.ledger, self._view)}
        for key, alarm in sorted(firing.items()):
            if self._alarms.get(key) != alarm:
                await self._log.append("alarms", key, encode(alarm))
                self._alarms[key] = alarm
        for key in sorted(self._alarms.keys() - firing.keys()):
            over = replace(self._alarms[key], state=AlarmState.RESOLVED, end_ms=self._clock.now_ms())
            await self._log.append("alarms", key, encode(over))
            del self._alarms[key]

    async def _beat(self, *, resigned: bool = False) -> None:
        self._beats += 1
        heartbeat = Heartbeat(
            fleet=self._trust.fleet,
            epoch=self._leads,
            life=self._life,
            seq=self._beats,
            issued_ms=self._clock.now_ms(),
            digest=digest_of([[subject, state.generation] for subject, state in sorted(self._book.ledger.subjects.items())]),
            resigned=resigned,
        )
        await self._log.append("desired", HEARTBEAT, seal(heartbeat, self._signer))
        self._heartbeat_s = self._clock.monotonic_s()

    async def _resign(self) -> None:
        if self._leads:
            try:
                await self._beat(resigned=True)
            except SendUnknown:
                log.warning("could not resign; a successor waits for the silence instead")
            self._stand_by()
