"""Seeded lives of a node: an author that moves on, zombies, lost brokers, full disks, crashes of services and of the agent at
any write. Rules E1, F1, F2 hold in every one, and once all is healed the node runs what it owes.
"""

import asyncio
import random
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.node.kit import Author, bare, config_of, node_signer, report_of

from tidegate.node import NodeAgent, NoneExecutor
from tidegate.node.config import ServiceConfig
from tidegate.node.state import StateFile
from tidegate.wire.documents import Cohort, Move, Order, Phase
from tidegate.wire.telemetry import ServiceState
from tidegate.world import MemoryDisk, MemoryLog, SimClock

SEEDS = 20
STEPS = 40


class Mortal(MemoryDisk):
    """A disk that one life of the agent writes to. After so many writes that life has died: nothing it does lands any more."""

    def __init__(self, disk: MemoryDisk, writes: int) -> None:
        super().__init__()
        self._disk = disk
        self.writes_left = writes

    def read(self, name: str) -> bytes | None:
        return self._disk.read(name)

    def write(self, name: str, data: bytes) -> None:
        if not self.dead:
            self._disk.write(name, data)
            self.writes_left -= 1

    @property
    def dead(self) -> bool:
        return self.writes_left <= 0


class Machine(NoneExecutor):
    """What runs on the node. Starts by a dead agent do not happen; each other one is told to ``started``."""

    def __init__(self, clock, started, dead) -> None:
        super().__init__(clock)
        self.started = started
        self.dead = dead

    async def swap(self, launch) -> None:
        if self.dead():
            await asyncio.Event().wait()
        self.started(launch)
        await super().swap(launch)


class Swarm:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.disk = MemoryDisk()
        self.machine = Machine(self.clock, self._started, lambda: self.mortal.dead)
        self.author = Author(self.log)
        self.config = config_of(Path(), shop=ServiceConfig(executor="none"))
        self.settled = bare("1")
        self.trial = bare("2")
        self.next_version = 3
        self.boots = 0
        self.highest = Order()
        self.retreated_from: set[str] = set()
        self.agent: NodeAgent | None = None
        self.run: asyncio.Task[None] | None = None
        self.mortal: Mortal | None = None

    # life and death

    async def begin(self) -> None:
        self.boots += 1
        writes = self.random.choice([1, 2, 3, 5, 8, 1_000])
        self.mortal = Mortal(self.disk, writes)
        self.agent = NodeAgent(
            self.log,
            self.clock,
            self.mortal,
            {"none": self.machine},
            config=self.config,
            signer=node_signer(),
            trust=self.author.trust,
            boot=f"b{self.boots}",
        )
        self.run = asyncio.ensure_future(self.agent.run())

    async def kill(self) -> None:
        """Nothing that this life still does counts."""
        self.mortal.writes_left = 0
        self.run.cancel()
        await asyncio.wait([self.run])
        await self.machine.close()
        if not self.run.cancelled():
            self.run.result()

    # what happens

    async def step(self) -> None:
        happen = self.random.choices(
            [self.go_on, self.go_back, self.repeat, self.zombie, self.take_over, self.crash, self.reborn, self.cut, self.fill],
            [6, 3, 2, 2, 1, 2, 3, 1, 1],
        )[0]
        await happen()
        await self.clock.advance(self.random.choice([0, 0.05, 0.3, 1, 5]))
        if self.mortal.dead:
            await self.kill()
            await self.begin()
        if self.run.done():
            self.run.result()
        self.check()

    async def go_on(self) -> None:
        if self.log.reachable:
            await self.author.start(self.trial, self.settled, f"r{self.trial.version}")
            token = self.random.choice(["", f"r{self.trial.version}.1"])
            if self.random.random() < 0.3:
                await self.author.settle()
                self.settled, self.trial = self.trial, bare(str(self.next_version))
                self.next_version += 1
            else:
                lives_ms = self.random.choice([0, 200, 60_000])
                await self.author.advance(token=token, expires_ms=lives_ms and self.clock.now_ms() + lives_ms)

    async def go_back(self) -> None:
        if self.log.reachable and self.author.plan is not None and self.author.plan.rollback.artifact == self.settled:
            await self.author.retreat()
            self.trial = bare(str(self.next_version))
            self.next_version += 1

    async def repeat(self) -> None:
        records = [record for record in self.log.topic("desired") if record.key == self.author.subject]
        if self.log.reachable and records:
            await self.log.append("desired", self.author.subject, self.random.choice(records).value)

    async def zombie(self) -> None:
        """An author of an epoch before, who has not noticed."""
        if self.log.reachable and self.author.plan is not None and self.author.epoch > 1:
            generation = self.author.generation
            late = self.author.desired(epoch=self.author.epoch - 1, settled=self.author.plan.artifact, phase=Phase.DONE)
            await self.author.say(replace(late, move=Move.HOLD, generation=generation + self.random.choice([-1, 0, 1, 50])))
            self.author.generation = generation

    async def take_over(self) -> None:
        if self.log.reachable:
            await self.author.claim(self.author.epoch + 1)
            await self.level()

    async def level(self) -> None:
        if self.author.plan is None:
            await self.author.start(self.trial, self.settled)
        canary = Cohort(name="canary", first=0, count=0, version=self.author.plan.artifact.version)
        await self.author.start(self.author.plan.artifact, self.author.plan.rollback.artifact, self.author.plan.id)
        await self.author.say(self.author.desired(move=Move.HOLD, phase=Phase.PAUSED, cohorts=(canary,), settled=self.settled))

    async def crash(self) -> None:
        self.machine.crash("shop")

    async def reborn(self) -> None:
        await self.kill()
        await self.begin()

    async def cut(self) -> None:
        self.log.reachable = not self.log.reachable

    async def fill(self) -> None:
        self.disk.full = not self.disk.full

    # what must hold

    def _started(self, launch) -> None:
        held = self.agent.held("shop")
        accepted = held.accepted
        assert accepted is not None, "nothing starts without a document"
        plan = accepted.plan
        known = {plan.artifact.version, plan.rollback.artifact.version} | {
            one.version for one in (held.applied, held.good) if one is not None
        }
        assert launch.artifact.version in known, "only what a plan names, or what ran before, starts"
        durable = StateFile(self.disk).load().services["shop"]
        assert durable.undertaking.artifact == launch.artifact, "what is done was written down before"
        assert durable.accepted.document.order == accepted.document.order
        if launch.artifact == plan.artifact and held.applied != plan.artifact:
            document = accepted.document
            assert document.move is not Move.RETREAT, "nobody goes forward under a retreat"
            assert document.move is not Move.ADVANCE or not 0 < document.expires_ms <= self.clock.now_ms(), "not after its time"

    def check(self) -> None:
        held = StateFile(self.disk).load().services.get("shop")
        if held is not None and held.accepted is not None:
            assert held.accepted.document.order >= self.highest, "the accepted order never regresses"
            self.highest = held.accepted.document.order

    async def heal(self) -> None:
        self.log.reachable, self.disk.full = True, False
        await self.kill()
        await self.begin()
        self.mortal.writes_left = 1_000_000
        await self.author.claim(self.author.epoch + 1)
        await self.level()
        await self.clock.advance(120)
        self.check()
        running = self.machine.running("shop")
        assert running is not None
        assert running.artifact.version == self.settled.version, "healed, the node runs what it owes"
        shop = report_of(self.log.topic("reports")[-1].value).services[0]
        assert (shop.state, shop.digest) == (ServiceState.READY, self.settled.sha256), "and says so"
        assert shop.order == Order(1, self.author.epoch, self.author.generation)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_happens_the_rules_hold_and_the_node_converges(seed):
    swarm = Swarm(seed)
    await swarm.author.claim()
    await swarm.level()
    await swarm.begin()
    try:
        for _ in range(STEPS):
            await swarm.step()
        await swarm.heal()
    finally:
        await swarm.kill()
