"""A storm of telemetry: a sender gone wild floods the topic as fast as the broker takes it, rows, repeats and rubbish mixed.

What is shown: the memory of the workers reaches a bound and stays there (the second half of the storm adds nothing), the control
path (the author's heartbeat on ``desired``) does not feel it, no author is replaced, no row of the honest fleet is lost, and the
lag is gone soon after the storm.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from tests.bench.measure import rss_mib
from tests.prove.kit import Fleet, Kpis, Program, beside, hold, installation, running_broker, until

from tidegate.broker import Connection, KafkaLog
from tidegate.kpi.clock import GRACE_MS
from tidegate.wire.telemetry import Histogram, Telemetry, encode_msgpack

MESSAGES = 1_500_000
"""In each half."""
CALM_S = 10
BEAT_MOST_S = 6.0
"""The heartbeat is due every 3 s, and another author claims after 9 s of silence."""
GROWTH_MOST_MIB = 60
"""In the second half. The first fills buffers that have a bound each: what is fetched, unpacked, packed and not answered yet."""
BACK_MOST_S = 60.0


def prove(folder: Path) -> dict[str, Any]:
    return asyncio.run(_prove(folder))


async def _prove(folder: Path) -> dict[str, Any]:
    kpis = Kpis()
    async with running_broker(folder) as broker, installation(broker, folder) as (connection, log, programs):
        fleet, watch = Fleet(connection, 4, 25), _Watch(programs)
        async with beside(kpis.follow(log), watch.beats(log), watch.memory()):
            fleet.start()
            await asyncio.sleep(CALM_S)
            before = dict(watch.most_mib)
            began_s = time.time()
            await asyncio.to_thread(_storm, connection)
            half = dict(watch.most_mib)
            await asyncio.to_thread(_storm, connection)
            ended_s = time.time()
            await until(lambda: _lag_ms(kpis) < 2_000, BACK_MOST_S, "a lag of less than 2 s after the storm")
            back_s = time.time() - ended_s
            await asyncio.to_thread(fleet.stop)
            wanted = {key for key in fleet.told if key[1] < max(end for _, end in fleet.told)}
            await until(lambda: wanted <= kpis.panes().keys(), 60, "the KPIs of the honest fleet")
    panes = kpis.panes()
    lost = {key for key in wanted if panes[key]["nodes"] + panes[key]["late_rows"] < fleet.told[key][0]}
    growth = {name: round(watch.most_mib[name] - half[name]) for name in programs}
    hold(not lost, f"{len(lost)} seconds of the honest fleet lack rows: {sorted(lost)[:3]}")
    hold(max(watch.gaps_s) < BEAT_MOST_S, f"the author was silent for {max(watch.gaps_s):.1f} s")
    hold(watch.authors == 1, f"{watch.authors} authors beat: one was replaced")
    hold(max(growth.values()) < GROWTH_MOST_MIB, f"memory grew by {growth} MiB in the second half of the storm")
    return {
        "storm_messages": 2 * MESSAGES,
        "storm_messages_per_s": round(2 * MESSAGES / (ended_s - began_s)),
        "lag_gone_after_s": round(back_s, 1),
        "heartbeat_gap_s": {"p50": round(sorted(watch.gaps_s)[len(watch.gaps_s) // 2], 1), "max": round(max(watch.gaps_s), 1)},
        "memory_mib": {
            name: {"calm": round(before[name]), "first_half": round(half[name]), "second_half": round(watch.most_mib[name])}
            for name in programs
        },
        "honest_rows": fleet.rows,
        "honest_rows_late": sum(kpi["late_rows"] for kpi in panes.values() if kpi["service"].startswith("service-")),
    }


class _Watch:
    """The author's heartbeats and the memory of each role, as they come."""

    def __init__(self, programs: dict[str, Program]) -> None:
        self._programs = programs
        self.gaps_s: list[float] = []
        self.most_mib = dict.fromkeys(programs, 0.0)
        self._claims: set[str] = set()

    @property
    def authors(self) -> int:
        return len(self._claims)

    async def beats(self, log: KafkaLog) -> None:
        reader, last_ms = await log.reader(["desired"]), 0
        while True:
            for record in await reader.poll(0.2):
                if record.key == "heartbeat":
                    self.gaps_s += [(record.time_ms - last_ms) / 1_000] if last_ms else []
                    last_ms = record.time_ms
                elif record.key is not None and record.key.startswith("claim/"):
                    self._claims.add(record.key)

    async def memory(self) -> None:
        while True:
            for name, program in self._programs.items():
                if program.alive:
                    self.most_mib[name] = max(self.most_mib[name], rss_mib(program.pid))
            await asyncio.sleep(0.2)


def _lag_ms(kpis: Kpis) -> float:
    newest_ms = max((end for service, end in kpis.panes() if service.startswith("service-")), default=0)
    return time.time() * 1_000 - newest_ms - GRACE_MS


def _storm(connection: Connection) -> None:
    """One service of 200 nodes, each saying the same ten seconds again and again, and every tenth message is rubbish."""
    producer = Producer(
        {
            "bootstrap.servers": connection.bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "compression.type": "zstd",
            "queue.buffering.max.messages": 200_000,
        }
    )
    start_ms = int(time.time()) * 1_000
    values = [
        encode_msgpack(
            Telemetry(
                node=f"wild-{node}",
                service="wild",
                boot="b",
                seq=second + 1,
                version="v1",
                start_ms=start_ms + second * 1_000,
                requests=9,
                latency=Histogram(-40, [1] * 9),
            )
        )
        for second in range(10)
        for node in range(200)
    ]
    values = [value if number % 10 else b"{rubbish" for number, value in enumerate(values)]
    for number in range(MESSAGES):
        while True:
            try:
                producer.produce(f"{connection.prefix}telemetry", values[number % len(values)], key=str(number % 200))
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush(60)
