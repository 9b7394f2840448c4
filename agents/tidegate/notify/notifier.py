"""The loop: read alarms, silences and signs of life; show the board to every target's desk."""

import asyncio
from collections.abc import Iterable, Sequence

import structlog
from msgspec.structs import replace
from prometheus_client import REGISTRY, CollectorRegistry

from tidegate.alarms.board import Board, hidden, pin, standing
from tidegate.decider.book import Book
from tidegate.decider.seat import HEARTBEAT
from tidegate.notify.desk import TargetDesk
from tidegate.notify.gatekeeper import Gatekeeper
from tidegate.notify.metrics import Metrics
from tidegate.notify.targets import Target
from tidegate.ports import Clock, Disk, Log, LogReader, Record
from tidegate.rollout.outgoing import open_gates
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.documents import Heartbeat
from tidegate.wire.envelope import Refused, Trust, unseal
from tidegate.wire.judgement import INBOUND_WRITER, Alarm
from tidegate.wire.keys import trust_after

TOPICS = ("keys", "desired", "decisions", "alarms")
RANKS = {topic: rank for rank, topic in enumerate(TOPICS)}
POLL_S = 1.0

log = structlog.get_logger("tidegate.notify")


class Notifier:
    """One notify process. ``run`` returns after ``stop``; what is being sent then is sent again by the next one."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        disk: Disk,
        trust: Trust,
        targets: Sequence[Target],
        *,
        keeper: Gatekeeper | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._log = log
        self._clock = clock
        self._trust = trust
        self._metrics = Metrics(registry)
        self._keeper = keeper
        self._desks = [TargetDesk(target, clock, disk, self._metrics) for target in targets]
        self._board = Board()
        self._book = Book()
        self._stopping = asyncio.Event()
        self.caught_up = False

    def not_ready(self) -> str | None:
        """Return why this process does not tell anybody yet; None: it does."""
        return None if self.caught_up else "alarms and decisions have not been read to their end yet"

    async def run(self) -> None:
        """Read everything that stands, then follow it and tell, until ``stop``."""
        reader = await self._log.reader(TOPICS)
        telling: list[asyncio.Task[None]] = []
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await self._take(await reader.read_to_end())
            self.caught_up = True
            telling = [asyncio.create_task(desk.run()) for desk in self._desks]
            if self._keeper is not None:
                telling.append(asyncio.create_task(self._keeper.run()))
            following = asyncio.create_task(self._follow(reader))
            await asyncio.wait([stopping, following, *telling], return_when=asyncio.FIRST_COMPLETED)
            telling.append(following)
            for task in telling:
                if task.done():
                    task.result()
        finally:
            stopping.cancel()
            for task in telling:
                task.cancel()
            await asyncio.gather(stopping, *telling, return_exceptions=True)
            await reader.close()

    async def stop(self) -> None:
        """End ``run``."""
        self._stopping.set()

    async def _follow(self, reader: LogReader) -> None:
        while True:
            await self._take(await reader.poll(POLL_S))

    async def _take(self, records: Iterable[Record]) -> None:
        """Fold records, and show every desk how things stand."""
        for record in sorted(records, key=lambda one: RANKS[one.topic]):
            try:
                self._fold(record)
            except (Malformed, Refused) as error:
                self._metrics.refused.labels(record.topic).inc()
                log.warning("a record does not count", topic=record.topic, key=record.key, cause=str(error))
        await self._book.mend(self._log)
        self._board = replace(self._board, silences=self._book.ledger.silences)
        for desk in self._desks:
            desk.show(self._board)
        if self._keeper is not None:
            self._keeper.show(open_gates(self._book.ledger))
        self._tell()

    def _fold(self, record: Record) -> None:
        value = record.value
        match record.topic:
            case "decisions":
                self._book.read(record)
            case "keys" if value is not None:
                self._trust = trust_after(self._trust, record.key or "", value, record.time_ms)
            case "desired" if value is not None and record.key == HEARTBEAT:
                unseal(value, Heartbeat, self._trust)
                self._board = replace(self._board, heard_ms=max(self._board.heard_ms, record.time_ms))
            case "alarms" if value is not None:
                alarm = decode(value, Alarm)
                if alarm.writer != INBOUND_WRITER:  # whoever raised it has told people already
                    self._board = pin(self._board, alarm)
            case _:
                pass

    def _tell(self) -> None:
        now_ms = self._clock.now_ms()
        veiled = hidden(self._board, now_ms).values()
        self._metrics.firing.set(len(standing(self._board, now_ms)))
        self._metrics.hidden.labels("silence").set(sum(one.silence is not None for one in veiled))
        self._metrics.hidden.labels("inhibited").set(sum(one.silence is None for one in veiled))
