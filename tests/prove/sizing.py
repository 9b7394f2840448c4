"""What 1,000 nodes cost: bytes that the broker keeps for each topic, and CPU and memory of each role, at one row a second.

Each node runs one service and has a producer of its own, so a batch has one row: that is how it compresses on a real fleet.
Beside the SDK's row stands the liveness row of the node agent, as while a rollout knows the service (A5). Bytes are those of the
log files.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer
from tests.bench.measure import cpu_s, rss_mib
from tests.prove.kit import Fleet, hold, installation, running_broker

from tidegate.broker import Connection
from tidegate.wire.telemetry import ServiceState, Source, Telemetry, encode_json, encode_msgpack
from tidegate.wire.topics import TELEMETRY_PARTITIONS, TOPICS, Topic

SERVICES, NODES = 20, 50
START_S, WARM_UP_S = 5, 20
MEASURE_S = 60
DAY_S = 86_400
TAKEN_AT_LEAST = 0.95
"""Of the rows that were due: a machine that is busy with other things measures itself."""


class Lone(Fleet):
    """Every row is a batch, and MessagePack, as the SDK sends it; an agent's row goes with each."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, SERVICES, NODES)
        self._producer = Producer(
            {
                "bootstrap.servers": connection.bootstrap,
                "linger.ms": 0,
                "batch.num.messages": 1,
                "compression.type": "zstd",
                "log_level": 0,
            }
        )
        self.bytes: dict[str, list[int]] = {"sdk, MessagePack": [], "sdk, JSON": [], "agent, MessagePack": []}

    def _second(self, seq: int, second: int) -> None:
        for number, (service, node) in enumerate(self._names):
            same: dict[str, Any] = {"node": node, "service": service, "seq": seq, "version": "v1", "start_ms": second * 1_000}
            at = (number + 7 * seq) % len(self._latencies)
            row = Telemetry(
                **same,
                boot="1a2b3c4d",
                requests=self._requests[at],
                latency=self._latencies[at],
                gauges={"cpu": 0.41, "rss_mib": 312.0},
            )
            agent = Telemetry(**same, boot="agent-1a2b", source=Source.AGENT, state=ServiceState.READY)
            for one in (row, agent):
                self._producer.produce(self._topic, encode_msgpack(one), key=node)
            for name, value in zip(self.bytes, (encode_msgpack(row), encode_json(row), encode_msgpack(agent)), strict=True):
                self.bytes[name].append(len(value))
            self._producer.poll(0)
            time.sleep(max(0.0, second + 1 + number / len(self._names) - time.time()))
        self.rows += 2 * len(self._names)


def prove(folder: Path) -> dict[str, Any]:
    return asyncio.run(_prove(folder))


async def _prove(folder: Path) -> dict[str, Any]:
    async with running_broker(folder) as broker, installation(broker, folder) as (connection, _, programs):
        fleet = Lone(connection)
        await asyncio.sleep(START_S)
        fleet.start()
        await asyncio.sleep(WARM_UP_S)
        pids = {name: program.pid for name, program in programs.items()} | {"broker": broker.pid}
        began_s, before, cpu = time.time(), _kept(folder, connection), {name: cpu_s(pid) for name, pid in pids.items()}
        rows = await _rows(connection)
        await asyncio.sleep(MEASURE_S)
        took_s, after, rows = time.time() - began_s, _kept(folder, connection), await _rows(connection) - rows
        roles = {
            name: {"cpu_percent_of_one_core": round((cpu_s(pid) - cpu[name]) / took_s * 100, 1), "rss_mib": round(rss_mib(pid))}
            for name, pid in pids.items()
        }
        await asyncio.to_thread(fleet.stop)
    grown = {topic.name: (after[topic.name] - before[topic.name]) / took_s for topic in TOPICS if not topic.compacted}
    due = 2 * SERVICES * NODES * took_s
    hold(rows >= TAKEN_AT_LEAST * due, f"the broker took {rows} rows of {due:.0f} in {took_s:.0f} s: the machine is too busy")
    return {
        "nodes": SERVICES * NODES,
        "services": SERVICES,
        "measured_s": round(took_s),
        "rows_per_s": round(rows / took_s),
        "bytes_of_a_row": {name: round(sum(each) / len(each)) for name, each in fleet.bytes.items()},
        "topics": {topic.name: _figures(topic, grown, after[topic.name]) for topic in TOPICS},
        "roles": roles,
    }


async def _rows(connection: Connection) -> int:
    """Rows that the broker has taken."""
    async with AIOKafkaConsumer(bootstrap_servers=connection.bootstrap) as consumer:
        topic = f"{connection.prefix}telemetry"
        return sum((await consumer.end_offsets([TopicPartition(topic, n) for n in range(TELEMETRY_PARTITIONS)])).values())


def _figures(topic: Topic, grown: dict[str, float], bytes_now: int) -> dict[str, Any]:
    if topic.compacted:
        return {"kept": "compacted", "mb_now": round(bytes_now / 1e6, 2)}
    days = topic.retention_ms / 1_000 / DAY_S
    gb_a_day = grown[topic.name] * DAY_S / 1e9
    kept = {"kept_days": days, "gb_kept": round(gb_a_day * days, 2)} if topic.retention_ms > 0 else {"kept": "for ever"}
    return {"gb_a_day": round(gb_a_day, 3), **kept}


def _kept(folder: Path, connection: Connection) -> dict[str, int]:
    """Bytes of the log files of each topic."""
    return {
        topic.name: sum(path.stat().st_size for path in folder.rglob(f"{connection.prefix}{topic.name}-*/*.log"))
        for topic in TOPICS
    }
