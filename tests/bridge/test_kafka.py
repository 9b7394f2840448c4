"""Stock SDKs, their exporter, the real bridge, real Kafka, the real intake and judge: what comes out is what was counted."""

import asyncio
import contextlib
import json

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import CollectorRegistry
from tests.bridge.fleet import P99_S, StockService, within
from tests.bridge.kit import Rows, bridge, counts_of, settled, total, until
from tests.otlp.stock import BOUNDS_S, CUMULATIVE, DELTA, EXPLICIT, EXPONENTIAL, Service, as_json

from tidegate.bridge import Encoding
from tidegate.broker.local import free_ports
from tidegate.kpi.buckets import RELATIVE_ERROR, quantile_s
from tidegate.worker import Role, Worker

pytestmark = pytest.mark.kafka

KINDS = {
    "cumulative-explicit": (CUMULATIVE, EXPLICIT),
    "cumulative-exponential": (CUMULATIVE, EXPONENTIAL),
    "delta-explicit": (DELTA, EXPLICIT),
    "delta-exponential": (DELTA, EXPONENTIAL),
}


@contextlib.asynccontextmanager
async def workers(connection):
    """The real intake and judge."""
    stop = asyncio.Event()
    roles = [Worker(role, connection, instance=role.value, registry=CollectorRegistry()) for role in (Role.INTAKE, Role.JUDGE)]
    running = [asyncio.create_task(one.run(stop)) for one in roles]
    try:
        await until(lambda: all(one.not_ready() is None for one in roles), "partitions")
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)


class Kpis:
    """Windows of a second and of ten by service, each once."""

    def __init__(self, reader) -> None:
        self._reader = reader
        self.seen: dict[tuple[str, int, int], dict] = {}

    async def read(self) -> "Kpis":
        for record in await self._reader.read_to_end():
            one = json.loads(record.value)
            self.seen[one["service"], one["window_s"], one["end_ms"]] = one
        return self

    def of(self, service: str, window_s: int) -> list[dict]:
        return [one for (name, seconds, _), one in self.seen.items() if (name, seconds) == (service, window_s)]

    def sum(self, service: str, field: str) -> int:
        return sum(one[field] for one in self.of(service, 1))


async def test_what_stock_sdks_count_becomes_kpis_over_restarts_of_processes_and_of_the_bridge(connection, log, tmp_path, say):
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/v1/metrics"
    async with workers(connection):
        reader = await log.reader(["kpis"])
        kpis, rows, services = Kpis(reader), Rows(log), []

        async def serve(seconds: float) -> None:
            """Ten requests of each, ten times a second."""
            for _ in range(round(seconds * 10)):
                for service in services:
                    service.serve(10)
                await asyncio.sleep(0.1)

        async with bridge(connection, tmp_path, port=port):
            services += [StockService(url, name, *how) for name, how in KINDS.items()]
            await serve(4)
            await asyncio.gather(*(service.restart() for service in services))
            await serve(3)
        await serve(0.5)  # exports are refused meanwhile, and the SDK tries again
        async with bridge(connection, tmp_path, port=port) as second:
            await serve(4)
            await asyncio.gather(*(service.stop() for service in services))
            await settled(rows)
            assert second.told("rows_dropped_total") == 0
        await until(lambda: _read_to_end_of(kpis, rows), "panes of every row")
        for service in services:
            mine = rows.of(service.name)
            seconds = {row.seq for row in mine}
            missed = max(seconds) - min(seconds) + 1 - len(seconds)
            requests, errors, judged = total(mine), total(mine, "errors"), kpis.sum(service.name, "requests")
            late, most = kpis.sum(service.name, "late_rows"), max(row.requests for row in mine)
            say(
                f"{service.name}: {service.requests} requests, {requests} in rows, {judged} in KPIs; {missed} seconds without "
                f"a bridge, {late} rows late"
            )
            # Nothing is doubled; what is lost is what fell into the seconds in which no bridge ran.
            assert service.requests - missed * most <= requests <= service.requests
            assert service.errors - missed * most <= errors <= service.errors
            assert requests - late * most <= judged <= requests
            bounds = BOUNDS_S if service.name.endswith("explicit") else None
            told = [one["p99_ms"] / 1000 for one in kpis.of(service.name, 10) if one["requests"] >= 200]
            assert told, service.name
            for p99_s in (quantile_s(counts_of(mine), 0.99), *told):
                assert within(p99_s, P99_S, bounds, RELATIVE_ERROR), (service.name, p99_s, P99_S)
        await reader.close()
        await rows.close()


async def _read_to_end_of(kpis, rows) -> bool:
    last_ms = max(row.start_ms + 1_000 for row in rows.seen.values() if row.requests)
    await kpis.read()
    return all(max((end for name, s, end in kpis.seen if (name, s) == (kind, 1)), default=0) >= last_ms for kind in KINDS)


@contextlib.asynccontextmanager
async def collector(connection, topics):
    """What a collector's kafkaexporter does: no key, any partition."""
    admin = AIOKafkaAdminClient(**connection.arguments())
    await admin.start()
    await admin.create_topics([NewTopic(name, 3, 1) for name in topics])
    await admin.close()
    producer = AIOKafkaProducer(**connection.arguments())
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def begun(producer, one, topics) -> None:
    """Write requests without anything until a bridge reads the topics, from where they end."""
    nothing = {Encoding.JSON: b"{}", Encoding.PROTO: b""}
    while not all(one.told("messages_total", topic=name) for name in topics):
        for name, encoding in topics.items():
            await producer.send_and_wait(name, nothing[encoding], partition=0)
        await asyncio.sleep(0.2)


async def test_what_collectors_write_is_counted_once_whoever_reads_it(connection, log, tmp_path, say):
    """Both encodings, unkeyed; a second bridge comes, the first one leaves; messages are written twice, and one is nonsense."""
    proto, text = f"{connection.prefix}collected-proto", f"{connection.prefix}collected-json"
    topics = {proto: Encoding.PROTO, text: Encoding.JSON}
    services = [(name, Service(*how, service_name=name, service_instance_id=name)) for name, how in KINDS.items()]
    counted, written, rows = 0, 0, Rows(log)
    async with collector(connection, topics) as producer, contextlib.AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(contextlib.AsyncExitStack())
        first = await leaving.enter_async_context(bridge(connection, tmp_path, topics))
        await begun(producer, first, topics)
        for number in range(40):
            for at, (_, service) in enumerate(services):
                for _ in range(5):
                    service.request(0.02, 500 if number % 4 == 0 else 200)
                data = service.export()
                topic, value = ((proto, data), (text, as_json(data)))[(number + at) % 2]
                for _ in range(1 + (number % 7 == 0)):
                    written += 1
                    await producer.send_and_wait(topic, value, partition=written % 3)
            counted += 5
            if number == 10:
                await producer.send_and_wait(text, b"no request", key=b"k", partition=1)
            if number == 12:
                second = await stack.enter_async_context(bridge(connection, tmp_path, topics))
            if number == 26:
                await leaving.aclose()
            await asyncio.sleep(0.1)
        await until(lambda: first.told("exports_total") + second.told("exports_total") >= written, "every message")
        await settled(rows, 3)
        assert second.told("rows_total") > 0
    for name, service in services:
        service.close()
        mine = rows.of(name)
        seconds = {row.seq for row in mine}
        missed = max(seconds) - min(seconds) + 1 - len(seconds)
        say(f"{name} from a collector's topics: {counted} requests, {total(mine)} in rows, {missed} seconds without a bridge")
        assert counted - missed * max(row.requests for row in mine) <= total(mine) <= counted
        assert total(mine, "errors") <= 10 * 5
    reader = await log.reader(["deadletters"])
    (letter,) = await reader.read_to_end()
    assert (letter.key, letter.value, letter.headers["origin-topic"]) == (text, b"no request", text.encode())
    assert b"JSON" in letter.headers["reason"]
    await reader.close()
    await rows.close()
