"""intake on a real broker: nothing is lost and nothing is twice, whatever is sent and whoever joins and leaves."""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry
from tests.worker.fakes import told

from tidegate.broker import Connection, KafkaLog
from tidegate.kpi.columns import read
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed
from tidegate.wire.telemetry import Histogram, Slice, Telemetry, decode, encode_json, encode_msgpack
from tidegate.worker import Role, Worker

pytestmark = pytest.mark.kafka

MESSAGES = 20_000
DEADLINE_S = 30.0
FIELD = re.compile(rb'"(requests|seq|start_ms|load|node|offset)":[^,}]+')
HOSTILE = [
    *(b"NaN", b"Infinity", b"1e308", b"-1e308", b"1e999", b"-1", b"0.5", b"99999999999999999999", b"4294967295"),
    *(b"null", b"true", b"{}", b'"7"', b'"\\ud800"', b'"\xed\xa0\x80"', b'"%b"' % (b"x" * 5_000), b"[" * 3_000 + b"]" * 3_000),
]


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


def fuzzed(source: random.Random, number: int) -> bytes | None:
    """Return a message: good, or good and bent, or noise."""
    row = Telemetry(
        node=f"n{number % 40}",
        service=f"s{number % 7}",
        boot="b",
        seq=number + 1,
        version="v",
        start_ms=1_000,
        requests=source.randrange(1_000),
        latency=Histogram(source.randrange(-80, 0), [source.randrange(100_000) for _ in range(source.randrange(80))]),
        gauges={"load": source.random()},
        slices={"route=/": Slice(requests=1, latency=Histogram(0, [1]))},
    )
    data = bytearray(encode_json(row) if source.random() < 0.5 else encode_msgpack(row))
    kind = source.randrange(8)
    if kind == 0:
        for _ in range(source.randrange(1, 6)):
            data[source.randrange(len(data))] = source.randrange(256)
    elif kind == 1:
        del data[source.randrange(len(data)) :]
    elif kind == 2:
        at = source.randrange(len(data))
        data[at:at] = source.randbytes(source.randrange(1, 20))
    elif kind == 3:
        return source.choice([None, b"", b"{}", b"[" * 3_000, b"null", b"\xc1", source.randbytes(50)])
    elif kind == 5:
        fields = list(FIELD.finditer(encode_json(row)))
        field = source.choice(fields)
        begin, _, _ = field[0].partition(b":")
        return encode_json(row).replace(field[0], begin + b":" + source.choice(HOSTILE), 1)
    elif kind == 4 and source.random() < 0.01:
        return bytes(300_000)
    return bytes(data)


def readable(value: bytes | None) -> tuple[str, int] | None:
    try:
        row = decode(value or b"")
    except Malformed:
        return None
    return row.node, row.seq


async def test_of_20_000_fuzzed_messages_each_is_accepted_or_a_dead_letter(connection, log, capsys):
    source = random.Random(20_000)
    values = [fuzzed(source, number) for number in range(MESSAGES)]
    good = sorted(row for row in map(readable, values) if row is not None)
    async with intake(connection, "intake-0") as running:
        await produce(connection, values)
        await running.until_read(MESSAGES)
    assert sorted(await rows_in(log)) == good
    reader = await log.reader(["deadletters"])
    letters = await reader.read_to_end()
    await reader.close()
    origins = {(letter.headers["origin-partition"], letter.headers["origin-offset"]) for letter in letters}
    assert len(letters) == len(origins) == MESSAGES - len(good)
    assert sorted(letter.value or b"" for letter in letters) == sorted(
        value or b"" for value in values if readable(value) is None
    )
    assert all(letter.headers["reason"] for letter in letters)
    accepted = told(running.registry, "tidegate_intake_rows_accepted_total")
    dead = sum(
        sample.value
        for metric in running.registry.collect()
        for sample in metric.samples
        if sample.name == "tidegate_deadletters_total"
    )
    assert (accepted, dead) == (len(good), MESSAGES - len(good))
    with capsys.disabled():
        print(f"\n{MESSAGES} sent: {accepted:.0f} accepted, {dead:.0f} dead letters", end=" ")  # noqa: T201


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
