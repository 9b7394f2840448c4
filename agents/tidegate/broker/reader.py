"""Reading whole partitions in order: to the end offsets of now, then on as records come.

The client is known to fall silent for ever after some troubles of a broker without telling. So a reader that hears nothing
for a while asks for the end offsets, and where it is behind or gets no answer continues from its position on a new connection.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from tidegate.broker import client as many
from tidegate.broker.client import Client
from tidegate.broker.connection import UNANSWERED, Connection, TopicsMissing, denied
from tidegate.broker.patience import patiently
from tidegate.ports import RECENT_RECORDS, Record
from tidegate.wire.topics import BY_NAME

T = TypeVar("T")

FETCH_WAIT_MS = 50
"""The client keeps one fetch per broker in flight, and a new one waits for the last: this bounds how late a record is
seen.
"""
FETCH_PARTITION_BYTES = 20 << 20
POLL_RECORDS_MAX = 5_000
ANSWER_WITHIN_S = 5.0
SILENT_S = 10.0
HOLE_S = 0.2
CLOSE_WITHIN_S = 5.0
"""The client can lose its own cancellation when it is stopped soon after an assignment, and would wait for ever."""


class KafkaReader:
    """``tidegate.ports.LogReader``: assigned partitions, no group, no committed offsets. For one task at a time."""

    def __init__(
        self,
        connection: Connection,
        topics: Sequence[str],
        *,
        client_id: str,
        start: str,
        partitions: Sequence[int] | None,
        client: Client | None = None,
    ) -> None:
        if start not in ("earliest", "latest", "recent"):
            raise ValueError(f"start must be earliest, latest or recent, not {start!r}")
        self._connection = connection
        self._client_id = client_id
        self._client = client
        """What this reader shares with others of its process; None: its connections are its own."""
        self._start = start
        self._names = {f"{connection.prefix}{topic}": topic for topic in topics}
        self._partitions = [
            TopicPartition(f"{connection.prefix}{topic}", partition)
            for topic in topics
            for partition in (range(BY_NAME[topic].partitions) if partitions is None else partitions)
        ]
        self._positions: dict[TopicPartition, int] = {}
        self._heard_s = 0.0
        self._mending: asyncio.Task[AIOKafkaConsumer | None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and find the first position of each partition; waits, saying so, until a broker answers."""
        self._consumer = await self._patiently(self._connect)

    async def read_to_end(self) -> list[Record]:
        """Return every record up to the end offsets captured at this call, and move there."""
        ends = await self._patiently(self._ends_or_reconnect)
        records: list[Record] = []
        while behind := [partition for partition, end in ends.items() if self._positions[partition] < end]:
            found = await self.poll(HOLE_S)
            records += found
            if not found:
                await self._pass_holes(self._consumer, behind)
        return records

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records, at once if there are some, otherwise when some come or the time is over (empty).

        Records of one partition are in offset order; partitions follow one another. BrokerRefused where this client may see a
        topic and not read it. Cancelled, it has taken nothing: after its last wait the client hands out what it holds in the same
        step.
        """
        await self._mended()
        try:
            found = await self._consumer.getmany(timeout_ms=max(0, int(timeout_s * 1000)), max_records=POLL_RECORDS_MAX)
        except TopicAuthorizationFailedError as error:
            raise denied(self._connection, "read", *error.args) from error
        records: list[Record] = []
        for partition, batch in found.items():
            records += [self._record(record) for record in batch]
            if batch:
                self._positions[partition] = batch[-1].offset + 1
        now_s = asyncio.get_running_loop().time()
        if records:
            self._heard_s = now_s
        elif now_s - self._heard_s > SILENT_S and self._mending is None:
            self._mending = asyncio.create_task(self._mend(self._consumer))
        return records

    def positions(self) -> dict[tuple[str, int], int]:
        """Return the next offset of each (topic, partition) read here."""
        return {(self._names[at.topic], at.partition): offset for at, offset in self._positions.items()}

    async def close(self) -> None:
        """Let go of connections."""
        mending, self._mending = self._mending, None
        if mending is not None:
            mending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await _stop(await mending)
        if self._ending is not None:
            await self._ending
        await _stop(self._consumer)

    async def _connect(self) -> AIOKafkaConsumer:
        """Return a consumer at the positions of this reader; the first one finds them."""
        consumer = AIOKafkaConsumer(
            **self._connection.arguments(),
            client_id=self._client_id,
            enable_auto_commit=False,
            # Only where retention has passed a position: what is left is nearer to it than the end is.
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS if self._client is None else many.FETCH_WAIT_MS,
            consumer_timeout_ms=200 if self._client is None else many.FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_PARTITION_BYTES,
        )
        if self._client is not None:
            consumer._client = self._client  # noqa: SLF001 - its own has no connection yet
        try:
            await consumer.start()
            if self._client is not None:
                # A fetch leaves out a partition of which something waits here: it would be blind to it for as long as it lasts.
                consumer._fetcher._prefetch_backoff = SILENT_S  # noqa: SLF001
            self._refuse_missing(await consumer.topics())
            consumer.assign(self._partitions)
            if not self._positions:
                self._positions = await self._first(consumer)
            for partition, offset in self._positions.items():
                consumer.seek(partition, offset)
        except BaseException:
            await _stop(consumer)
            raise
        self._heard_s = asyncio.get_running_loop().time()
        return consumer

    async def _first(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        begins = dict(await consumer.beginning_offsets(self._partitions))
        if self._start == "earliest":
            return begins
        ends = dict(await consumer.end_offsets(self._partitions))
        back = RECENT_RECORDS if self._start == "recent" else 0
        return {partition: max(begins[partition], end - back) for partition, end in ends.items()}

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await patiently("reading", self._connection, attempt)

    def _refuse_missing(self, there: set[str]) -> None:
        missing = self._names.keys() - there
        if missing:
            raise TopicsMissing(missing)

    async def _ends(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return dict(await consumer.end_offsets(self._partitions))

    async def _ends_or_reconnect(self) -> dict[TopicPartition, int]:
        try:
            return await self._ends(self._consumer)
        except UNANSWERED:
            await self._replace(await self._connect())
            return await self._ends(self._consumer)

    async def _pass_holes(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """Move past offsets without a record: compacted away, removed by retention, or markers of a transaction."""
        with contextlib.suppress(*UNANSWERED):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                for partition in partitions:
                    self._positions[partition] = max(self._positions[partition], await consumer.position(partition))

    async def _mend(self, consumer: AIOKafkaConsumer) -> AIOKafkaConsumer | None:
        """Return a new consumer where this one does not answer or shows nothing though there is something."""
        try:
            ends = await self._ends(consumer)
        except UNANSWERED:
            return await self._patiently(self._connect)
        behind = [partition for partition, end in ends.items() if self._positions[partition] < end]
        await self._pass_holes(consumer, behind)
        if all(self._positions[partition] >= ends[partition] for partition in behind):
            return None
        return await self._patiently(self._connect)

    async def _mended(self) -> None:
        if self._mending is None or not self._mending.done():
            return
        mending, self._mending = self._mending, None
        self._heard_s = asyncio.get_running_loop().time()
        consumer = mending.result()
        if consumer is not None:
            await self._replace(consumer)

    async def _replace(self, consumer: AIOKafkaConsumer) -> None:
        old, self._consumer = self._consumer, consumer
        for partition, offset in self._positions.items():
            consumer.seek(partition, offset)
        self._ending = asyncio.create_task(_stop(old))
        await asyncio.shield(self._ending)  # whoever is cancelled here leaves no consumer behind that was stopped by half

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


async def _stop(consumer: AIOKafkaConsumer | None) -> None:
    """Stop a consumer, within bounds, and whatever it says. A task of its own: the client raises its own cancellation out of
    ``stop``, where it would be taken for the caller's.
    """
    if consumer is None:
        return
    # The second one closes connections where the first was ended before it did.
    for ending in (consumer.stop(), consumer._client.close()):  # noqa: SLF001
        stopping = asyncio.create_task(ending)
        await asyncio.wait([stopping], timeout=CLOSE_WITHIN_S)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
