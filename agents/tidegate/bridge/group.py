"""Reading as one member of a consumer group, for as long as it takes.

The client is known to fall silent for ever after some troubles of a broker. So a member that hears nothing for a while asks for
the end offsets, and where it is behind or gets no answer begins again on a new connection.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from tidegate.broker.connection import UNANSWERED, Connection, TopicsMissing
from tidegate.broker.patience import patiently

SESSION_TIMEOUT_MS = 6_000
HEARTBEAT_MS = 500
FETCH_WAIT_MS = 50
POLL_RECORDS_MAX = 5_000
SILENT_S = 10.0
STOP_WITHIN_S = 5.0
AGAIN_AFTER_S = 1.0
METADATA_MS = 10_000
"""A collector may make its topic later than this begins."""

log = structlog.get_logger("tidegate.bridge")

Records = Mapping[TopicPartition, Sequence["ConsumerRecord[bytes, bytes]"]]


class Member:
    """One member of the bridges' group. For one task at a time.

    ``instance``: its name, kept over restarts: who comes back within 6 s under it finds its partitions kept. Empty: none.
    ``wait``: the topics are ours and must be there; others may come later.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Sequence[str],
        instance: str,
        *,
        wait: bool = False,
        listener: ConsumerRebalanceListener | None = None,
    ) -> None:
        self._wait = wait
        self._connection = connection
        self._topics = topics
        self._group = f"{connection.prefix}bridge"
        self._instance = instance
        self._listener = listener
        self._heard_s = 0.0
        self._consumer: AIOKafkaConsumer | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a client; after a trouble the next poll makes another one."""
        return self._consumer is not None

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """The client of now."""
        assert self._consumer is not None  # noqa: S101 - whoever asks has polled, or looked
        return self._consumer

    async def poll(self, timeout_s: float) -> Records:
        """Return the next records, at once if there are some, otherwise when some come or the time is over (empty)."""
        consumer: Any = self._consumer
        if consumer is None:
            consumer = self._consumer = await patiently(f"reading {', '.join(self._topics)}", self._connection, self._connect)
        try:
            found: Records = await consumer.getmany(timeout_ms=max(0, int(timeout_s * 1000)), max_records=POLL_RECORDS_MAX)
        except UNANSWERED as error:
            log.warning("reading failed; reading again on a new connection", topics=self._topics, error=str(error))
            await self.close()
            await asyncio.sleep(AGAIN_AFTER_S)
            return {}
        now_s = asyncio.get_running_loop().time()
        if found:
            self._heard_s = now_s
        elif now_s - self._heard_s > SILENT_S:
            self._heard_s = now_s
            if await self._is_deaf(consumer):
                log.warning("nothing is heard; reading again on a new connection", topics=self._topics)
                await self.close()
        return found

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the next offsets to read. Where the broker does not take them, they are read again, which does no harm."""
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self.consumer.commit(dict(offsets))
        except UNANSWERED as error:
            log.warning("offsets not committed", group=self._group, error=str(error) or type(error).__name__)

    async def close(self) -> None:
        """Leave the group; safe to call twice."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)

    async def _connect(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._connection.arguments(),
            client_id=self._group,
            group_id=self._group,
            enable_auto_commit=False,
            group_instance_id=self._instance or None,
            # What was written before anybody read is of no second that is still open.
            auto_offset_reset="latest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            metadata_max_age_ms=METADATA_MS,
        )
        consumer.subscribe(list(self._topics), listener=self._listener)
        try:
            await consumer.start()
            self._look_for(await consumer.topics())
        except BaseException:
            await _stop(consumer)
            raise
        self._heard_s = asyncio.get_running_loop().time()
        return consumer

    def _look_for(self, there: set[str]) -> None:
        missing = sorted({*self._topics} - there)
        if missing and self._wait:
            raise TopicsMissing(", ".join(missing))
        if missing:
            log.warning("topics are not there yet; they are read as soon as they are", topics=missing)

    async def _is_deaf(self, consumer: AIOKafkaConsumer) -> bool:
        """Return whether there is something to read, or no answer."""
        try:
            async with asyncio.timeout(SILENT_S):
                mine = list(consumer.assignment())
                ends: dict[TopicPartition, int] = await consumer.end_offsets(mine) if mine else {}
                return any([await consumer.position(tp) < end for tp, end in ends.items()])
        except UNANSWERED:
            return True


async def _stop(consumer: Any) -> None:
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await consumer.stop()
    except UNANSWERED as error:
        log.warning("reader not closed in time", error=str(error) or type(error).__name__)


__all__ = ["Member", "Records"]
