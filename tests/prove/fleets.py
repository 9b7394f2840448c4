"""Fleets of different shapes at one row a second and node, all roles on this machine: lag, and the CPU share of each role."""

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.bench.measure import cpu_s, rss_mib
from tests.prove.kit import Fleet, Kpis, beside, hold, installation, running_broker, until

from tidegate.broker import KafkaProcess
from tidegate.kpi.clock import GRACE_MS

SHAPES = {"3,000 nodes of one service": (1, 3_000), "500 services of 4 nodes": (500, 4), "10,000 nodes of 20 services": (20, 500)}
START_S, WARM_UP_S = 5, 15
MEASURE_S = 40
LAG_MOST_MS = 2_000


def prove(folder: Path) -> dict[str, Any]:
    return asyncio.run(_prove(folder))


async def _prove(folder: Path) -> dict[str, Any]:
    async with running_broker(folder) as broker:
        return {what: await _measure(broker, folder, *shape) for what, shape in SHAPES.items()}


async def _measure(broker: KafkaProcess, folder: Path, services: int, nodes: int) -> dict[str, Any]:
    kpis = Kpis()
    async with installation(broker, folder) as (connection, log, programs), beside(kpis.follow(log)):
        fleet = Fleet(connection, services, nodes)
        await asyncio.sleep(START_S)
        fleet.start()
        await asyncio.sleep(WARM_UP_S)
        pids = {name: program.pid for name, program in programs.items()} | {"broker": broker.pid}
        begin_s, before = time.time(), {name: cpu_s(pid) for name, pid in pids.items()}
        await asyncio.sleep(MEASURE_S)
        end_s, after = time.time(), {name: cpu_s(pid) for name, pid in pids.items()}
        memory = {name: round(rss_mib(pid)) for name, pid in pids.items()}
        await asyncio.to_thread(fleet.stop)
        wanted = {key for key in fleet.told if key[1] <= end_s * 1_000 - 3_000}
        await until(lambda: wanted <= kpis.panes().keys(), 30, f"KPIs of {services} services")
    return _figures(fleet, kpis, (begin_s, end_s)) | {
        "cpu_percent_of_one_core": {name: round((after[name] - before[name]) / (end_s - begin_s) * 100, 1) for name in pids},
        "rss_mib": memory,
    }


def _figures(fleet: Fleet, kpis: Kpis, between_s: tuple[float, float]) -> dict[str, Any]:
    panes = kpis.panes()
    wrong = {key for key, told in fleet.told.items() if key in panes and panes[key]["nodes"] + panes[key]["late_rows"] != told[0]}
    hold(not wrong, f"{len(wrong)} seconds have not the rows that were sent: {sorted(wrong)[:3]}")
    lags_ms = sorted(
        kpis.first_s[kpi["id"]] * 1_000 - kpi["end_ms"] - GRACE_MS
        for kpi in panes.values()
        if between_s[0] * 1_000 <= kpi["end_ms"] <= between_s[1] * 1_000 - 3_000
    )
    hold(
        bool(lags_ms) and lags_ms[-1] < LAG_MOST_MS,
        f"a KPI came {lags_ms[-1] if lags_ms else 0:.0f} ms after its second and grace",
    )
    return {
        "rows_per_s": round(fleet.rows / len({end for _, end in fleet.told})),
        "kpis": len(lags_ms),
        "lag_ms": {
            "p50": round(lags_ms[len(lags_ms) // 2]),
            "p95": round(lags_ms[int(0.95 * len(lags_ms))]),
            "max": round(lags_ms[-1]),
        },
        "rows_late": sum(kpi["late_rows"] for kpi in panes.values()),
    }
