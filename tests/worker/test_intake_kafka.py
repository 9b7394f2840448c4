"""intake on a real broker: nothing is lost and nothing is twice, whatever is sent and whoever joins and leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry
from tests.worker.fakes import removed, told

from tidegate.broker import Connection, KafkaLog
from tidegate.kpi.columns import read
from tidegate.wire import nodeseconds
from tidegate.wire.telemetry import Telemetry, encode_json
from tidegate.worker import Role, Worker

pytestmark = pytest.mark.kafka

DEADLINE_S = 30.0


class Running:
    """One intake in this process, with a registry of its own."""

    def __init__(self, connection: Connection, instance: str) -> None:
        self.registry = CollectorRegistry()
        self.worker = Worker(Role.INTAKE, connection, instance=instance, registry=self.registry)
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.worker.run(self._stop))

    async def stop(self) -> None:
        self._stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await self._task

    async def until_read(self, number: int) -> None:
        await self._until(lambda: (told(self.registry, "tidegate_intake_messages_read_total") or 0) >= number)

    async def until_ready(self) -> None:
        await self._until(lambda: self.worker.not_ready() is None)

    async def _until(self, condition) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def intake(connection: Connection, instance: str) -> AsyncIterator[Running]:
    running = Running(connection, instance)
    try:
        yield running
    finally:
        await running.stop()


async def produce(connection: Connection, values: list[bytes | None], *, pause_s: float = 0.0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=connection.bootstrap, linger_ms=5, max_request_size=2 << 20)
    await producer.start()
    for at, value in enumerate(values):
        await producer.send(f"{connection.prefix}telemetry", value, key=b"%d" % at, partition=at % 12)
        if pause_s and at % 12 == 11:
            await asyncio.sleep(pause_s)
    await producer.stop()


async def rows_in(log: KafkaLog) -> list[tuple[str, int]]:
    """Return (node, seq) of every row that intake has passed on."""
    reader = await log.reader(["nodeseconds"])
    found = []
    for record in await reader.read_to_end():
        columns = read(nodeseconds.decode(record.value))
        names = columns.record.nodes
        found += [(names[node], seq) for node, seq in zip(columns.node.tolist(), columns.seq.tolist(), strict=True)]
    await reader.close()
    return found


def row_of(number: int) -> Telemetry:
    return Telemetry(node=f"n{number % 40}", service=f"s{number % 7}", boot="b", seq=number + 1, version="v", start_ms=1_000)


async def test_a_partition_whose_unread_rows_retention_removed_is_at_its_end_and_marked(connection, log):
    """The client went to the end in silence, intake waited for ever for what was gone, and no pane of any service closed (A3)."""
    values = [encode_json(row_of(number)) for number in range(24)]
    await produce(connection, values[:12])
    async with intake(connection, "intake-0") as first:
        await first.until_read(12)
    await produce(connection, values[12:])
    await removed(connection, "telemetry", 3, 2)
    reader = await log.reader(["nodeseconds"], start="latest")
    marks: dict[int, int] = {}
    async with intake(connection, "intake-0"), asyncio.timeout(DEADLINE_S):
        while len(marks) < 12:
            for record in await reader.poll(0.2):
                marks |= nodeseconds.decode(record.value).marks
    await reader.close()
    assert len(await rows_in(log)) == 23


async def test_a_join_and_a_leave_repeat_no_row_and_lose_none(connection, log):
    """Stock Faust repeats what it has handled since its last commit."""
    values = [encode_json(row_of(number)) for number in range(3_600)]
    async with intake(connection, "intake-0") as first:
        await first.until_ready()
        sending = asyncio.create_task(produce(connection, values, pause_s=0.015))
        await first.until_read(600)
        async with intake(connection, "intake-1") as second:
            await second.until_read(300)
            second.worker.leave()
        await sending
        rest = 3_600 - told(second.registry, "tidegate_intake_messages_read_total")
        await first.until_read(rest)
    assert sorted(await rows_in(log)) == sorted((f"n{number % 40}", number + 1) for number in range(3_600))
