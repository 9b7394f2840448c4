"""Many node agents in one process, as a program: ``python -m tests.kafka.crowd_main HOME BOOTSTRAP STATE JOURNAL NODE...``.

Everything of an agent is real: its shell, signatures, log on Kafka, state on the disk. Only the machine under it is not:
executor ``none`` says that it runs what it is told. What every machine does, and when, goes to the journal as one line, and at
the end every record that a broker has acknowledged to any agent.
"""

import asyncio
import gc
import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any, TextIO

import uvloop
from msgspec.structs import replace

from tidegate.broker import Connection, KafkaLog
from tidegate.node import NodeAgent, NoneExecutor
from tidegate.node.config import ServiceConfig, load_config, load_signer, load_trust
from tidegate.ports import Appended, SystemClock, SystemDisk
from tidegate.runtime.home import Home
from tidegate.runtime.stopping import stop_signals

SERVICE = "shop"
LOOK_EVERY_S = 0.5
RARELY = (100_000, 20, 100)
"""Hundreds of agents in one process are more to look through than one; each alone has the collector's own settings."""
AWAY_S = 6.0
"""Longer than two heartbeats: an agent that has not heard the author for so long, and hears it again, was away."""


class Journal:
    """Lines of JSON, each written at once: whoever reads them may look at any moment."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def say(self, what: str, node: str, **facts: Any) -> None:
        self._file.write(json.dumps({"what": what, "node": node, "ms": time.time_ns() // 1_000_000} | facts) + "\n")
        self._file.flush()


class Machine(NoneExecutor):
    """What runs on one node."""

    def __init__(self, clock: SystemClock, node: str, journal: Journal) -> None:
        super().__init__(clock)
        self._node = node
        self._journal = journal

    async def swap(self, launch: Any) -> None:
        await super().swap(launch)
        self._journal.say("applied", self._node, version=launch.artifact.version)


class Witness(KafkaLog):
    """A log that remembers what was acknowledged."""

    def __init__(self, connection: Connection, *, client_id: str) -> None:
        super().__init__(connection, client_id=client_id, one_of_many=True)
        self.acknowledged: list[tuple[str, int, int, int]] = []
        """Topic, partition, offset, CRC of the value."""

    async def append(self, topic: str, key: str | None, value: bytes | None, **options: Any) -> Appended:
        at = await super().append(topic, key, value, **options)
        self.acknowledged.append((topic, at.partition, at.offset, zlib.crc32(value or b"")))
        return at


class Member:
    """One node: its agent, its machine, its log."""

    def __init__(self, home: Home, connection: Connection, state: Path, node: str, journal: Journal) -> None:
        clock = SystemClock()
        config = load_config(home.nodes / f"{node}.yaml")
        config = replace(config, state=str(state / node), services={SERVICE: ServiceConfig(executor="none")})
        self.node = node
        self.log = Witness(connection, client_id=f"node-{node}")
        self.agent = NodeAgent(
            self.log,
            clock,
            SystemDisk(Path(config.state)),
            {"none": Machine(clock, node, journal)},
            config=config,
            signer=load_signer(config),
            trust=load_trust(config),
            boot=f"{clock.now_ms():x}",
        )
        self.away = True

    async def run(self, begin_s: float) -> None:
        await asyncio.sleep(begin_s)  # a fleet is not switched on in one moment
        await self.agent.run()


async def watch(members: list[Member], journal: Journal, parent: int) -> None:
    """Say who hears the author again, for as long as there is somebody to read it."""
    while os.getppid() == parent:
        for member in members:
            away = not member.agent.caught_up or member.agent.figures().author_silent_s > AWAY_S
            if member.away and not away:
                journal.say("hears", member.node)
            member.away = away
        await asyncio.sleep(LOOK_EVERY_S)


async def main(members: list[Member], journal: Journal, spread_s: float) -> None:
    stop = stop_signals()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*RARELY)
    running = [asyncio.ensure_future(one.run(number * spread_s / len(members))) for number, one in enumerate(members)]
    watching = asyncio.ensure_future(watch(members, journal, os.getppid()))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([*running, watching, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (watching, *running):
        if task.done():
            task.result()
    watching.cancel()
    await asyncio.gather(*(one.agent.stop() for one in members))
    await asyncio.gather(*running, watching, return_exceptions=True)
    for one in members:
        journal.say("acknowledged", one.node, records=one.log.acknowledged)
    await asyncio.gather(*(one.log.close() for one in members))


if __name__ == "__main__":
    folder, bootstrap, prefix, state, path, spread, *names = sys.argv[1:]
    with Path(path).open("a") as file:
        told = Journal(file)
        crowd = [Member(Home(Path(folder)), Connection(bootstrap, prefix), Path(state), name, told) for name in names]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(crowd, told, float(spread)))
