"""The loop: read, fold, decide, append the record, publish the levels. Standby does the first two and waits for its turn."""

import asyncio
from collections.abc import Iterable
from itertools import islice

import structlog
from prometheus_client import REGISTRY, CollectorRegistry

from tidegate.decider.book import Book
from tidegate.decider.flags import Flags
from tidegate.decider.glass import glass_event
from tidegate.decider.inbox import Inbox, place
from tidegate.decider.intake import ASKING_TOPICS, VIEW_TOPICS, asking_event, in_order
from tidegate.decider.levels import Levels
from tidegate.decider.metrics import Metrics, Standing
from tidegate.decider.notices import Notices
from tidegate.decider.seat import HEARTBEAT, LONG_AGO_S, Seat
from tidegate.decider.timings import Timings
from tidegate.ports import Clock, Log, LogReader, Record, SendUnknown
from tidegate.rollout.events import Event, Tick
from tidegate.rollout.step import step, wake_at
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import GLASS_PREFIX, standing_digest
from tidegate.wire.envelope import Refused, Signs, Trust
from tidegate.wire.flagstamps import HEADER
from tidegate.wire.names import CLAIM, service_of
from tidegate.wire.reasons import Reason

TOPICS = ("keys", "desired", "flags", "decisions", *VIEW_TOPICS, *ASKING_TOPICS)
"""In the order that makes sense of them: whose keys count, who leads, what was decided, what the world says and asks."""
RANKS = {topic: rank for rank, topic in enumerate(TOPICS)}
CLOCK = "set this machine's clock, or the broker's, whichever is wrong (NTP)"
KEYS = "start it with a key that counts: tidegate keys list"
ANSWERS_PER_TURN = 50
"""A flood of questions must not hold up a retreat or a heartbeat."""

log = structlog.get_logger("tidegate.decide")


class Overtaken(Exception):
    """Somebody else appended to ``decisions`` in between: what stands where is for the fold of the log to say."""


class Decider:
    """One decision agent. Any number may run; the log says which of them is the author (E2).

    ``life`` names this life of the process and is never used again. ``run`` returns after ``stop``.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        signer: Signs,
        trust: Trust,
        *,
        life: str,
        timings: Timings | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._log = log
        self._clock = clock
        self._timings = timings or Timings()
        self._metrics = Metrics(registry)
        self._reader: LogReader
        self._seat = Seat(log, clock, signer, life, self._timings)
        self._book = Book()
        self._inbox = Inbox(trust)
        self._levels, self._flags = Levels(log, signer), Flags(log, signer)
        self._notices = Notices(log, clock, self._timings)
        self._wake_s = LONG_AGO_S
        """On the monotonic clock: when time itself is news."""
        self._stopping = asyncio.Event()
        self._fresh = False
        """Whether something was read, or could not be sent, since all was done that there was to do."""
        self._counted = False
        """Whether this process's key has counted."""
        self.caught_up = False

    @property
    def leading(self) -> bool:
        """Whether this process is the author, as far as it knows."""
        return bool(self._seat.epoch)

    def not_ready(self) -> str | None:
        """Return why this process could not lead if it had to; None: it could."""
        if not self.caught_up:
            return "the log has not been read to its end yet"
        if not self._seat.entitled(self._inbox.trust):
            return f"its key is no decision key of root version {self._inbox.trust.root_version}"
        if self._seat.witness.wrong:
            return f"this machine's clock is {self._seat.witness.off_ms / 1_000:.0f} s off the broker's"
        return f"decisions is broken: {self._book.broken}" if self._book.broken else None

    async def run(self) -> None:
        """Read everything, then lead or stand by until ``stop``. A broker that is away delays, and nothing else.

        Problem where this process's key is revoked: what starts it again starts it with the newest one (H1).
        """
        self._reader = await self._log.reader(TOPICS)
        try:
            await self._catch_up()
            self.caught_up = True
            while not self._stopping.is_set():
                try:
                    await self._turn()
                except SendUnknown as unknown:
                    self._metrics.unknown.inc()
                    log.warning("a send got no answer; reading back", cause=str(unknown))
                    await self._clock.sleep(self._timings.retry_s)
                except Overtaken:
                    log.warning("decisions was written by another process; standing by to read it back")
            await self._resign()
        finally:
            await self._reader.close()

    async def stop(self) -> None:
        """End ``run`` after the turn under way, resigning so that a successor need not wait."""
        self._stopping.set()

    async def _turn(self) -> None:
        """Act on what has been read, then wait for more. Before anything is sent, the own topics are read to their end."""
        if not self.leading:
            await self._lead_if_free()
        elif self._due():
            await self._catch_up()
        if self.leading and self._seat.witness.wrong:
            self._complain()
            await self._resign()
        if self.leading and self._due():
            await self._decide()
            await self._publish()
            self._fresh = False
        await self._take(await self._reader.poll(self._patience_s()))

    def _due(self) -> bool:
        """Return whether there may be anything to do: news, something left over, or a time that has come."""
        left = self._fresh or self._inbox.news or self._inbox.asked or self._flags.waiting
        return bool(left) or self._clock.monotonic_s() >= self._wake_s or self._seat.beat_due_s() <= 0

    def _patience_s(self) -> float:
        """Return how long to wait for news: until the next heartbeat, or the next time at which time itself is news."""
        if not self.leading:
            return self._timings.poll_s
        if self._inbox.asked or self._flags.waiting:
            return 0.0
        wake_s = self._wake_s - self._clock.monotonic_s()
        return max(0.0, min(wake_s, self._seat.beat_due_s(), self._timings.poll_s))

    # reading

    async def _catch_up(self) -> None:
        await self._take(await self._reader.read_to_end())

    async def _take(self, records: Iterable[Record]) -> None:
        """Fold records; stop acting at once where they say that another one leads."""
        last: Record | None = None
        mended = False
        root_version = self._inbox.trust.root_version
        for record in in_order([*records], RANKS):
            last = record if last is None or record.time_ms > last.time_ms else last
            if not mended and RANKS[record.topic] > RANKS["decisions"]:
                # What a takeover voids has answered nothing: questions are held against the ledger as it really is (E3).
                await self._book.mend(self._log)
                mended = True
            try:
                self._fold(record)
            except (Malformed, Refused) as error:
                self._metrics.refused.labels(record.topic).inc()
                # Only the author writes letters, of what it met in its time: the same record is read by everyone, and again.
                self._inbox.fault(record, str(error), kept=self.leading)
        if last is None:
            return
        self._fresh = True
        self._inbox.keys_taken()
        if self._inbox.trust.root_version != root_version:
            log.info("key document accepted", root_version=self._inbox.trust.root_version)
            await self._seat.rehear(self._inbox.trust)
        await self._book.mend(self._log)
        self._seat.decided(self._book.ledger.epoch)
        self._inbox.forget(self._book.ledger.inputs)
        if self._seat.lost:
            log.warning("another one leads", epoch=self._seat.leadership.epoch, life=self._seat.leadership.life)
            self._stand_by()
        if self.leading and self._book.broken:
            log.error("decisions broke while this process was writing it; standing by", cause=self._book.broken)
            self._stand_by()
        seat = self._seat
        standing = Standing(seat.witness.off_ms, seat.leadership.epoch, bool(self._book.broken), len(self._inbox.asked))
        self._metrics.read(last.time_ms, self._clock.now_ms(), standing)

    def _fold(self, record: Record) -> None:
        match record.topic:
            case "desired":
                self._hear(record)
            case "flags":
                self._flags.saw(record.key or "", record.value, record.headers.get(HEADER), record.offset)
            case "decisions":
                self._book.read(record)
            case "plans" | "intents":
                self._inbox.take_question(record, self._book.ledger.inputs)
            case "keys":
                self._inbox.take_key(record)
            case topic if record.value is not None or topic == "alarms":
                self._inbox.take_news(record)

    def _hear(self, record: Record) -> None:
        key = record.key or ""
        if key.startswith(GLASS_PREFIX):
            self._inbox.take_question(record, self._book.ledger.inputs)
        elif key != HEARTBEAT and not key.startswith(CLAIM):
            self._levels.saw(key, record.value, record.offset)
        else:
            self._seat.hear(key, record, self._inbox.trust)

    # leading

    async def _lead_if_free(self) -> None:
        """Claim the next epoch where the place is free; lead once the log says that it is won (E2)."""
        entitled = self._seat.entitled(self._inbox.trust)
        if not entitled and (self._counted or self._seat.revoked(self._inbox.trust)):
            raise Problem(f"this process may not decide any more: {self.not_ready()}", KEYS)
        self._counted = entitled
        if not (self._seat.won or self._seat.free):
            return
        if not entitled:
            log.error("this process may not decide; others may", cause=self.not_ready(), remedy=KEYS)
            await self._clock.sleep(self._timings.takeover_s)
            return
        if self._seat.witness.wrong:
            self._complain()
            await self._clock.sleep(self._timings.takeover_s)
            return
        asked_s = self._clock.monotonic_s()
        await self._catch_up()
        if self._clock.monotonic_s() - asked_s > self._timings.heartbeat_s:
            self._seat.excuse()
        if self._book.broken:
            log.error(
                "decisions is broken; nobody may lead on it",
                cause=self._book.broken,
                remedy="restore the topic decisions from a copy; nodes keep what they run",
            )
            await self._clock.sleep(self._timings.takeover_s)
            return
        if not self._seat.won:
            if not self._seat.free:
                return
            await self._seat.claim(self._inbox.trust, self._reader.positions()["desired", 0])
            await self._catch_up()
        if self._seat.won and self._seat.witness.wrong:
            self._complain()
            await self._seat.decline(self._inbox.trust.fleet, self._digest())
        elif self._seat.won and not self._book.broken:
            await self._take_over(self._seat.won)

    def _complain(self) -> None:
        log.error("this machine's clock is wrong; others may decide", off_s=self._seat.witness.off_ms / 1_000, remedy=CLOCK)

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
            message=f"{self._seat.life} leads from epoch {epoch}",
            inputs=self._inputs(),
            cut=self._book.next_offset,
        )
        self._seat.sit(epoch)
        await self._record(taken)
        self._levels.forget()
        self._flags.forget()
        self._notices.begin(self._inbox.view)
        self._wake_s = LONG_AGO_S
        self._metrics.leading.set(1)
        log.info("leading", epoch=epoch, life=self._seat.life, decided_so_far=self._book.ledger.seq)

    def _stand_by(self) -> None:
        self._seat.rise()
        self._metrics.leading.set(0)

    async def _resign(self) -> None:
        if not self.leading:
            return
        try:
            await self._seat.beat(self._inbox.trust.fleet, self._digest(), resigned=True)
        except SendUnknown:
            log.warning("could not resign; a successor waits for the silence instead")
        self._stand_by()

    # deciding

    async def _decide(self) -> None:
        """Let news and time work, retreats first of all; then answer what was asked, in order (D3)."""
        if self._inbox.news or self._clock.monotonic_s() >= self._wake_s:
            await self._tick()
        for record in list(islice(self._inbox.asked, ANSWERS_PER_TURN)):
            # Only the record that answers it may say that it was read: without an answer to that send it is asked again.
            trust, ledger = self._inbox.trust, self._book.ledger
            event = glass_event(record, trust, ledger) if record.topic == "desired" else asking_event(record, trust)
            await self._step(event, {place(record): record.offset + 1})
            self._inbox.answered(record)

    async def _tick(self) -> None:
        """Look at every subject. That costs as much as there are nodes, so news that say nothing new do not lead here."""
        # What a change makes possible in turn is looked at in the next turn.
        self._inbox.news = await self._step(Tick(), {})
        now_ms = self._clock.now_ms()
        wake_ms = wake_at(self._book.ledger, self._inbox.view, now_ms)
        wait_s = self._timings.tick_s if wake_ms is None else min(self._timings.tick_s, (wake_ms - now_ms) / 1000)
        self._wake_s = self._clock.monotonic_s() + wait_s

    async def _step(self, event: Event, inputs: dict[str, int]) -> bool:
        """Record what an event brings about; return whether that is anything."""
        ledger = self._book.ledger
        now_ms = max(self._clock.now_ms(), ledger.now_ms)
        written = decisions = step(ledger, self._inbox.view, event, now_ms, self._inputs() | inputs)
        while decisions:
            # What stands before the last of its parts must not hold that up (G4): they are sent in one go.
            size = next((at for at, one in enumerate(decisions, 1) if not one.part), len(decisions))
            await self._record(*decisions[:size])
            decisions = decisions[size:]
        return bool(written)

    def _inputs(self) -> dict[str, int]:
        """Return the next offset of every input, never less than a record has said before."""
        before, now = self._book.ledger.inputs, self._inbox.inputs
        return {at: max(before.get(at, 0), now.get(at, 0)) for at in sorted(before.keys() | now.keys())}

    async def _record(self, *decisions: Decision) -> None:
        """Append records, in their order; only then they are so.

        Without an answer, or where one does not stand right behind the last one, this process stands by: the cut of the next
        takeover settles what counts. Raises SendUnknown or Overtaken.
        """
        raws = [encode(decision) for decision in decisions]
        sends = [self._log.append("decisions", one.subject or None, raw) for one, raw in zip(decisions, raws, strict=True)]
        try:
            found = await asyncio.gather(*sends) if len(sends) > 1 else [await sends[0]]
        except SendUnknown:
            self._stand_by()
            raise
        for decision, raw, appended in zip(decisions, raws, found, strict=True):
            if appended.offset != self._book.next_offset:
                self._stand_by()
                raise Overtaken
            self._wrote(decision, raw)

    def _wrote(self, decision: Decision, raw: bytes) -> None:
        self._book.wrote(decision, raw)
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
        ledger, trust = self._book.ledger, self._inbox.trust
        self._metrics.levels.inc(await self._inbox.kept.publish(self._log))
        await self._publish_levels()
        await self._notices.contexts(ledger, self._inbox.view)
        await self._notices.alarms(ledger, self._inbox.view)
        if self._seat.beat_due_s() <= 0:
            await self._seat.beat(trust.fleet, self._digest())
        self._metrics.deadletters.inc(await self._notices.dead_letters(self._inbox))

    async def _publish_levels(self) -> None:
        """Publish flags and commands side by side: neither waits for the other, and a flag's value is on its way first (G4)."""
        ledger, trust = self._book.ledger, self._inbox.trust
        if not self._flags.look(ledger, trust.root_version):
            self._metrics.levels.inc(await self._levels.publish(ledger, trust.root_version, trust.fleet))
            return
        ways = [one.publish(ledger, trust.root_version, trust.fleet) for one in (self._flags, self._levels)]
        for outcome in await asyncio.gather(*ways, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            self._metrics.levels.inc(outcome)

    def _digest(self) -> str:
        """Return what a heartbeat says of the commands to nodes, all of which stand before it in the log (E4)."""
        subjects = self._book.ledger.subjects.items()
        return standing_digest({one: state.generation for one, state in subjects if service_of(one) and state.generation})
