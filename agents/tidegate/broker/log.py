"""The log on Kafka: a durable producer, and readers that follow whole partitions without a group.

A send that gets no answer is unknown, not failed; whoever sends reads back or sends the same again. A producer that has
died (it happens: an
out-of-order sequence is final for its client) is replaced by the next send.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from tidegate.broker.connection import Connection, patiently
from tidegate.ports import Appended, Record, SendUnknown
from tidegate.wire.topics import BY_NAME

FETCH_WAIT_MS = 50
"""The client keeps one fetch per broker in flight, and a new one waits for the last: this bounds how late a record is
seen.
"""
FETCH_PARTITION_BYTES = 20 << 20
POLL_RECORDS_MAX = 5_000
CLOSE_WITHIN_S = 5.0
"""The client can lose its own cancellation when it is stopped soon after an assignment, and would wait for ever."""

log = structlog.get_logger("tidegate.broker")


class KafkaLog:
    """``tidegate.ports.Log`` on a cluster: acks from all replicas, idempotent, zstd."""

    def __init__(self, connection: Connection, *, client_id: str, send_timeout_s: float = 10.0) -> None:
        self.connection = connection
        self._client_id = client_id
        self._send_timeout_s = send_timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._making = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Connect; waits, saying so, until a broker answers."""
        await self._ready()

    async def append(
        self,
        topic: str,
        key: str | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Mapping[str, bytes] | None = None,
        time_ms: int | None = None,
    ) -> Appended:
        """Append one record and wait until it is durable.

        SendUnknown where no answer comes in time; ValueError where the record is larger than the topic allows.
        """
        try:
            async with asyncio.timeout(self._send_timeout_s):
                producer = await self._ready()
                sent = await producer.send_and_wait(
                    f"{self.connection.prefix}{topic}",
                    value,
                    key=None if key is None else key.encode(),
                    partition=partition,
                    headers=list((headers or {}).items()),
                    timestamp_ms=time_ms,
                )
        except MessageSizeTooLargeError as error:
            raise ValueError(f"a record of {len(value or b'')} bytes is too large for {topic}") from error
        except (KafkaError, TimeoutError, OSError) as error:
            if not isinstance(error, TimeoutError):
                await self._discard()
            raise SendUnknown(f"{topic}: {type(error).__name__} {error}".strip()) from error
        return Appended(sent.partition, sent.offset, sent.timestamp)

    async def reader(
        self, topics: Sequence[str], *, start: str = "earliest", partitions: Sequence[int] | None = None
    ) -> "KafkaReader":
        """Return a reader of all (or the given) partitions of some topics, from ``earliest`` or ``latest``."""
        reader = KafkaReader(self.connection, topics, client_id=self._client_id, start=start, partitions=partitions)
        await reader.start()
        return reader

    async def close(self) -> None:
        """Flush and let go of connections; safe to call twice."""
        self._closed = True
        await self._discard()

    async def _ready(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        async with self._making:
            if self._producer is None:
                self._producer = await patiently("producing", self.connection, self._make)
            return self._producer

    async def _make(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.connection.bootstrap,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            max_request_size=16 << 20,
            request_timeout_ms=int(self._send_timeout_s * 1000),
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(self._send_timeout_s):
                    await producer.stop()


class KafkaReader:
    """``tidegate.ports.LogReader``: assigned partitions, no group, no committed offsets."""

    def __init__(
        self, connection: Connection, topics: Sequence[str], *, client_id: str, start: str, partitions: Sequence[int] | None
    ) -> None:
        if start not in ("earliest", "latest"):
            raise ValueError(f"start must be earliest or latest, not {start!r}")
        self._connection = connection
        self._client_id = client_id
        self._start = start
        self._names = {f"{connection.prefix}{topic}": topic for topic in topics}
        self._partitions = [
            TopicPartition(f"{connection.prefix}{topic}", partition)
            for topic in topics
            for partition in (range(BY_NAME[topic].partitions) if partitions is None else partitions)
        ]
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Connect and find the first position of each partition; waits, saying so, until a broker answers."""

        async def attempt() -> AIOKafkaConsumer:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._connection.bootstrap,
                client_id=self._client_id,
                enable_auto_commit=False,
                auto_offset_reset=self._start,
                fetch_max_wait_ms=FETCH_WAIT_MS,
                max_partition_fetch_bytes=FETCH_PARTITION_BYTES,
                check_crcs=True,
            )
            try:
                await consumer.start()
                consumer.assign(self._partitions)
                ends = consumer.beginning_offsets if self._start == "earliest" else consumer.end_offsets
                self._positions = dict(await ends(self._partitions))
                for partition, offset in self._positions.items():
                    consumer.seek(partition, offset)
            except BaseException:
                await consumer.stop()
                raise
            return consumer

        self._consumer = await patiently("reading", self._connection, attempt)

    async def read_to_end(self) -> list[Record]:
        """Return every record up to the end offsets captured at this call, and move there."""
        ends = await patiently("reading", self._connection, lambda: self._consumer.end_offsets(self._partitions))
        records: list[Record] = []
        while any(self._positions[partition] < end for partition, end in ends.items()):
            records += await self.poll(1.0)
        return records

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records, at once if there are some, otherwise when some come or the time is over (empty).

        Records of one partition are in offset order; partitions follow one another.
        """
        found = await self._consumer.getmany(timeout_ms=max(0, int(timeout_s * 1000)), max_records=POLL_RECORDS_MAX)
        records: list[Record] = []
        for partition, batch in found.items():
            records += [self._record(record) for record in batch]
            if batch:
                self._positions[partition] = batch[-1].offset + 1
        return records

    def positions(self) -> dict[tuple[str, int], int]:
        """Return the next offset of each (topic, partition) read here."""
        return {(self._names[at.topic], at.partition): offset for at, offset in self._positions.items()}

    async def close(self) -> None:
        """Let go of connections."""
        with contextlib.suppress(KafkaError, TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._consumer.stop()

    def _record(self, record: "ConsumerRecord[bytes, bytes]") -> Record:
        return Record(
            self._names[record.topic],
            record.partition,
            record.offset,
            record.timestamp,
            None if record.key is None else record.key.decode(errors="replace"),
            record.value,
            dict(record.headers),
        )
