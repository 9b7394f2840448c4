"""One node, one author, one log, on simulated time; agents come and go, and a gate holds downloads back."""

import asyncio
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from tests.node.kit import Author, bare, config_of, node_signer, report_of

from tidegate.node import NodeAgent, NoneExecutor
from tidegate.node.config import ServiceConfig
from tidegate.wire.documents import Move, Phase
from tidegate.world import MemoryDisk, MemoryLog, SimClock

ONE, TWO, THREE = bare("1"), bare("2"), bare("3")


STEP_S = 0.05


class GatedExecutor(NoneExecutor):
    """Fetches wait for the gate."""

    def __init__(self, clock) -> None:
        super().__init__(clock)
        self.gate = asyncio.Event()
        self.gate.set()
        self.fetching = 0
        self.cancelled = 0

    async def fetch(self, artifact, keep) -> None:
        self.fetching += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await super().fetch(artifact, keep)


class World:
    """One node, one author, one log, on simulated time; agents come and go."""

    def __init__(self, services: tuple[str, ...] = ("shop",)) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.disk = MemoryDisk()
        self.executor = GatedExecutor(self.clock)
        self.config = config_of(Path(), **{service: ServiceConfig(executor="none") for service in services})
        self.author = Author(self.log)
        self.boots = count(1)

    @asynccontextmanager
    async def agent(self):
        agent = NodeAgent(
            self.log,
            self.clock,
            self.disk,
            {"none": self.executor},
            config=self.config,
            signer=node_signer(),
            trust=self.author.trust,
            boot=f"boot{next(self.boots)}",
        )
        run = asyncio.ensure_future(agent.run())
        beating = asyncio.ensure_future(self.author.beating(self.clock))
        try:
            yield agent
        finally:
            beating.cancel()
            await agent.stop()
            await run

    async def until(self, condition, within_s: float = 10.0, what: str = "") -> None:
        """Let time pass until a condition holds."""
        for _ in range(round(within_s / STEP_S)):
            if condition():
                return
            await self.clock.advance(STEP_S)
        raise AssertionError(f"not within {within_s} s: {what or condition}")

    async def installed(self) -> None:
        """Make version 1 what is settled and runs."""
        await self.author.claim()
        await self.author.start(ONE, None, "r0")
        await self.author.settle()
        async with self.agent():
            await self.runs("1")

    def version(self, service: str = "shop") -> str:
        running = self.executor.running(service)
        return running.artifact.version if running is not None else ""

    async def runs(self, version: str) -> None:
        await self.until(lambda: self.version() == version, what=f"running {version}")

    async def accepted(self, agent, document) -> None:
        await self.until(
            lambda: (held := agent.held("shop").accepted) is not None and held.document.order == document.order, what="accepted"
        )

    async def read(self, agent) -> None:
        """Return when the agent has looked at everything that stands in the log now."""
        mark = await self.author.say(self.author.desired(phase=Phase.PAUSED, move=Move.HOLD, cohorts=(), settled=ONE))
        await self.accepted(agent, mark)

    def reports(self):
        return [report_of(record.value) for record in self.log.topic("reports")]


def versions(world: World) -> list[str]:
    """Return what was started, in order."""
    return [launch.artifact.version for launch in world.executor.launches]
