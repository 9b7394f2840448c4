"""A producer whose answers the test gives, a consumer that remembers the floor, and retention that comes when it is called."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import MessageSizeTooLargeError
from faust.types import TP
from prometheus_client import CollectorRegistry

from tidegate.broker import Connection

FLUSH = 12


class FakeProducer:
    """Takes messages in order; answers come when the test says, or at once with one append time."""

    def __init__(self) -> None:
        self.sent: list[SimpleNamespace] = []
        self.answers_at_once: int | None = None
        self.full = asyncio.Event()
        """A whole flush was sent."""

    async def send(self, topic, value, *, key, partition, headers, timestamp_ms):
        answer = asyncio.get_running_loop().create_future()
        self.sent.append(SimpleNamespace(topic=topic, value=value, key=key, partition=partition, headers=headers, answer=answer))
        if len(self.sent) == FLUSH:
            self.full.set()
        if self.answers_at_once is not None:
            answer.set_result(SimpleNamespace(timestamp=self.answers_at_once))
        return answer

    def of(self, topic: str) -> list[SimpleNamespace]:
        return [message for message in self.sent if message.topic == topic]

    async def answer(self, messages: Iterable[SimpleNamespace], time_ms: int = 1) -> None:
        for message in messages:
            message.answer.set_result(SimpleNamespace(timestamp=time_ms))
        await asyncio.sleep(0)

    async def refuse(self, message: SimpleNamespace) -> None:
        message.answer.set_exception(MessageSizeTooLargeError("10 bytes"))
        await asyncio.sleep(0)


class FakeConsumer:
    """What a role asks of its consumer."""

    def __init__(self) -> None:
        self.flow_active = True
        self.floor: dict[TP, int] = {}
        self.ends: dict[TP, int] = {}
        self.asked = asyncio.Event()

    def raise_floor(self, tp: TP, offset: int) -> None:
        self.floor[tp] = max(offset, self.floor.get(tp, 0))

    def highwater(self, tp: TP) -> int | None:
        return None

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        self.asked.set()
        return {tp: self.ends[tp] for tp in tps}


def telemetry(tp: TP, offset: int, value: bytes | None, time_ms: int) -> SimpleNamespace:
    return SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=offset, key=b"k", value=value, timestamp=time_ms)


def told(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """What a metric says."""
    return registry.get_sample_value(name, labels)


async def removed(connection: Connection, topic: str, partition: int, before: int) -> None:
    """Remove the records of a partition before an offset, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(f"{connection.prefix}{topic}", partition): RecordsToDelete(before)})
    finally:
        await admin.close()
