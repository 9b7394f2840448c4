"""``make bench``: the streaming half beside a stock Faust agent and beside bare reading, in one run, on real Kafka.

The broker has one core, what is measured the other. Outputs are compared with what was sent before a figure is printed. Rates
per core are of CPU time, so that a machine that is shared changes them little; ``wall_s`` is what the clock on the wall saw.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

from tests.bench.evidence import evidence
from tests.bench.flags import flags
from tests.bench.latency import kpis_seen_ms
from tests.bench.measure import Rate, follow, rate, rss_mib
from tests.bench.rows import NODES, Load

from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars
from tidegate.kpi.clock import GRACE_MS
from tidegate.wire.codec import decode

ROOT = Path(__file__).parents[2]
BROKER_CORE, WORKER_CORE = "0", "1"
WITHIN_S = 600.0
ACCEPTED, FOLDED = "tidegate_intake_rows_accepted_total", 'tidegate_judge_rows_total{outcome="accepted"}'
WARM_UP_S = 10
LATENCY_NODES, LATENCY_S = 2_000, 60
MEMORY_ROWS = 5_000_000
SAMPLES = 25
"""Of memory in one run."""


class Wrong(Exception):
    """Outputs differ from what was sent: no figure is worth printing."""


class Bench:
    """One broker, and one prefix of topics for each run."""

    def __init__(self, broker: KafkaProcess, folder: Path) -> None:
        self._broker = broker
        self._folder = folder

    def topics(self) -> Connection:
        connection = Connection(self._broker.bootstrap, f"b{secrets.token_hex(3)}.")
        asyncio.run(create_topics(connection))
        return connection

    def load(self, connection: Connection, encoding: str, seconds: int) -> Load:
        load = Load(connection.bootstrap, f"{connection.prefix}telemetry", encoding)
        load.run(seconds)
        return load

    @contextlib.contextmanager
    def process(self, *command: str, **environment: str) -> Iterator[subprocess.Popen]:
        """Run a command on the worker's core."""
        env = os.environ | {"PYTHONPATH": "schemas:streams:agents:."} | environment
        with (self._folder / "log").open("a") as log:
            process = subprocess.Popen(
                ("taskset", "-c", WORKER_CORE, sys.executable, *command), cwd=ROOT, env=env, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def workers(self, connection: Connection) -> Iterator[tuple[list[int], Callable[[], tuple[int, int]]]]:
        """Run intake and judge at once on one core; yield their process ids, and what tells how many rows each has done."""
        home = self._folder / connection.prefix
        arguments = ["--fleet", "bench", "--bootstrap", connection.bootstrap, "--prefix", connection.prefix]
        tidegate = ("-m", "tidegate.cli.main", "--home", str(home))
        subprocess.run((sys.executable, *tidegate, "init", *arguments), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        at = {role: self._folder / f"{connection.prefix}{role}" for role in ("intake", "judge")}
        with (
            self.process(*tidegate, "worker", "intake", TIDEGATE_ANNOUNCE=str(at["intake"])) as intake,
            self.process(*tidegate, "worker", "judge", TIDEGATE_ANNOUNCE=str(at["judge"])) as judge,
        ):
            yield [intake.pid, judge.pid], lambda: (_told(at["intake"], ACCEPTED), _told(at["judge"], FOLDED))

    def pipeline(self, encoding: str, seconds: int) -> tuple[Rate, Load]:
        """Measure intake and judge at once on one core, on rows that stand in the log already."""
        connection = self.topics()
        load = self.load(connection, encoding, seconds)
        with self.workers(connection) as (pids, done):
            samples = follow(done, pids, load.rows, WITHIN_S)
            self._compare(connection, load)
        return rate(samples), load

    def latency_ms(self, nodes: int, seconds: int) -> dict[str, float]:
        """Measure from the end of a second and its grace to when a reader has the last KPI of it, with a fleet at 1 Hz."""
        connection = self.topics()
        load = Load(connection.bootstrap, f"{connection.prefix}telemetry", "messagepack", nodes)
        with self.workers(connection):
            sending = Thread(target=load.run, args=(WARM_UP_S + seconds,))
            sending.start()
            seen_ms = asyncio.run(kpis_seen_ms(connection, WARM_UP_S + seconds))
            sending.join()
            self._compare(connection, load)
        waited = sorted(seen - end_ms - GRACE_MS for end_ms, seen in sorted(seen_ms.items())[WARM_UP_S:])
        return {
            "p50": round(statistics.median(waited)),
            "p95": round(waited[int(0.95 * len(waited))]),
            "max": round(waited[-1]),
            "nodes": nodes,
            "seconds": len(waited),
        }

    def memory(self, rows: int) -> dict[str, list[list[float]]]:
        """Measure the resident memory of both roles while a fleet of 20,000 nodes sends so many rows at 1 Hz."""
        connection = self.topics()
        load = Load(connection.bootstrap, f"{connection.prefix}telemetry", "messagepack")
        found: list[list[float]] = []
        with self.workers(connection) as (pids, done):
            sending = Thread(target=load.run, args=(rows // NODES,))
            sending.start()
            folded = before = 0
            while folded < rows // NODES * NODES:
                time.sleep(2)
                before, folded = folded, done()[-1]
                if not sending.is_alive() and folded == before:
                    raise Wrong(f"{folded} rows were folded of {load.rows}")
                if folded >= (found[-1][0] if found else 0) + rows / SAMPLES:
                    found.append([folded, *(round(rss_mib(pid), 1) for pid in pids)])
            sending.join()
        return {"rss_mib_at": [[done, round(sum(mib), 1)] for done, *mib in found], "rss_mib_of_intake_and_judge_at": found}

    def alone(self, script: str, connection: Connection, load: Load, rows: int) -> Rate:
        """Measure another program on rows that stand in the log already."""
        progress = self._folder / f"{connection.prefix}{script}"
        command = (f"tests/bench/{script}.py", connection.bootstrap, f"{connection.prefix}telemetry", str(progress))
        with self.process(*command) as process:
            samples = follow(lambda: (_progress(progress)[0],), [process.pid], rows, WITHIN_S)
            if rows == load.rows and _progress(progress)[1:] != [load.requests, load.errors]:
                raise Wrong(f"{script}: {_progress(progress)} of {load.rows} {load.requests} {load.errors}")
        return rate(samples)

    def _compare(self, connection: Connection, load: Load) -> None:
        """Wait until the KPIs of all seconds are there and add up to what was sent."""
        deadline = time.monotonic() + 60
        found = (0, 0)
        while time.monotonic() < deadline:
            found = asyncio.run(_totals(connection))
            if found == (load.requests, load.errors):
                return
            time.sleep(1)
        raise Wrong(f"KPIs add up to {found}; sent were {(load.requests, load.errors)}")


async def _totals(connection: Connection) -> tuple[int, int]:
    log = KafkaLog(connection, client_id="bench")
    reader = await log.reader(["kpis"])
    try:
        records = [decode(record.value or b"", dict) for record in await reader.read_to_end()]
    finally:
        await reader.close()
        await log.close()
    panes = {kpi["id"]: kpi for kpi in records if kpi["window_s"] == 1}
    return sum(kpi["requests"] for kpi in panes.values()), sum(kpi["errors"] for kpi in panes.values())


def _told(address: Path, counter: str) -> int:
    """Return a counter of a worker's metrics; 0 where it does not tell yet."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address.read_text().strip()}/metrics", timeout=5) as page:
        for line in page.read().decode().splitlines():
            if line.startswith(f"{counter} "):
                return int(float(line.split()[1]))
    return 0


def _progress(path: Path) -> list[int]:
    with contextlib.suppress(OSError, ValueError):
        return [int(part) for part in path.read_text().split()] or [0, 0, 0]
    return [0, 0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=15, help=f"seconds of {NODES} nodes for each run (15)")
    parser.add_argument(
        "--only", choices=("evidence", "flags", "pipeline", "latency", "memory"), help="one of the five; all by default"
    )
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "bench.json")
    arguments = parser.parse_args()
    report: dict = {}
    if arguments.only in (None, "evidence"):
        report["evidence"] = evidence()
        print(f"evidence, in process: {report['evidence']}", flush=True)
    if arguments.only in (None, "flags"):
        report["flags"] = flags()
        print(f"flags, in process: {report['flags']}", flush=True)
    if arguments.only not in ("evidence", "flags"):
        report |= on_kafka(arguments.seconds, arguments.only)
    arguments.report.parent.mkdir(exist_ok=True)
    arguments.report.write_text(json.dumps(report, indent=2) + "\n")


def on_kafka(seconds: int, only: str | None) -> dict:
    """Measure what needs a broker."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name, asyncio.Runner() as runner:
        folder = Path(name)
        broker = KafkaProcess(runner.run(kafka_jars(print)), folder / "kafka")
        runner.run(broker.start())
        subprocess.run(("taskset", "-a", "-p", "-c", BROKER_CORE, str(broker.pid)), check=True, stdout=subprocess.DEVNULL)
        try:
            return run(Bench(broker, folder), seconds, only)
        finally:
            runner.run(broker.stop())


def run(bench: Bench, seconds: int, only: str | None) -> dict:
    """Measure everything; print each figure when it is known, and return all."""
    found: dict = {}
    if only in (None, "pipeline"):
        found["pipeline"] = pipeline(bench, seconds)
    if only in (None, "latency"):
        found["latency_ms"] = bench.latency_ms(LATENCY_NODES, LATENCY_S)
        print(f"end of a second and its grace -> its last KPI at a reader, ms: {found['latency_ms']}", flush=True)
    if only in (None, "memory"):
        found["memory"] = bench.memory(MEMORY_ROWS)
        print(f"memory of both roles, MiB after so many rows: {found['memory']['rss_mib_at']}", flush=True)
    return found


def pipeline(bench: Bench, seconds: int) -> dict:
    """Measure the rates, ours and the others', on the same kind of rows in one run."""
    found: dict = {}
    for encoding in ("json", "messagepack"):
        measured, load = bench.pipeline(encoding, seconds)
        intake_us, judge_us = measured.cpu_us_per_row
        found[encoding] = {
            "per_core_s": round(1e6 / (intake_us + judge_us)),
            "wall_s": round(measured.rows_per_wall_s),
            "intake_us": round(intake_us, 2),
            "judge_us": round(judge_us, 2),
            "bytes_per_row": round(load.bytes / load.rows),
            "rows": load.rows,
        }
        print(f"{encoding}: {found[encoding]}", flush=True)
    connection = bench.topics()
    load = bench.load(connection, "json", seconds)
    for script, rows in (("bare", load.rows), ("stock", load.rows)):
        measured = bench.alone(script, connection, load, rows)
        found[{"bare": "bare_aiokafka", "stock": "stock_faust"}[script]] = {
            "per_core_s": round(1e6 / measured.cpu_us_per_row[0]),
            "wall_s": round(measured.rows_per_wall_s),
            "us": round(measured.cpu_us_per_row[0], 2),
        }
        print(f"{script}: {found[{'bare': 'bare_aiokafka', 'stock': 'stock_faust'}[script]]}", flush=True)
    for encoding in ("json", "messagepack"):
        found[encoding]["times_stock"] = round(found[encoding]["per_core_s"] / found["stock_faust"]["per_core_s"], 1)
        print(f"{encoding}: {found[encoding]['times_stock']} x a stock Faust agent, same job, same core, same run", flush=True)
    return found


if __name__ == "__main__":
    main()
