"""What does to an installation what a round says, and writes down what was done to whom from when to when.

On a node and on the control plane one thing happens at a time, on different ones several. All is healed when a fault is over.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.scenarios.kills import proxy
from tests.scenarios.kills.evidence import Run, lines_of
from tests.scenarios.kills.faults import Fault, Kind
from tests.scenarios.kills.installation import Installation
from tests.scenarios.kills.people import PATIENT_S, Sight

ON_THE_WAY = {
    Kind.DELAY: (proxy.Fault.DELAY, (0.1, 0.4, 1.5)),
    Kind.CUT: (proxy.Fault.CUT, (0, 300, 5_000)),
    Kind.HALF_OPEN: (proxy.Fault.HALF_OPEN, (0,)),
    Kind.REFUSE: (proxy.Fault.REFUSE, (0,)),
}
NODE_STEPS_MS = (-3_600_000, 3_600_000, -20_000, 20_000)
DECIDER_STEPS_MS = (-3_600_000, 4_000)
"""Forward only a little: what was decided at a time is never followed by what was decided earlier (D1), so that the timers of
rollouts stand still until the right clock has come to where the wrong one was.
"""
BROKER_AWAY_S = 2.0


class Hands:
    """Carries out faults. ``story`` is the file of what was done: one line for each, in the machine's monotonic ms."""

    def __init__(self, installation: Installation, sight: Sight, story: Path) -> None:
        self._installation = installation
        self._sight = sight
        self._story = story
        self._control = asyncio.Lock()
        self._nodes = {node: asyncio.Lock() for node in installation.nodes}

    def write(self, what: str, who: str, begin_ms: int, **more: object) -> None:
        """Write one line."""
        line = {"what": what, "who": who, "at_ms": begin_ms, "until_ms": now_ms(), **more}
        with self._story.open("a") as story:
            story.write(json.dumps(line) + "\n")

    async def carry_out(self, fault: Fault) -> None:
        """Let a fault happen and pass."""
        kind = fault.kind
        if kind is Kind.KILL_MID_APPLY:
            await self._kill_mid_apply(fault)
            return
        await asyncio.sleep(fault.after_s)
        if kind in ON_THE_WAY and fault.who % 3:
            async with self._node(fault) as node:
                await self._break_way(fault, node)
        elif kind in (Kind.KILL_NODE, Kind.STOP_NODE, Kind.STEP_NODE_CLOCK):
            async with self._node(fault) as node:
                await self._harm(fault, node)
        elif kind is Kind.FILL_DISK:
            await self._fill_disk(fault)
        else:
            async with self._control:
                await self._harm_control(fault)

    @asynccontextmanager
    async def _node(self, fault: Fault) -> AsyncIterator[str]:
        nodes = self._installation.nodes
        node = nodes[fault.who // 3 % len(nodes)]
        async with self._nodes[node]:
            yield node

    async def _harm(self, fault: Fault, node: str) -> None:
        process, begin_ms = self._installation.processes[node], now_ms()
        match fault.kind:
            case Kind.KILL_NODE:
                process.back_s = fault.lasts_s / 5
                process.send(signal.SIGKILL)
            case Kind.STOP_NODE:
                process.send(signal.SIGSTOP)
                await asyncio.sleep(fault.lasts_s)
                process.send(signal.SIGCONT)
            case Kind.STEP_NODE_CLOCK:
                await self._step(fault, node, NODE_STEPS_MS)
        self.write(fault.kind.name, node, begin_ms)

    async def _kill_mid_apply(self, fault: Fault) -> None:
        """Wait until a node starts something that does not count yet, and kill its agent there and then."""
        begin_ms = now_ms()
        while not (found := self._starting(begin_ms)):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)
        async with self._nodes[found]:
            process = self._installation.processes[found]
            process.back_s = fault.lasts_s / 5
            at_ms = now_ms()
            process.send(signal.SIGKILL)
            self.write(fault.kind.name, found, at_ms)

    def _starting(self, since_ms: int) -> str:
        """Return a node that is in the middle of a start; empty: none is."""
        runs = [run for run in lines_of(self._installation.runs, Run) if run.at_ms >= since_ms]
        done = {run.process for run in runs if run.what != "start"}
        return next((run.node for run in reversed(runs) if run.process not in done), "")

    async def _fill_disk(self, fault: Fault) -> None:
        node, disk = self._installation.nodes[-1], self._installation.disk
        if disk is None:
            return
        async with self._nodes[node]:
            begin_ms = now_ms()
            disk.fill()
            await asyncio.sleep(fault.lasts_s)
            disk.free()
            self.write(fault.kind.name, node, begin_ms)

    async def _harm_control(self, fault: Fault) -> None:
        leader, begin_ms = await self._leader(), now_ms()
        deciders = self._installation.deciders
        standby = next(name for name in deciders[fault.who % len(deciders) :] + deciders if name != leader)
        who = leader
        match fault.kind:
            case Kind.KILL_LEADER:
                await self._end_leader(leader, fault)
                return
            case Kind.STOP_LEADER:
                await self._stop_leader(leader, fault)
                return
            case Kind.KILL_STANDBY:
                who = standby
                self._installation.processes[who].send(signal.SIGKILL)
            case Kind.KILL_BROKER:
                who = "broker"
                await self._kill_broker(fault)
            case Kind.STEP_DECIDER_CLOCK:
                await self._step(fault, who, DECIDER_STEPS_MS)
            case _:
                await self._break_way(fault, leader if fault.how % 2 else standby)
                return
        self.write(fault.kind.name, who, begin_ms)

    async def _kill_broker(self, fault: Fault) -> None:
        """Kill it; where it was nobody listens, at its doors neither, until it has started again."""
        doors = self._installation.proxies.values()
        await self._installation.broker.kill()
        await asyncio.gather(*(door.stop() for door in doors))
        await asyncio.sleep(min(BROKER_AWAY_S, fault.lasts_s))
        await self._installation.broker.start()
        await asyncio.gather(*(door.start() for door in doors))

    async def _end_leader(self, leader: str, fault: Fault) -> None:
        epoch, process = self._sight.epoch, self._installation.processes[leader]
        process.back_s = fault.lasts_s
        killed_ms = now_ms()
        process.send(signal.SIGKILL)
        self.write(fault.kind.name, leader, killed_ms, epoch=epoch)
        await self._sight.until(lambda: self._sight.epoch > epoch, PATIENT_S, "a successor of the killed leader")
        process.back_s = 0.0

    async def _stop_leader(self, leader: str, fault: Fault) -> None:
        epoch, process, begin_ms = self._sight.epoch, self._installation.processes[leader], now_ms()
        process.send(signal.SIGSTOP)
        await self._sight.until(lambda: self._sight.epoch > epoch, PATIENT_S, "a successor of the sleeping leader")
        await asyncio.sleep(fault.lasts_s / 2)
        process.send(signal.SIGCONT)
        await asyncio.sleep(1)  # for what a zombie would do
        self.write(fault.kind.name, leader, begin_ms, epoch=epoch)

    async def _break_way(self, fault: Fault, who: str) -> None:
        door, begin_ms = self._installation.proxies[who], now_ms()
        kind, amounts = ON_THE_WAY[fault.kind]
        hits = door.hits
        await door.break_it(kind, amounts[fault.how % len(amounts)])
        await asyncio.sleep(fault.lasts_s)
        await door.heal()
        self.write(fault.kind.name, who, begin_ms, hits=door.hits - hits)

    async def _step(self, fault: Fault, who: str, steps_ms: tuple[int, ...]) -> None:
        process = self._installation.processes[who]
        process.set_clock(steps_ms[fault.how % len(steps_ms)])
        await asyncio.sleep(fault.lasts_s)
        process.set_clock(0)

    async def _leader(self) -> str:
        """Return which decider leads, as the log and its own say."""
        found: list[str] = []

        def told() -> bool:
            found[:] = [self._installation.leader_of(self._sight.life)]
            return bool(found[0])

        await self._sight.until(told, PATIENT_S, f"the log of {self._sight.life}")
        return found[0]


def now_ms() -> int:
    """Return the machine's monotonic clock, which all evidence is stamped with."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
