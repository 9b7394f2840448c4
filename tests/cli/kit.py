"""A home, and a fleet in memory behind the command line: the real decision agent and node agents on a simulated log."""

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import structlog
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from tidegate.cli.group import run
from tidegate.cli.publish import documents
from tidegate.decider import Decider
from tidegate.node import NodeAgent, NoneExecutor, load_config
from tidegate.node.config import load_signer, load_trust
from tidegate.ports import Log, SystemClock
from tidegate.runtime.home import Home
from tidegate.wire.acls import PRINCIPALS, Principal
from tidegate.wire.documents import KeyRole
from tidegate.world import MemoryDisk, MemoryLog

NODES = ("n1", "n2", "n3")


class Result:
    """What a person sees of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextlib.contextmanager
def logs_as_before() -> Iterator[None]:
    """A command says where logs go, for its process. Here others come after it, and would draw each traceback for nobody."""
    root, configured, config = logging.getLogger(), structlog.is_configured(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        if configured:
            structlog.configure(**config)
        else:
            structlog.reset_defaults()


class World:
    """An installation whose agents live while a command runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home", {})
        self.clock = SystemClock()
        self.log = MemoryLog(self.clock)
        self.machines = {node: (NoneExecutor(self.clock), MemoryDisk()) for node in NODES}
        self.deciding = True

    def type(self, *arguments: str, home: Path | None = None, stdin: str = "") -> Result:
        """Type a command, in this installation's home or in another."""
        outcome: list[int] = []
        with logs_as_before():
            result = CliRunner().invoke(Whole(outcome), ["--home", str(home or self.home.folder), *arguments], input=stdin)
        if result.exception is not None:
            raise result.exception
        return Result(outcome[0], result.stdout, result.stderr)

    def plan(self, text: str, name: str = "plan.yaml") -> str:
        """Write a plan file and return its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def artifact(self, name: str) -> str:
        """Write an artifact beside the plans and return its name."""
        (self.folder / name).write_text(f"program {name}\n")
        return name

    @contextlib.asynccontextmanager
    async def open_log(self, home: Home, client_id: str, role: Principal = "operator") -> AsyncIterator[Log]:
        """Stands where the Kafka log stands: the agents run while it is open."""
        assert client_id
        assert role in PRINCIPALS
        if not self.log.topic("keys"):
            for key, value in documents(self.home):
                await self.log.append("keys", key, value)
        agents = [self._agent(node) for node in NODES]
        work = [agent.run() for agent in agents]
        decider = Decider(
            self.log,
            self.clock,
            self.home.signer(KeyRole.DECISION),
            self.home.trust,
            life=secrets.token_hex(6),
            registry=CollectorRegistry(),
        )
        if self.deciding:
            work.append(decider.run())
        with self.log.news() as news:
            tasks = [asyncio.ensure_future(one) for one in work]
            while {record.key for record in self.log.topic("reports")} != set(NODES):
                await news.wait()
                news.clear()
        try:
            yield self.log
        finally:
            await decider.stop()
            for agent in agents:
                await agent.stop()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [one for one in done if isinstance(one, Exception)]
            assert not failed, failed

    def _agent(self, node: str) -> NodeAgent:
        executor, disk = self.machines[node]
        config = load_config(self.home.nodes / f"{node}.yaml")
        signer, trust = load_signer(config), load_trust(config)
        return NodeAgent(
            self.log,
            self.clock,
            disk,
            {"none": executor},
            config=config,
            signer=signer,
            trust=trust,
            boot=f"b{secrets.token_hex(4)}",
        )


class Whole:
    """``run`` as CliRunner wants it: something with ``main`` and ``name``."""

    name = "tidegate"

    def __init__(self, outcome: list[int]) -> None:
        self._outcome = outcome

    def main(self, args: list[str], **_ignored: object) -> None:
        self._outcome.append(run(args))
