"""The log on Kafka: a durable producer, and readers that follow whole partitions without a group.

A send that gets no answer is unknown, not failed; whoever sends reads back or sends the same again. A producer that gave no
answer or has died (an out-of-order sequence is final for its client) is thrown away with all that it holds, and the next send
makes a new one: nothing that was reported unknown stays queued here to land an hour later.
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, TopicAuthorizationFailedError

from tidegate.broker.client import Client
from tidegate.broker.connection import UNANSWERED, Connection, denied
from tidegate.broker.patience import patiently
from tidegate.broker.reader import KafkaReader
from tidegate.ports import Appended, SendRefused, SendUnknown
from tidegate.runtime.abandon import abandon
from tidegate.wire.cloudevents import event_headers

REQUEST_BYTES_MAX = 16 << 20
"""The largest record of the topic table; the broker started here takes as much."""
BATCH_BYTES_MAX = 1 << 18
"""The client has one batch of a partition under way at a time: 16 KiB, unless told otherwise, are some rows for each answer of
the broker. The broker weighs a batch like a record, so it must be less than the least that a topic takes, 1 MiB.
"""

log = structlog.wrap_logger(logging.getLogger("tidegate.broker"))


class KafkaLog:
    """``tidegate.ports.Log`` on a cluster: acks from all replicas, idempotent, zstd.

    ``one_of_many``: for a process of which there are hundreds, such as a node agent. It has one connection to a broker, comes
    back after waits that spread all of them, and sends its small records as they are (``tidegate.broker.client``).
    """

    def __init__(
        self, connection: Connection, *, client_id: str, send_timeout_s: float = 10.0, one_of_many: bool = False
    ) -> None:
        self.connection = connection
        self._client_id = client_id
        self._send_timeout_s = send_timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._making: asyncio.Task[None] | None = None
        self._one_of_many = one_of_many
        self._client: Client | None = None
        self._told: set[str] = set()
        """Topics of which it was said that the broker refuses them."""

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

        SendUnknown where no answer comes in time, SendRefused where the broker says no; ValueError where the record is larger
        than the topic allows. Records are
        in the order of the calls. Sends under way when another one remains unanswered are unknown as well.
        """
        producer: AIOKafkaProducer | None = None
        began_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._send_timeout_s):
                producer = await self._ready()
                sent = await producer.send_and_wait(
                    f"{self.connection.prefix}{topic}",
                    value,
                    key=None if key is None else key.encode(),
                    partition=partition,
                    headers=list({**event_headers(topic, key, value, self._client_id), **(headers or {})}.items()),
                    timestamp_ms=time_ms,
                )
        except MessageSizeTooLargeError as error:
            raise ValueError(f"a record of {len(value or b'')} bytes is too large for {topic}") from error
        except UNANSWERED as error:
            if producer is not None and producer is self._producer:
                self._producer = None
                await self._drop(producer, began_s)
            if isinstance(error, TopicAuthorizationFailedError):
                raise self._refused(topic) from error
            raise SendUnknown(f"{topic}: {type(error).__name__} {error}".strip()) from error
        self._told.discard(topic)
        return Appended(sent.partition, sent.offset, sent.timestamp)

    async def reader(
        self, topics: Sequence[str], *, start: str = "earliest", partitions: Sequence[int] | None = None
    ) -> KafkaReader:
        """Return a reader of all (or the given) partitions of some topics, from ``earliest``, ``latest`` or ``recent``."""
        reader = KafkaReader(
            self.connection, topics, client_id=self._client_id, start=start, partitions=partitions, client=self._shared()
        )
        await reader.start()
        return reader

    async def close(self) -> None:
        """Flush and let go of connections; safe to call twice."""
        making, self._making = self._making, None
        if making is not None:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(self._send_timeout_s):
                    await producer.flush()
            except UNANSWERED:
                await self._drop(producer, math.inf)
            else:
                await producer.stop()
        client, self._client = self._client, None
        if client is not None:
            await client.end()

    def _refused(self, topic: str) -> SendRefused:
        """Return what to raise; say it once, for whoever tries again says nothing."""
        problem = denied(self.connection, "write", f"{self.connection.prefix}{topic}")
        if topic not in self._told:
            log.error(problem.what, remedy=problem.remedy)
            self._told.add(topic)
        return SendRefused(problem.what, problem.remedy)

    def _shared(self) -> Client | None:
        if self._one_of_many and self._client is None:
            self._client = Client(self.connection, self._client_id)
        return self._client

    async def _ready(self) -> AIOKafkaProducer:
        """Return the producer. One task makes a new one for all sends; it goes on, and says once why, when a send gives up."""
        while self._producer is None:
            if self._making is None or self._making.done():
                self._making = asyncio.create_task(self._renew())
            await asyncio.shield(self._making)
        return self._producer

    async def _renew(self) -> None:
        self._producer = await patiently("producing", self.connection, self._make)

    async def _make(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self.connection.arguments(),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            compression_type=None if self._one_of_many else "zstd",
            max_request_size=REQUEST_BYTES_MAX,
            max_batch_size=BATCH_BYTES_MAX,
            request_timeout_ms=int(self._send_timeout_s * 1000),
        )
        client = self._shared()
        if client is not None:
            _hand_over(producer, client)
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _drop(self, producer: AIOKafkaProducer, began_s: float) -> None:
        """End a producer whose send began then and was not answered."""
        client = self._client
        await abandon(producer, None if client is None else lambda: client.cut(began_s))


def _hand_over(producer: AIOKafkaProducer, client: Client) -> None:
    """Let a new producer talk through this client in place of its own, which has no connection yet."""
    producer.client = producer._sender.client = client  # noqa: SLF001
    producer._metadata = producer._message_accumulator._cluster = client.cluster  # noqa: SLF001
