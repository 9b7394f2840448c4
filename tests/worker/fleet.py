"""A small fleet that sends telemetry at its true seconds, workers as processes, and what the KPIs must be."""

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np

from tidegate.broker import Connection, KafkaLog
from tidegate.kpi.buckets import quantile_s
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SLOTS, Histogram, Telemetry, encode_json, encode_msgpack

MAIN = Path(__file__).with_name("worker_main.py")
ROOTS = ("schemas", "streams", "agents")
SERVICES = ("shop", "cart", "search")
NODES = 8
DEADLINE_S = 30.0


class Process:
    """One worker."""

    def __init__(self, role: str, connection: Connection) -> None:
        self._arguments = (str(MAIN), role, connection.bootstrap, connection.prefix)

    async def start(self) -> None:
        top = Path(__file__).parents[2]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(top / root) for root in ROOTS)}
        self._process = await asyncio.create_subprocess_exec(sys.executable, *self._arguments, env=environment)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        self._process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            return await self._process.wait()


@asynccontextmanager
async def workers(connection: Connection) -> AsyncIterator[dict[str, Process]]:
    """Run both workers."""
    both = {role: Process(role, connection) for role in ("intake", "judge")}
    for process in both.values():
        await process.start()
    try:
        yield both
    finally:
        for process in both.values():
            if process._process.returncode is None:
                await process.kill()


class Fleet:
    """Every node of every service sends one row a second, just after the second: half JSON, half MessagePack."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._random = np.random.default_rng(7)
        self.seconds: list[int] = []
        self.expected: dict[tuple[str, int], Telemetry] = {}
        """(service, end of the second) to the sum of its rows, as one row."""

    async def run(self, seconds: int) -> None:
        begin = int(time.time()) + 1
        for seq, second in enumerate(range(begin, begin + seconds), 1):
            await asyncio.sleep(max(0.0, second + 1 - time.time()))
            rows = [self._row(service, f"{service}-{node}", seq, second) for service in SERVICES for node in range(NODES)]
            await asyncio.gather(*(self._send(row, at) for at, row in enumerate(rows)))
            self._expect(rows)
            self.seconds.append(second)

    def _row(self, service: str, node: str, seq: int, second: int) -> Telemetry:
        counts = self._random.integers(0, 70, size=30).tolist()
        requests = sum(counts)
        errors = int(self._random.integers(0, requests + 1))
        latency = Histogram(-60, counts)
        return Telemetry(
            node=node,
            service=service,
            boot="b1",
            seq=seq,
            version="v1",
            start_ms=second * 1000,
            requests=requests,
            errors=errors,
            latency=latency,
        )

    async def _send(self, row: Telemetry, at: int) -> None:
        await self._log.append("telemetry", row.node, encode_json(row) if at % 2 else encode_msgpack(row))

    def _expect(self, rows: list[Telemetry]) -> None:
        sums: dict[str, list[Telemetry]] = defaultdict(list)
        for row in rows:
            sums[row.service].append(row)
        for service, found in sums.items():
            counts = np.sum([row.latency.values() for row in found], axis=0).tolist()
            self.expected[service, found[0].start_ms + 1000] = Telemetry(
                node="-",
                service=service,
                boot="-",
                seq=1,
                version="v1",
                start_ms=found[0].start_ms,
                requests=sum(row.requests for row in found),
                errors=sum(row.errors for row in found),
                latency=Histogram(-60, counts),
            )

    def differences(self, kpis: list[dict]) -> list[str]:
        """Say what differs between the 1 s KPIs of these services and a direct computation."""
        found = {(kpi["service"], kpi["end_ms"]): kpi for kpi in kpis if kpi["window_s"] == 1}
        told = []
        for key, row in self.expected.items():
            slots = np.zeros(HISTOGRAM_SLOTS, dtype=int)
            first = row.latency.offset - HISTOGRAM_OFFSET
            slots[first : first + len(row.latency.counts)] = row.latency.counts
            expected = {"requests": row.requests, "errors": row.errors, "nodes": NODES, "version": "v1"}
            expected |= {f"p{percent}_ms": round(quantile_s(slots.tolist(), percent / 100) * 1000, 3) for percent in (50, 95, 99)}
            kpi = found.get(key, {})
            if any(kpi.get(name) != value for name, value in expected.items()):
                told.append(f"{key}: {expected} is { ({name: kpi.get(name) for name in expected}) }")
        return told


async def kpis_until(log: KafkaLog, end_ms: int) -> list[tuple[int, dict]]:
    """Return every KPI record so far, with its time, once all services have the second that ends at ``end_ms``."""
    reader = await log.reader(["kpis"])
    found: list[tuple[int, dict]] = []
    waiting = set(SERVICES)
    async with asyncio.timeout(DEADLINE_S):
        while waiting:
            for record in await reader.poll(0.2):
                kpi = msgspec.json.decode(record.value)
                found.append((record.time_ms, kpi))
                if kpi["window_s"] == 1 and kpi["end_ms"] >= end_ms:
                    waiting.discard(kpi["service"])
    await reader.close()
    return found
