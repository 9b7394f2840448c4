"""What proofs share: a fleet that sends at its true seconds, workers as an operator types them, the KPIs that come out."""

import asyncio
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Producer

from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars
from tidegate.wire.telemetry import Histogram, Telemetry, encode_json, encode_msgpack

ROOT = Path(__file__).parents[2]
TIDEGATE = (sys.executable, "-m", "tidegate.cli.main")
TEMPLATES = 64
SPREAD_S = 0.4
"""Rows of a second arrive over this much of the next one."""


class Refuted(Exception):
    """A proof that does not hold. Says what was expected and what was found."""


def hold(true: bool, otherwise: str) -> None:
    """Refute with a sentence where a condition does not hold."""
    if not true:
        raise Refuted(otherwise)


class Fleet:
    """``services`` services of ``nodes`` nodes each, one row a second and node, half of the nodes in JSON, half in MessagePack.

    Sends in a thread of its own; ``told`` has the sum of every (service, end of second) that was sent. Rows wait in the producer
    while there is no broker, as they do in a service.
    """

    def __init__(self, connection: Connection, services: int, nodes: int) -> None:
        self._topic = f"{connection.prefix}telemetry"
        self._producer = Producer(
            {
                "bootstrap.servers": connection.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "compression.type": "zstd",
                "enable.idempotence": True,
                "queue.buffering.max.messages": 1_000_000,
                "reconnect.backoff.max.ms": 500,
                "logger": _SILENT,
            }
        )
        source = random.Random(11)
        counts = [[source.randint(0, 9) for _ in range(24)] for _ in range(TEMPLATES)]
        self._latencies = [Histogram(-40, one) for one in counts]
        self._requests = [sum(one) for one in counts]
        self._names = [(f"service-{service}", f"s{service}-n{node}") for node in range(nodes) for service in range(services)]
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.told: dict[tuple[str, int], tuple[int, int, int]] = {}
        """(service, end of the second in ms) to (rows, requests, errors)."""
        self.rows = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; return when all that was sent stands in the log."""
        self._stop.set()
        self._thread.join(30)
        left = self._producer.flush(60)
        hold(not left, f"{left} rows were never taken by the broker: the fleet itself lost them")

    def _run(self) -> None:
        begin = int(time.time()) + 1
        seq = 0
        while not self._stop.wait(max(0.0, begin + seq + 1 - time.time())):
            self._second(seq + 1, begin + seq)
            seq += 1

    def _second(self, seq: int, second: int) -> None:
        sums: dict[str, tuple[int, int, int]] = {}
        for number, (service, node) in enumerate(self._names):
            at = (number + 7 * seq) % TEMPLATES
            errors = (number + seq) % 3 if self._requests[at] > 3 else 0
            row = Telemetry(
                node=node,
                service=service,
                boot="b",
                seq=seq,
                version="v1",
                start_ms=second * 1_000,
                requests=self._requests[at],
                errors=errors,
                latency=self._latencies[at],
            )
            value = encode_json(row) if number % 2 else encode_msgpack(row)
            self._producer.produce(self._topic, value, key=node)
            rows, requests, failed = sums.get(service, (0, 0, 0))
            sums[service] = (rows + 1, requests + self._requests[at], failed + errors)
            if number % 100 == 0:
                self._producer.poll(0)
                time.sleep(max(0.0, second + 1 + SPREAD_S * number / len(self._names) - time.time()))
        self.rows += len(self._names)
        self.told |= {(service, (second + 1) * 1_000): one for service, one in sums.items()}


class Program:
    """One process of Tidegate, by the command that an operator types; what it says goes to a file."""

    def __init__(self, home: Path, name: str, *command: str) -> None:
        self.name = name
        self._command = (*TIDEGATE, "--home", str(home), *command)
        self._log = home / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Program":
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=os.environ, stdout=log, stderr=log)
        return self

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM, within_s: float = 30.0) -> int:
        """Send a signal and wait; kill what does not end. Return the exit code."""
        if self._process is None:
            return 0
        if self.alive:
            self.send(number)
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise Refuted(f"{self.name} did not end within {within_s:.0f} s of {number.name}; see {self._log}") from None


def home_of(connection: Connection, folder: Path, *options: str) -> Path:
    """Make a home that talks to a broker, with options of ``tidegate init``; return its folder."""
    home = folder / f"home-{connection.prefix}"
    arguments = ("--fleet", "proof", "--bootstrap", connection.bootstrap, "--prefix", connection.prefix)
    command = (*TIDEGATE, "--home", str(home), "init", *arguments, *options)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return home


@asynccontextmanager
async def running_broker(folder: Path) -> AsyncIterator[KafkaProcess]:
    """Run a real broker."""
    broker = KafkaProcess(await kafka_jars(print), folder / "kafka")
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


class Installation(NamedTuple):
    """A prefix of topics with a log on it, and the processes of the control plane by role."""

    connection: Connection
    log: KafkaLog
    programs: dict[str, Program]


@asynccontextmanager
async def installation(broker: KafkaProcess, folder: Path) -> AsyncIterator[Installation]:
    """Run intake, judge and decide."""
    connection = Connection(broker.bootstrap, f"p{secrets.token_hex(3)}.")
    await create_topics(connection)
    home, log = home_of(connection, folder), KafkaLog(connection, client_id="proof")
    roles = {"intake": ("worker", "intake", "--port", "0"), "judge": ("worker", "judge", "--port", "0"), "decide": ("decide",)}
    programs = {name: Program(home, name, *command).start() for name, command in roles.items()}
    try:
        yield Installation(connection, log, programs)
    finally:
        for program in programs.values():
            program.end()
        await log.close()


@asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let works run while the body does, and no longer."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Kpis:
    """Every KPI record as a reader sees it: the last of an id counts, and when the first was there."""

    def __init__(self) -> None:
        self.last: dict[str, dict[str, Any]] = {}
        self.first_s: dict[str, float] = {}
        self.changed: set[str] = set()
        """Ids of which a later record said something else than the first."""
        self.records = 0

    async def follow(self, log: KafkaLog) -> None:
        """Read for ever."""
        reader = await log.reader(["kpis"])
        try:
            while True:
                for record in await reader.poll(0.2):
                    kpi = msgspec.json.decode(record.value or b"")
                    self.records += 1
                    if self.last.get(kpi["id"], kpi) != kpi:
                        self.changed.add(kpi["id"])
                    self.last[kpi["id"]] = kpi
                    self.first_s.setdefault(kpi["id"], time.time())
        finally:
            await reader.close()

    def panes(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the seconds by (service, end in ms)."""
        return {(kpi["service"], kpi["end_ms"]): kpi for kpi in self.last.values() if kpi["window_s"] == 1}

    def gap_s(self, begin_s: float, end_s: float) -> float:
        """Return the longest time without a KPI of a new second, of any service, between two moments."""
        services = {kpi["service"] for kpi in self.last.values()}
        longest = 0.0
        for service in services:
            seen = [at for name, at in self.first_s.items() if name.startswith(f"{service}/rest/1/")]
            moments = sorted({begin_s, *(at for at in seen if begin_s < at < end_s), end_s})
            longest = max([longest, *(b - a for a, b in pairwise(moments))])
        return longest


async def until(condition: Any, within_s: float, what: str) -> None:
    """Wait for a condition. Refuted where it does not come true in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        hold(time.monotonic() < deadline_s, f"{what}: not within {within_s:.0f} s")
        await asyncio.sleep(0.1)


def _silent() -> Any:
    import logging  # noqa: PLC0415

    logger = logging.getLogger("tests.prove.producer")
    logger.disabled = True
    return logger


_SILENT = _silent()
