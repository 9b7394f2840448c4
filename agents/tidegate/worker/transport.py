"""The one module that bends Faust's aiokafka transport (pinned versions; each departure says why).

What changes against stock Faust 0.15.3:

* one Faust event is a chunk of records, not a record: the path of an event costs 73 us of CPU, 25 times what a row may cost;
* the committed offset is the **commit floor**, raised by the app when what it made of the records is durable. Stock commits
  what an agent has touched, and that is neither sent nor checkpointed yet; an exception acknowledges too. With the floor,
  acknowledgements only say what is still in hand, and offsets that are missing in a partition need no interval tree (stock's
  includes its right end, which holds the commit back at every gap);
* a revoke settles and commits before it forgets. Stock forgets first, so that every graceful rebalance repeats seconds of rows;
* flow is stopped from assignment until positions are right. Stock delivers to a worker that had no partition, then seeks,
  then clears: rows are dropped;
* a position that retention has removed is moved to where the log begins, and known. Stock's client moves it in silence with the
  next fetch, and where nothing is left in the partition no record ever tells;
* no poll is under way during a seek: a poll that began earlier would take rows past the new position and drop them;
* waits: 200 ms instead of 1.5 s for a fetch, 10 ms instead of 1 s when every partition is backed up, none for tables.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import faust
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from faust.tables.manager import TableManager
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.threads import WorkerThread
from msgspec import Struct

from tidegate.broker import Connection

SCHEME = "tidegate"
FETCH_WAIT_MS = 200
POLL_WAIT_S = 0.2
BACKED_UP_WAIT_S = 0.01
FIRST_WITHIN_S = 5.0


class Chunk(NamedTuple):
    """Consecutive records of one partition: what an agent gets as one event."""

    tp: TP
    records: list["ConsumerRecord[bytes, bytes]"]


class Limits(Struct, frozen=True, kw_only=True):
    """How much is taken at once, and how often."""

    pace_s: float
    """Least time between two polls: a poll costs the same for one row and for a thousand."""
    chunk_records: int
    chunk_bytes: int
    """A chunk ends with the record that reaches this."""


class Host(Protocol):
    """What the transport asks of a worker's role."""

    limits: Limits

    async def on_assigned(self, assigned: set[TP]) -> Mapping[TP, int]:
        """Prepare for partitions; return where to begin in those that do not begin at the committed offset."""
        ...

    def on_positions(self, positions: Mapping[TP, int]) -> None:
        """Learn the offset at which each partition begins; records follow."""
        ...

    async def settle(self) -> None:
        """Make what is in hand durable and raise the floors. Called when nothing is being handled; again if need be."""
        ...


class ChunkSchema(faust.Schema):
    """Hands chunks through: decoding is the role's, so that a bad record is a dead letter and no exception in Faust."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:  # noqa: ARG002 - Faust's signature
        """Return nothing: a chunk has many keys."""
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:  # noqa: ARG002 - Faust's signature
        """Return the chunk."""
        return message.value


class DaemonThread(WorkerThread):
    """Does not keep the process alive: a broker that does not answer must not turn a stop into a hang."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.daemon = True


async def _first(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
    """Return where a partition begins; 0 while it has no leader: others are read meanwhile, and nothing of it can be."""
    try:
        async with asyncio.timeout(FIRST_WITHIN_S):
            return int((await consumer.beginning_offsets([tp]))[tp])
    except (KafkaError, TimeoutError):
        return 0


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that holds the aiokafka consumer."""

    Worker = DaemonThread

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Stock hard-codes 1,500 ms, and one fetch per broker is in flight: an idle fleet would be seen that late.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - no setting reaches it
        return consumer

    async def positions(self, tps: set[TP]) -> dict[TP, int]:
        """Return the next offset of each partition, when each has one: none of them before the log's beginning."""
        return await self.call_thread(self._positions, sorted(tps))

    async def _positions(self, tps: list[TP]) -> dict[TP, int]:
        consumer, at = self._ensure_consumer(), [driver.ensure_aiokafka_TP(tp) for tp in tps]
        found = await asyncio.gather(*map(consumer.position, at))
        first = dict(zip(at, await asyncio.gather(*(_first(consumer, tp) for tp in at)), strict=True))
        for tp, position in zip(at, found, strict=True):
            if position < first[tp]:
                consumer.seek(tp, first[tp])
        return {tp: max(position, first[one]) for tp, one, position in zip(tps, at, found, strict=True)}

    def leave_at_stop(self) -> None:
        """Say goodbye when the consumer stops: aiokafka lets static members go silently, for whom others then wait."""
        if self._consumer is not None:
            self._consumer._coordinator._group_instance_id = None  # noqa: SLF001 - no setting reaches it


class ChunkConsumer(driver.Consumer):
    """Delivers chunks; commits the floor."""

    _thread: ConsumerThread

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.host: Host = self.app.host
        self._floor: dict[TP, int] = {}
        self._starts: Mapping[TP, int] = {}
        self._committing = asyncio.Lock()
        self._not_polling = asyncio.Event()
        self._not_polling.set()
        self._polled_s = 0.0
        self._flow_number = 0

    def _new_consumer_thread(self) -> ConsumerThread:
        # Both threads run the same kind of loop (uvloop saves a fifth); mode would make a plain one.
        loop = type(asyncio.get_running_loop())()
        thread = ConsumerThread(self, loop=self.loop, thread_loop=loop, beacon=self.beacon)
        thread._close_thread_loop_on_stop = True  # noqa: SLF001 - it is ours, nobody else closes it
        return thread

    # floor

    def raise_floor(self, tp: TP, offset: int) -> None:
        """All records before ``offset`` are dealt with, durably: it may be committed. A floor never falls."""
        self._floor[tp] = max(offset, self._floor.get(tp, 0))

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002
        """Commit the floors. A second caller waits and then commits too: stock returns, and a revoke loses the raised floor."""
        async with self._committing:
            self._acked.clear()
            self._acked_index.clear()
            due = {tp: offset for tp, offset in self._floor.items() if offset > (self._committed_offset.get(tp) or 0)}
            if due:
                held = self.assignment()
                due = {tp: offset for tp, offset in due.items() if tp in held}
            # A group that has moved on takes no commit, and says so by False.
            if not due or not await self._commit(due):
                return False
            self._committed_offset.update(due)
            return True

    def committed(self) -> dict[TP, int]:
        """Return the committed offset of each partition that has one."""
        return {tp: offset for tp, offset in self._committed_offset.items() if offset is not None}

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: the floor passes offsets that are missing, and those inside a chunk are no gap."""

    # delivery

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109, ARG002 - stock's
        """Yield one message per chunk, partitions in turn."""
        await asyncio.sleep(max(0.0, self._polled_s + self.host.limits.pace_s - self.loop.time()))
        self._polled_s = self.loop.time()
        records, _ = await self._wait_next_records(POLL_WAIT_S)
        number, generation = self._flow_number, self.app.consumer_generation_id
        # Stopped meanwhile: what was polled is polled again, since a seek comes before flow resumes. (Stock seeks here,
        # in the middle of a revoke.)
        for chunk in _in_turn(records, self.host.limits):
            if not self.flow_active or self._flow_number != number or self.should_stop:
                return
            yield chunk.tp, self._message(chunk, generation)

    async def _wait_next_records(self, timeout: float) -> tuple[dict[TP, list[Any]], set[TP]]:  # noqa: ASYNC109 - stock's
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        active = self._get_active_partitions()
        if not active:
            # Stock sleeps a second, which caps throughput whenever a buffer has been full.
            await self.sleep(BACKED_UP_WAIT_S)
            return {}, active
        return await self._getmany(active, timeout), active

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:  # noqa: ASYNC109
        self._not_polling.clear()
        number = self._flow_number
        try:
            records = await super()._getmany(active_partitions, timeout)
        finally:
            self._not_polling.set()
        return {} if number != self._flow_number else {driver.ensure_TPset([tp]).pop(): found for tp, found in records.items()}

    def _message(self, chunk: Chunk, generation: int) -> ConsumerMessage:
        last = chunk.records[-1]
        return ConsumerMessage(
            chunk.tp.topic,
            chunk.tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            (),
            None,
            chunk,
            None,
            tp=chunk.tp,
            generation_id=generation,
        )

    # rebalance

    def stop_flow(self) -> None:
        """Deliver nothing more; a poll under way is void."""
        self._flow_number += 1
        super().stop_flow()

    async def wait_empty(self) -> None:
        """Wait for the chunks in hand, make their outcome durable, commit. Called at revoke and at stop."""
        while not self.should_stop and self._in_hand():
            await self._wait_for_ack(timeout=1)
        if not self.app.crashed:
            await self.host.settle()
        await self.commit()

    def _in_hand(self) -> bool:
        self._clean_unacked_messages()
        return bool(self._unacked_messages)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Settle and commit, then let Faust forget: stock forgets first and has nothing left to commit."""
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        try:
            await self.wait_empty()
        except Exception as error:
            # aiokafka would log it and go on with partitions whose state is gone.
            await self.crash(error)
            raise
        self._floor.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Prepare the role; flow stays stopped until positions are right, also where nothing was revoked before."""
        self.stop_flow()
        self._floor.clear()
        try:
            self._starts = await self.host.on_assigned(assigned)
        except Exception as error:
            await self.crash(error)
            raise
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Go to the committed offsets, or where the role begins, when no poll is under way any more."""
        await self._not_polling.wait()
        await super().perform_seek()
        if self._starts:
            await self.seek_wait(self._starts)
        self.host.on_positions(await self._thread.positions(self.assignment()))

    def clients(self) -> list[AIOKafkaClient]:
        """Return the connections of now: they may have to learn another password."""
        consumer = self._thread._consumer  # noqa: SLF001 - no setting reaches it
        return [] if consumer is None else [consumer._client]  # noqa: SLF001

    def leave_at_stop(self) -> None:
        """Give the partitions back at once when this worker stops: for scale-in, not for a restart."""
        self._thread.leave_at_stop()


class ChunkProducer(driver.Producer):
    """Acknowledged by all replicas, idempotent: without it a retry may pass what was sent later, marks before rows."""

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    def clients(self) -> list[AIOKafkaClient]:
        """Return the connections of now, likewise."""
        return [] if self._producer is None else [self._producer.client]


class NoTables(TableManager):
    """Starts at once: stock waits a second for tables to appear."""

    async def on_start(self) -> None:
        """Go straight on to the assignment."""
        await self._update_channels()
        await self.recovery.start()


class ChunkTransport(driver.Transport):
    """Kafka under the URL scheme ``tidegate``."""

    Consumer = ChunkConsumer
    Producer = ChunkProducer


def broker_url(bootstrap: str) -> str:
    """Return Faust's address of a cluster behind this transport, and make its scheme known.

    >>> broker_url("a:9092,b:9092")
    'tidegate://a:9092;tidegate://b:9092'
    """
    TRANSPORTS.aliases[SCHEME] = f"{__name__}:{ChunkTransport.__name__}"
    return ";".join(f"{SCHEME}://{address.strip()}" for address in bootstrap.split(","))


def credentials(connection: Connection) -> faust.auth.Credentials | None:
    """Return how Faust's clients say who they are, as every other client of this process does; None: nobody asks."""
    arguments = connection.access.arguments()
    if not arguments:
        return None
    if connection.access.sasl is None:
        return faust.SSLCredentials(arguments["ssl_context"])
    return faust.SASLCredentials(
        username=arguments["sasl_plain_username"],
        password=arguments["sasl_plain_password"],
        mechanism=arguments["sasl_mechanism"],
        ssl_context=arguments["ssl_context"],
    )


def _in_turn(records: Mapping[TP, list[Any]], limits: Limits) -> Iterator[Chunk]:
    """Yield the chunks of all partitions, one of each in turn, so that a backlog does not starve the others."""
    waiting = [_chunks(tp, found, limits) for tp, found in records.items() if found]
    while waiting:
        still = []
        for chunks in waiting:
            chunk = next(chunks, None)
            if chunk is not None:
                yield chunk
                still.append(chunks)
        waiting = still


def _chunks(tp: TP, records: list[Any], limits: Limits) -> Iterator[Chunk]:
    begin, size_bytes = 0, 0
    for index, record in enumerate(records, 1):
        size_bytes += len(record.value or b"")
        if size_bytes >= limits.chunk_bytes or index - begin >= limits.chunk_records:
            yield Chunk(tp, records[begin:index])
            begin, size_bytes = index, 0
    if begin < len(records):
        yield Chunk(tp, records[begin:])
