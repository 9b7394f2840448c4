"""Death at each write of an apply, whatever became of that write: the next life finds old or new, never a mixture (F1).

The executors' own writes, and what they start and rename, are gone through in ``test_executors``; here it is the agent's memory.
"""

import asyncio
import itertools
import random
from pathlib import Path

import pytest
from tests.node.kit import Author, bare, config_of, node_signer

from tidegate.node import NodeAgent, NoneExecutor
from tidegate.node.config import ServiceConfig
from tidegate.node.state import SLOTS, StateFile
from tidegate.wire.documents import Cohort
from tidegate.world import MemoryDisk, MemoryLog, SimClock

ONE, TWO = bare("1"), bare("2")
FATES = ("lost", "torn", "landed")
"""What a disk may have of the write during which the power failed."""
CORRUPTIONS = 1_000


class Dying(MemoryDisk):
    """A disk whose node dies at one write; ``fate`` says what the disk has of it. Nothing lands after that."""

    def __init__(self, files: dict[str, bytes], last: int, fate: str) -> None:
        super().__init__()
        self.files = files
        self.dead = False
        self._left = last
        self._fate = fate

    def write(self, name: str, data: bytes) -> None:
        if self.dead:
            return
        self._left -= 1
        self.dead = self._left == 0
        if not self.dead or self._fate == "landed":
            self.files[name] = data
        elif self._fate == "torn":
            self.files[name] = data[: len(data) // 2]


class Machine(NoneExecutor):
    """What runs outlives every agent; a dead one starts nothing any more."""

    disk: Dying

    async def swap(self, launch) -> None:
        if self.disk.dead:
            await asyncio.Event().wait()
        await super().swap(launch)


class Node:
    """One machine with version 1 on it, good and settled, and an author."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.author = Author(self.log)
        self.machine = Machine(self.clock)
        self.files: dict[str, bytes] = {}
        self.config = config_of(Path(), shop=ServiceConfig(executor="none"))
        self.lives = itertools.count(1)

    async def live(self, seconds: float, last: int = 0, fate: str = "") -> bool:
        """Let one life of the agent go on for so long, or until its last write; return whether it died."""
        disk = self.machine.disk = Dying(self.files, last, fate)
        ports = (self.log, self.clock, disk, {"none": self.machine})
        trust, boot = self.author.trust, f"b{next(self.lives)}"
        agent = NodeAgent(*ports, config=self.config, signer=node_signer(), trust=trust, boot=boot)
        run = asyncio.ensure_future(agent.run())
        beating = asyncio.ensure_future(self.author.beating(self.clock))
        await self.clock.advance(seconds)
        beating.cancel()
        if run.done():
            run.result()
        if disk.dead:
            run.cancel()
            await asyncio.wait([run])
            await self.machine.close()
        else:
            await agent.stop()
            await run
        return disk.dead

    async def installed(self) -> None:
        await self.author.claim()
        await self.author.start(ONE, None, "r0")
        await self.author.settle()
        await self.live(70)

    def held(self):
        return StateFile(self.machine.disk).load().services["shop"]

    def version(self) -> str:
        running = self.machine.running("shop")
        return running.artifact.version if running is not None else ""


async def forward(node: Node) -> tuple[str, str]:
    await node.author.start(TWO, ONE)
    await node.author.advance(token="r.1")
    return "2", "r.1"


async def back(node: Node) -> tuple[str, str]:
    await forward(node)
    await node.live(5)
    await node.author.retreat()
    return "1", ""


async def restart(node: Node) -> tuple[str, str]:
    await node.author.start(TWO, ONE)
    cohort = Cohort(name="control", first=0, count=1, version="1", token="r.1/0")
    await node.author.say(node.author.desired(cohorts=(cohort,)))
    return "1", "r.1/0"


async def settled(node: Node) -> tuple[str, str]:
    await forward(node)
    await node.author.settle()
    return "2", ""


async def replaced_under_way(node: Node) -> tuple[str, str]:
    """An advance, and a retreat before the node has read either."""
    await forward(node)
    await node.author.retreat()
    return "1", ""


APPLIES = (forward, back, restart, settled, replaced_under_way)


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("apply", APPLIES, ids=lambda one: one.__name__)
async def test_death_at_each_write_ends_old_or_new(apply, fate, capsys):
    for last in itertools.count(1):
        node = Node()
        await node.installed()
        wanted, token = await apply(node)
        old, launches = node.version(), len(node.machine.launches)
        died = await node.live(5, last, fate)
        assert node.version() in (old, wanted), f"write {last}"
        await node.live(5)
        running, held = node.machine.running("shop"), node.held()
        assert (running.artifact.version, running.token) == (wanted, token), f"write {last}: it converges"
        assert (held.applied, held.applied_token) == (running.artifact, running.token), f"write {last}: memory and machine agree"
        assert held.undertaking is None, f"write {last}"
        assert {one.artifact.version for one in node.machine.launches[launches:]} <= {old, wanted}, f"write {last}"
        if not died:
            break
    with capsys.disabled():
        print(f"\n{apply.__name__}: died at each of {last - 1} writes, the write {fate}", end=" ")  # noqa: T201
    assert last > 1, "an apply writes"


async def test_damaged_memory_never_starts_what_was_rolled_back(capsys):
    """Copies flipped and cut at random, and in the log the advance of before stands again, last of its key: it is not applied."""
    node = Node()
    await node.installed()
    await node.author.start(TWO, ONE)
    advance = await node.author.advance()
    await node.live(5)
    await node.author.retreat()
    await node.live(5)
    whole, dice, launches = dict(node.files), random.Random(3), len(node.machine.launches)
    await node.author.say(advance)
    node.log.compact("desired")
    lost = 0
    for _ in range(CORRUPTIONS):
        node.files.clear()
        for slot in SLOTS:
            data = bytearray(whole[slot])
            for _ in range(dice.choice([0, 1, 1, 8])):
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            node.files[slot] = bytes(data[: dice.choice([len(data), len(data), dice.randrange(len(data))])])
        lost += StateFile(Dying(node.files, 0, "")).load() is None
        await node.live(0.05)
        node.log.compact("desired")  # or every life reads the heartbeats of all before it
        assert node.version() == "1"
    with capsys.disabled():
        print(f"\n{CORRUPTIONS} corruptions, {lost} of them of both copies: 0 wrong starts", end=" ")  # noqa: T201
    assert lost > CORRUPTIONS / 10
    assert node.machine.launches[launches:] == []
