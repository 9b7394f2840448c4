"""A bridge in this process, and what comes out of it."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from tidegate.api.tokens import Tokens
from tidegate.bridge import Collected, Converter, Encoding, Metrics, Receiver, Sorter, received
from tidegate.broker import Connection, KafkaLog
from tidegate.broker.local import free_ports
from tidegate.otlp.identity import NODE_FROM
from tidegate.ports import SystemClock
from tidegate.runtime.settings import BridgeSettings
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SLOTS, Telemetry, decode

DEADLINE_S = 60.0


async def until(condition, what: str) -> None:
    """Wait for a condition, which may be a coroutine function."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(what)


class Bridge:
    """One bridge. ``url`` is where it takes OTLP."""

    def __init__(self, connection: Connection, folder: Path, topics: Mapping[str, Encoding], port: int) -> None:
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry)
        self._log = KafkaLog(connection, client_id="bridge", send_timeout_s=5.0)
        self._clock = SystemClock()
        sorter = Sorter(self._log, self._metrics, NODE_FROM)
        self.converter = Converter(connection, self._log, self._clock, self._metrics)
        self._collected = Collected(connection, topics, self._log, sorter, self._metrics)
        self._tokens = Tokens(folder / "bridge-tokens.yaml", self._clock)
        self._receiver = Receiver(sorter, self._tokens, self._metrics)
        self._settings = BridgeSettings(port=port)

    def told(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"tidegate_bridge_{name}", labels) or 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Bridge"]:
        tasks = [asyncio.create_task(self.converter.run()), asyncio.create_task(self._collected.run())]
        try:
            async with received(self._receiver, self._tokens, self._settings) as self.url:
                await until(lambda: tasks[0].done() or self.converter.not_ready() is None, "partitions")
                yield self
        finally:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            await self._log.close()
            for one in done:
                if isinstance(one, Exception):
                    raise one


@contextlib.asynccontextmanager
async def bridge(connection: Connection, folder: Path, topics: Mapping[str, Encoding] | None = None, port: int = 0):
    """A running bridge; ``port``: of its server, any free one unless said."""
    async with Bridge(connection, folder, topics or {}, port or free_ports(1)[0]).running() as found:
        yield found


class Rows:
    """The rows that a bridge has sent, each once, as the judge would see them (A1)."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._reader = None
        self.seen: dict[tuple[str, str, str, int], Telemetry] = {}
        self.repeated = 0

    async def read(self) -> "Rows":
        self._reader = self._reader or await self._log.reader(["telemetry"])
        for record in await self._reader.read_to_end():
            row = decode(record.value)
            key = (row.node, row.service, row.boot, row.seq)
            self.repeated += key in self.seen
            self.seen.setdefault(key, row)
        return self

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()

    def of(self, service: str) -> list[Telemetry]:
        return [row for row in self.seen.values() if row.service == service]


def counts_of(rows: list[Telemetry]) -> list[int]:
    """Latencies of rows, by slot."""
    found = Counter[int]()
    for row in rows:
        if row.latency is not None:
            found.update(dict(enumerate(row.latency.values(), row.latency.offset)))
    return [found[HISTOGRAM_OFFSET + slot] for slot in range(HISTOGRAM_SLOTS)]


def total(rows: list[Telemetry], field: str = "requests") -> int:
    return sum(getattr(row, field) for row in rows)


async def settled(rows: Rows, seconds: int = 2) -> None:
    """Wait until every second up to now has had its rows."""
    until_s = int(time.time()) + seconds
    await until(lambda: time.time() > until_s + 1.5, "time")
    await rows.read()
