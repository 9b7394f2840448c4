"""intake: telemetry in, columns and watermarks out (A1, A2). Stateless: what is lost with the process is read again.

Rows of all partitions that were read gather in one writer per target partition. A flush sends one message to every target
partition, the rows for it and behind them the marks; when all of a flush is acknowledged, and all before it, the floor rises.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata
from faust.types import TP
from msgspec import Struct

from tidegate.kpi.columns import RowWriter
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed
from tidegate.wire.nodeseconds import NodeSeconds
from tidegate.wire.partition import partition_of
from tidegate.wire.telemetry import decode
from tidegate.wire.topics import BY_NAME
from tidegate.worker.deadletters import letter
from tidegate.worker.metrics import IntakeMetrics, field_of
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Chunk, ChunkConsumer, Limits

FLUSH_EVERY_S = 0.2
FLUSH_PHASE_S = 0.01
"""Behind each whole 200 ms: rows of a second that has just ended have come by then, and its mark closes it at once."""
FLUSH_BYTES = 2 << 20
"""Input bytes that force a flush early: columns are at most about twice as large, and a message may have 8 MiB."""
ROW_BYTES = 64
"""What a row weighs beside its own bytes."""
FLUSHES_IN_FLIGHT_MAX = 16
CATCH_UP_S = 0.1
"""How long a flush waits for rows that stood in the partitions when their ends were asked for."""
NO_TIME_MS = 1_000_000_000_000
"""librdkafka's mock cluster answers 1234 to every send and leaves the sender's time on the record: there, and only there, the
sender's time is the append time.
"""
TARGETS = BY_NAME["nodeseconds"].partitions
PROBE = nodeseconds.encode(NodeSeconds())
"""A flush without rows or marks: its append time is the broker's clock."""

log = structlog.get_logger("tidegate.worker")


class _Flush(Struct):
    """One flush on its way: messages without an answer, and the offsets that it covers."""

    waiting: int
    covers: dict[TP, int]


@lru_cache(maxsize=4096)
def target_of(service: str) -> int:
    """Return the partition of ``nodeseconds`` that holds a service."""
    return partition_of(service, TARGETS)


class Intake:
    """The role behind the agent; ``tidegate.worker.transport.Host``."""

    topic = "telemetry"
    limits = Limits(pace_s=0.05, chunk_records=2_000, chunk_bytes=1 << 20)

    def __init__(self, outbox: Outbox, metrics: IntakeMetrics) -> None:
        self.consumer: ChunkConsumer
        self._outbox = outbox
        self._metrics = metrics
        self._writers = [RowWriter() for _ in range(TARGETS)]
        self._letters: list[tuple[bytes | None, list[tuple[str, bytes]]]] = []
        self._unsent_bytes = 0
        self._next: dict[TP, int] = {}
        self._marks: dict[TP, int] = {}
        self._sent: tuple[dict[TP, int], dict[TP, int]] = ({}, {})
        self._flushes: deque[_Flush] = deque()
        self._flushing = asyncio.Lock()
        self._progress = asyncio.Event()
        """Something was read or acknowledged."""

    # rows

    async def take(self, chunk: Chunk) -> None:
        """Decode every record of a chunk in one loop: rows to the writers, the rest to the dead letters."""
        dead: dict[str, int] = {}
        size_bytes = 0
        for record in chunk.records:
            value = record.value or b""
            size_bytes += len(value)
            try:
                row = decode(value)
            except Malformed as fault:
                self._letters.append(letter(self.topic, record, fault))
                field = field_of(fault.path)
                dead[field] = dead.get(field, 0) + 1
            else:
                self._writers[target_of(row.service)].add(row, record.timestamp)
        self._unsent_bytes += size_bytes + ROW_BYTES * len(chunk.records)
        last = chunk.records[-1]
        self._next[chunk.tp] = last.offset + 1
        self._mark(chunk.tp, last.timestamp)
        self._count(chunk, dead)
        self._progress.set()
        if self._unsent_bytes >= FLUSH_BYTES:
            await self.flush()

    def _count(self, chunk: Chunk, dead: Mapping[str, int]) -> None:
        for field, number in dead.items():
            self._metrics.deadletters.labels(self.topic, field).inc(number)
        self._metrics.read.inc(len(chunk.records))
        self._metrics.accepted.inc(len(chunk.records) - sum(dead.values()))
        self._metrics.read_to(self.topic, chunk.tp.partition, self._next[chunk.tp], self.consumer.highwater(chunk.tp))

    def _mark(self, tp: TP, time_ms: int) -> None:
        self._marks[tp] = max(time_ms, self._marks.get(tp, 0))

    # time

    async def run(self) -> None:
        """Flush every 200 ms, for ever, also when idle (A2): just after each whole second, where a mark closes a pane at once.

        The wall clock only paces; a worker whose clock is off flushes as often, at less lucky moments.
        """
        while True:
            await asyncio.sleep(FLUSH_EVERY_S - (time.time() - FLUSH_PHASE_S) % FLUSH_EVERY_S)
            if self.consumer.flow_active and self._next:
                await self._mark_ends()
                await self.flush()

    async def _mark_ends(self) -> None:
        """Advance the marks of partitions that have been read to their end (A2).

        A probe is this worker's last acknowledged flush; the ends are asked for after its answer. What stood before the
        probe's append time lies before those ends, so a partition read up to them is complete up to that time. This is the
        fetch that comes back empty, without the wait for it.
        """
        tps = list(self._next)
        sent_ms = time.time_ns() // 1_000_000
        probe = await self._outbox.send("nodeseconds", PROBE, partition=tps[0].partition % TARGETS, time_ms=sent_ms)
        try:
            appended_ms = (await probe).timestamp
            ends = await self.consumer.highwaters(*tps)
        except KafkaError as error:
            log.warning("broker does not answer", during="marking the ends of telemetry", error=str(error))
            return
        time_ms = appended_ms if appended_ms > NO_TIME_MS else sent_ms
        await self._catch_up(ends, time_ms)
        for tp, end in ends.items():
            if self._next.get(tp, -1) >= end:
                self._mark(tp, time_ms)

    async def _catch_up(self, ends: Mapping[TP, int], time_ms: int) -> None:
        """Wait until every partition has been read to its end or beyond ``time_ms``, though not for long."""

        def behind(tp: TP, end: int) -> bool:
            return self._next.get(tp, end) < end and self._marks.get(tp, 0) < time_ms

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                while any(behind(tp, end) for tp, end in ends.items()):
                    self._progress.clear()
                    await self._progress.wait()

    def positions(self) -> Mapping[TP, int]:
        """Return the next offset of each partition in hand."""
        return self._next

    # out

    async def flush(self) -> None:
        """Send what has gathered and the marks behind it; nothing where nothing has changed."""
        async with self._flushing:
            while len(self._flushes) >= FLUSHES_IN_FLIGHT_MAX:
                self._progress.clear()
                await self._progress.wait()
            now = (dict(self._next), dict(self._marks))
            if now == self._sent and not self._unsent_bytes:
                return
            marks = {tp.partition: time_ms for tp, time_ms in now[1].items()}
            messages = [nodeseconds.encode(writer.flush(marks)) for writer in self._writers]
            letters, self._letters, self._unsent_bytes, self._sent = self._letters, [], 0, now
            flush = _Flush(len(messages) + len(letters), now[0])
            self._flushes.append(flush)
            for value, headers in letters:
                sent = await self._outbox.send("deadletters", value, key=self.topic, headers=headers)
                sent.add_done_callback(lambda done: self._acknowledge(flush, done))
            for partition, message in enumerate(messages):
                sent = await self._outbox.send("nodeseconds", message, partition=partition)
                sent.add_done_callback(lambda done: self._acknowledge(flush, done))
            self._metrics.flushes.inc()

    def _acknowledge(self, flush: _Flush, done: asyncio.Future[RecordMetadata]) -> None:
        """Raise the floor in the order of the flushes. A failed message stops it for good: its process is ending."""
        if done.cancelled() or done.exception() is not None:
            return
        flush.waiting -= 1
        while self._flushes and self._flushes[0].waiting == 0:
            for tp, offset in self._flushes.popleft().covers.items():
                self.consumer.raise_floor(tp, offset)
        self._progress.set()

    # rebalance

    async def on_assigned(self, assigned: set[TP]) -> Mapping[TP, int]:  # noqa: ARG002 - Host
        """Forget what was read before: rows and marks begin anew, at the committed offsets."""
        self._metrics.forget(self.topic)
        self._next, self._marks, self._sent = {}, {}, ({}, {})
        return {}

    def on_positions(self, positions: Mapping[TP, int]) -> None:
        """Learn where reading begins: an empty partition is read to its end from the first moment."""
        self._next.update(positions)

    async def settle(self) -> None:
        """Send what is in hand and wait until it is durable: the floor stands behind the last row then."""
        await self.flush()
        await self._outbox.settled()
