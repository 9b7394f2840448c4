"""Consumers of stock Faust and of ours over the same fake of the consumer thread: what a broker and a group would do."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from tidegate.broker import Connection
from tidegate.worker.app import Role, build_app
from tidegate.worker.transport import ChunkConsumer, Limits

HERE = TP("t", 0)


def record(offset: int, size_bytes: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        topic=HERE.topic,
        partition=HERE.partition,
        offset=offset,
        timestamp=1_000 + offset,
        timestamp_type=1,
        headers=(),
        key=None,
        value=bytes(size_bytes),
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=size_bytes,
    )


class FakeThread(Service):
    """One group member's thread: an assignment, what it commits, the records that polls give."""

    def __init__(self) -> None:
        super().__init__()
        self.held = {HERE}
        self.committed: dict[TP, int] = {}
        self.polls: asyncio.Queue[Mapping[TP, list]] = asyncio.Queue()
        self.polling = asyncio.Event()
        self.seeks = 0
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.committing = asyncio.Event()

    def assignment(self) -> set[TP]:
        return set(self.held)

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.committing.set()
        await self.may_commit.wait()
        self.committed.update(offsets)
        return True

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list]:  # noqa: ASYNC109
        self.polling.set()
        try:
            async with asyncio.timeout(timeout):
                return await self.polls.get()
        except TimeoutError:
            return {}

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        self.seeks += 1
        return {tp: self.committed.get(tp) for tp in self.held}

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        self.seeks += 1

    async def positions(self, tps: Iterable[TP]) -> dict[TP, int]:
        return {tp: self.committed.get(tp, 0) for tp in tps}

    def highwater(self, tp: TP) -> int:
        return 0


class FakeHost:
    """A role whose outputs become durable when it is asked to settle."""

    limits = Limits(pace_s=0.0, chunk_records=1_000, chunk_bytes=1 << 20)

    def __init__(self) -> None:
        self.consumer: ChunkConsumer
        self.handled: dict[TP, int] = {}
        self.starts: dict[TP, int] = {}
        self.positions: dict[TP, int] = {}

    async def on_assigned(self, assigned: set[TP]) -> Mapping[TP, int]:
        return self.starts

    def on_positions(self, positions: Mapping[TP, int]) -> None:
        self.positions.update(positions)

    async def settle(self) -> None:
        for tp, offset in self.handled.items():
            self.consumer.raise_floor(tp, offset)


class Bench:
    """One consumer, stock or ours, whose agent handles at once whatever is delivered."""

    def __init__(self, kind: str) -> None:
        self.ours = kind == "tidegate"
        connection = Connection("127.0.0.1:1")
        self.app = build_app(Role.INTAKE, connection) if self.ours else faust.App("stock", broker="kafka://127.0.0.1:1")
        self.app.finalize()
        self.host = self.app.host = FakeHost()
        self.thread = FakeThread()
        base = ChunkConsumer if self.ours else driver.Consumer

        class Consumer(base):
            def _new_consumer_thread(consumer) -> FakeThread:  # noqa: N805 - self is the bench
                return self.thread

        self.delivered: list[int] = []
        self.last: dict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.consumer = self.app.transport.Consumer = Consumer(
            self.app.transport, self.deliver, self.note, self.note, loop=asyncio.get_running_loop()
        )
        self.app.consumer = self.consumer
        self.app.topics._acking_topics.add(HERE.topic)
        self.host.consumer = self.consumer
        self.flow: list[bool] = []
        self.consumer._set_active_tps({HERE})
        self.consumer.resume_flow()

    async def deliver(self, message) -> None:
        """What conductor, stream and agent do with a message, all at once."""
        self.delivered.append(message.offset)
        self.last[message.offset].set()
        self.handle(message.offset, message)

    def handle(self, offset: int, message=None) -> None:
        message = message or self.consumer._to_message(HERE, record(offset))
        self.consumer.track_message(message)
        self.consumer.ack(message)
        self.host.handled[HERE] = offset + 1

    async def note(self, *_: object, **__: object) -> None:
        """Stands for the app's own callbacks: sees whether flow is on while they run."""
        self.flow.append(self.consumer.flow_active)

    async def drain(self, *polls: list[SimpleNamespace]) -> None:
        """Run the consumer's own loop until it has delivered the last record of the polls."""
        for records in polls:
            self.thread.polls.put_nowait({HERE: records})
        fetcher = Service.__new__(Service)
        fetcher._stopped = asyncio.Event()
        draining = asyncio.create_task(self.consumer._drain_messages(fetcher))
        async with asyncio.timeout(10):
            await self.last[polls[-1][-1].offset].wait()
        fetcher._stopped.set()
        await draining
