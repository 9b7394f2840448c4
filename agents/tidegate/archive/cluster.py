"""A Kafka cluster as the target of a restore."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from tidegate.archive.contents import HEARTBEAT, beat_in
from tidegate.archive.export import BACK
from tidegate.broker import Connection, KafkaLog, create_topics, delete_topics, list_topics, settle_topics
from tidegate.broker.connection import UNANSWERED
from tidegate.broker.log import REQUEST_BYTES_MAX
from tidegate.ports import Record
from tidegate.runtime.problem import Problem

UNDER_WAY = 500
"""Sends that wait for their answer at once."""
LAST = BACK[-1]
AGAIN = "end whatever writes there, and run the same with --replace"


class Cluster:
    """``tidegate.archive.Target``: topics under the prefix of a connection. ``close`` it."""

    def __init__(self, connection: Connection, silence_s: float = 9.0) -> None:
        """``silence_s``: a decision agent of which nothing is heard for so long does not lead (E3)."""
        self._connection = connection
        self._silence_s = silence_s
        self._producer: AIOKafkaProducer | None = None
        self._written: dict[tuple[str, int], int] = defaultdict(int)
        """The offset that the next record of each partition must get."""

    async def held(self) -> list[str]:
        """Return the archive's topics that hold records, or have held some."""
        there = await list_topics(self._connection)
        names = [topic for topic in BACK if topic in there]
        if not names:
            return []
        log = KafkaLog(self._connection, client_id="restore")
        reader = await log.reader(names, start="latest")
        try:
            ends = reader.positions()
        finally:
            await reader.close()
        return [topic for topic in names if any(ends[at] for at in ends if at[0] == topic)]

    async def leader(self) -> str:
        """Return who leads there: whoever is heard while one listens, for no two clocks are compared. Not at all where there was
        never a heartbeat.
        """
        if LAST not in await list_topics(self._connection):
            return ""
        reader = await KafkaLog(self._connection, client_id="restore").reader([LAST])
        try:
            if not _lives(await reader.read_to_end()):
                return ""
            until_s = time.monotonic() + self._silence_s
            while (left_s := until_s - time.monotonic()) > 0:
                lives = _lives(await reader.poll(left_s))
                if lives and lives[-1]:
                    return lives[-1]
        finally:
            await reader.close()
        return ""

    async def clear(self) -> None:
        """Remove the archive's topics, ``desired`` first: from then on no agent begins."""
        await delete_topics(self._connection, BACK[::-1])

    async def make(self, topic: str) -> None:
        """Make a topic that keeps the times of records."""
        if not await create_topics(self._connection, names=frozenset({topic}), times_kept=True):
            raise Problem(f"another process has made {topic}", AGAIN)

    async def write(self, records: Sequence[Record]) -> None:
        """Append records of one partition; each must stand right behind the one before."""
        producer = await self._ready()
        waiting: deque[asyncio.Future[RecordMetadata]] = deque()
        try:
            for record in records:
                waiting.append(
                    await producer.send(
                        f"{self._connection.prefix}{record.topic}",
                        record.value,
                        key=None if record.key is None else record.key.encode(),
                        partition=record.partition,
                        timestamp_ms=record.time_ms,
                        headers=list(record.headers.items()),
                    )
                )
                if len(waiting) >= UNDER_WAY:
                    self._landed(record, await waiting.popleft())
            while waiting:
                self._landed(records[-1], await waiting.popleft())
        except UNANSWERED as error:
            raise Problem(f"the broker did not take {records[0].topic}: {type(error).__name__} {error}".strip(), AGAIN) from error

    async def finish(self, topics: Sequence[str]) -> None:
        """Let topics be as the table has them."""
        await settle_topics(self._connection, topics)

    async def close(self) -> None:
        """Let go of connections."""
        if self._producer is not None:
            await self._producer.stop()

    def _landed(self, of: Record, sent: RecordMetadata) -> None:
        expected = self._written[of.topic, of.partition]
        if sent.offset != expected:
            raise Problem(f"another process writes to {of.topic}: a record landed at {sent.offset}, not at {expected}", AGAIN)
        self._written[of.topic, of.partition] += 1

    async def _ready(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._connection.arguments(),
                client_id="restore",
                acks="all",
                enable_idempotence=True,
                compression_type="zstd",
                max_request_size=REQUEST_BYTES_MAX,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


def _lives(records: Sequence[Record]) -> list[str]:
    """Return whose heartbeats these are; one who resigns is nobody."""
    beats = [beat_in(record) for record in records if record.key == HEARTBEAT]
    return ["" if beat.resigned else beat.life for beat in beats if beat is not None]
