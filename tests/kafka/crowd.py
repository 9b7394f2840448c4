"""A fleet of node agents on real Kafka: their processes, what they did and when, and every connection to the broker's port."""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple, Self

from tests.bench.measure import cpu_s, rss_mib

from tidegate.broker import Connection, KafkaLog

ROOT = Path(__file__).parents[2]
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a file system, not a name that others know
SAMPLE_EVERY_S = 0.1
ESTABLISHED, SYN_SENT, SYN_RECEIVED = "01", "02", "03"


class Applied(NamedTuple):
    """One machine began to run a version."""

    node: str
    version: str
    ms: int


class Crowd:
    """Node agents, some hundred to a process."""

    def __init__(self, home: Path, connection: Connection, folder: Path, nodes: list[str], processes: int) -> None:
        self._command = (sys.executable, "-m", "tests.kafka.crowd_main", str(home), connection.bootstrap, connection.prefix)
        self._folder = folder
        self._shares = [nodes[number::processes] for number in range(processes)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._read = [0] * processes
        # Each node has a disk of its own in life: hundreds that wait for one another's writes would measure this disk.
        self._state = tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else folder)
        self.nodes = nodes
        self.applied: list[Applied] = []
        self.heard_ms: dict[str, int] = {}
        """When each node heard the author first, or again, after it had been away."""
        self.acknowledged: list[tuple[str, int, int, int]] = []

    def start(self, spread_s: float) -> None:
        """Start all processes; agents begin one after the other, over ``spread_s``."""
        for number, nodes in enumerate(self._shares):
            paths = (self._state.name, str(self._journal(number)), str(spread_s))
            with self._said(number).open("w") as said:
                # A session of its own: Linux shares cores out among sessions first, and one with the rest of a test gets little.
                process = subprocess.Popen(
                    (*self._command, *paths, *nodes), cwd=ROOT, stdout=said, stderr=said, start_new_session=True
                )
            self._processes.append(process)

    def look(self) -> None:
        """Read what the journals say since the last look. AssertionError where a process has ended."""
        self._read_on()
        for number, process in enumerate(self._processes):
            assert process.poll() in (None, 0), f"a process of nodes has ended: {self._said(number).read_text()[-2_000:]}"

    def _read_on(self) -> None:
        for number in range(len(self._processes)):
            path = self._journal(number)
            if path.exists():
                with path.open("rb") as file:
                    file.seek(self._read[number])
                    lines = file.read()
                whole = lines.rfind(b"\n") + 1
                self._read[number] += whole
                for line in lines[:whole].splitlines():
                    self._see(json.loads(line))

    def stop(self) -> None:
        """Stop all agents; read what was acknowledged to them."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        try:
            for process in self._processes:
                process.wait(60)
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
            self._state.cleanup()
        self._read_on()

    def cpu_s(self) -> float:
        """Return seconds of CPU that all processes have had."""
        return sum(cpu_s(process.pid) for process in self._processes)

    def rss_mib(self) -> float:
        """Return what all processes hold in memory."""
        return sum(rss_mib(process.pid) for process in self._processes)

    def _said(self, number: int) -> Path:
        return self._folder / f"crowd-{number}.log"

    def _journal(self, number: int) -> Path:
        return self._folder / f"crowd-{number}.jsonl"

    def _see(self, line: dict[str, Any]) -> None:
        match line["what"]:
            case "applied":
                self.applied.append(Applied(line["node"], line["version"], line["ms"]))
            case "hears":
                self.heard_ms[line["node"]] = line["ms"]
            case "acknowledged":
                self.acknowledged += [tuple(record) for record in line["records"]]


class Connects:
    """Every connection that was made to a port of this machine, whoever made it: from the kernel's table, ten times a second.

    One that is closed again stands in the table for another minute (TIME_WAIT), so none is missed; one that was refused never
    stands there. A port of a client that goes away and comes back is another connection.
    """

    def __init__(self, port: int) -> None:
        self._remote = f"0100007F:{port:04X}"
        self._there: set[str] = set()
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.made_s: list[float] = []
        """When each was first seen."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, begin_s: float, end_s: float) -> list[float]:
        return [at for at in self.made_s if begin_s <= at < end_s]

    def peak(self, begin_s: float, end_s: float) -> int:
        """Return the most connections in one second, of those that begin at whole seconds after ``begin_s``."""
        return max(Counter(int(at - begin_s) for at in self.between(begin_s, end_s)).values(), default=0)

    def now(self) -> int:
        """Return how many are open."""
        return sum(state == ESTABLISHED for _, state in self._table())

    def _table(self) -> list[tuple[str, str]]:
        rows = [line.split(maxsplit=4) for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [(row[1], row[3]) for row in rows if row[2] == self._remote]

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            now_s = time.time()
            there = {local for local, state in self._table() if state not in (SYN_SENT, SYN_RECEIVED)}
            self.made_s += [now_s] * len(there - self._there)
            self._there = there


async def lost(log: KafkaLog, acknowledged: list[tuple[str, int, int, int]]) -> int:
    """Return how many of the acknowledged records the log does not hold, where they were said to be and as they were sent."""
    held: dict[tuple[str, int, int], int] = {}
    reader = await log.reader(sorted({topic for topic, *_ in acknowledged}))
    for record in await reader.read_to_end():
        held[record.topic, record.partition, record.offset] = zlib.crc32(record.value or b"")
    await reader.close()
    return sum(held.get((topic, partition, offset)) != crc for topic, partition, offset, crc in acknowledged)


async def until(crowd: Crowd, condition: Any, within_s: float, what: str) -> None:
    """Look at the journals ten times a second until something holds. AssertionError where it does not in time."""
    deadline_s = time.monotonic() + within_s
    while True:
        crowd.look()
        if condition():
            return
        assert time.monotonic() < deadline_s, f"{what}: not within {within_s:.0f} s"
        await asyncio.sleep(0.1)
