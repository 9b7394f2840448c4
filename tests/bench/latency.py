"""When KPIs are there for whoever reads them, on the same machine's clock as the fleet's."""

import asyncio
import time

import msgspec
from tests.bench.rows import SERVICES

from tidegate.broker import Connection, KafkaLog

WITHIN_S = 60.0


async def kpis_seen_ms(connection: Connection, seconds: int) -> dict[int, int]:
    """Follow ``kpis`` until so many seconds have come whole; return the end of each and when the last service's KPI was read."""
    log = KafkaLog(connection, client_id="bench")
    reader = await log.reader(["kpis"])
    services: dict[int, set[str]] = {}
    seen: dict[int, int] = {}
    try:
        async with asyncio.timeout(seconds + WITHIN_S):
            while len(seen) < seconds:
                for record in await reader.poll(0.05):
                    kpi = msgspec.json.decode(record.value or b"")
                    if kpi["window_s"] == 1:
                        services.setdefault(kpi["end_ms"], set()).add(kpi["service"])
                        if len(services[kpi["end_ms"]]) == SERVICES:
                            seen.setdefault(kpi["end_ms"], time.time_ns() // 1_000_000)
    finally:
        await reader.close()
        await log.close()
    return seen
