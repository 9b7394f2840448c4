"""One simulated process: its own event loop and clock, and the ways in which a process stands still or ends.

Whatever reaches out of a process goes through a port, and each port asks here first. So a process can be made to end or to
stand still exactly at its k-th reach from now: before a write, within it, or behind it.
"""

import asyncio
import enum
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from tidegate.world.timeline import ProcessLoop, Spinning, Timeline

BURIALS = 6
"""So often a dead process's tasks are told to end; one that awaits in its ``finally`` takes more than one."""

RUNS_MOST = 20_000
"""A process that runs so often in one millisecond never lets it pass."""


class Died(BaseException):
    """This process has ended, in the midst of what it did. No handler of errors may catch it."""


class End(enum.Enum):
    """What a fuse does when it has burned down."""

    KILL = "kill"
    STOP = "stop"


class Process:
    """One life of one process. ``noise`` is its own luck: delays and losses are drawn from it and from nothing else."""

    def __init__(self, timeline: Timeline, name: str, noise: Random, *, slack_ms: int = 0, skew_ms: int = 0) -> None:
        self.timeline = timeline
        self.name = name
        self.noise = noise
        self.skew_ms = skew_ms
        self.dead = False
        self.stopped = False
        self.awake_ms = timeline.now_ms
        """Since when it has not stood still."""
        self.loop = ProcessLoop(timeline, self.run)
        self.clock = ProcessClock(self, slack_ms)
        self.main: asyncio.Task[None] | None = None
        self.on_death: list[Callable[[], None]] = []
        self.overdue: Callable[[], bool] = lambda: False
        """Asked when all else is done: whether a lazy wait of this process is over, too."""
        self.spins: Callable[[], None] = lambda: None
        """Told when it goes round and round without waiting."""
        self._moment = [0, 0]
        """When it ran last, and how often at that time."""
        self._fuse: tuple[int, End] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self, main: Coroutine[Any, Any, None]) -> None:
        """Start running."""
        self.main = self.loop.begin(main)
        self.run()

    def run(self) -> None:
        """Run until everything waits. Called whenever something has become ready."""
        if self.main is not None and self.dead and self.main.done():
            return
        loop = self.loop
        try:
            self._count()
            loop.turn()
            while not loop.halted and self.overdue():
                loop.turn()
        except Spinning:
            self.spins()
            self.dead = True
        if self.dead:
            self._bury()

    def _count(self) -> None:
        moment = self._moment
        if moment[0] != self.timeline.now_ms:
            moment[:] = self.timeline.now_ms, 0
        moment[1] += 1
        if moment[1] > RUNS_MOST:
            raise Spinning

    def light(self, reaches: int, end: End) -> None:
        """Let the process end, or stand still, at its ``reaches``-th reach from now; at 0 at once."""
        if reaches:
            self._fuse = (reaches, end)
        elif end is End.KILL:
            self.kill()
        else:
            self.stop()

    def kill(self) -> None:
        """End it as kill -9 does: nothing is said, nothing is tidied up."""
        if not self.dead:
            self.dead = self.loop.halted = True
            for tell in self.on_death:
                tell()
            if not self.loop.is_running():
                self._bury()

    def stop(self) -> None:
        """Let it stand still, as SIGSTOP does. Time goes on."""
        self.stopped = self.loop.halted = True

    def go_on(self) -> None:
        """Let it go on where it stood still."""
        self._fuse = None
        if self.stopped:
            self.stopped, self.loop.halted = False, self.dead
            self.awake_ms = self.timeline.now_ms
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
            self.run()

    def reach(self) -> bool:
        """Note a reach out of the process; return whether the process ends with it. Raises Died in one that has ended."""
        if self.dead:
            raise Died
        if self._fuse is not None:
            left, end = self._fuse
            self._fuse = (left - 1, end) if left > 1 else None
            if left <= 1 and end is End.KILL:
                return True
            if left <= 1:
                self.stop()
        return False

    async def reach_out(self) -> None:
        """Reach out where one can wait: stands still before it where the process does. Raises Died where it ends here."""
        if self.reach():
            self.kill()
            raise Died
        while self.stopped:
            future: asyncio.Future[None] = self.loop.create_future()
            self._waiting.append(future)
            await future

    def _bury(self) -> None:
        """End its tasks without letting them do anything: every port raises Died."""
        self.loop.halted = False
        for _ in range(BURIALS):
            tasks = self.loop.unfinished()
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.turn()
        self.loop.halted = True


class ProcessClock:
    """``tidegate.ports.Clock`` of one process. Its wall clock may be wrong; its timers may be late, up to ``slack_ms``."""

    def __init__(self, process: Process, slack_ms: int) -> None:
        self._process = process
        self._timeline = process.timeline
        self._slack_ms = slack_ms
        self._start_ms = self._timeline.now_ms

    def now_ms(self) -> int:
        """Return what this machine takes for the time."""
        return self._timeline.now_ms + self._process.skew_ms

    def monotonic_s(self) -> float:
        """Return seconds since this process began."""
        return (self._timeline.now_ms - self._start_ms) / 1000

    async def sleep(self, seconds: float) -> None:
        """Wait, and perhaps a little longer."""
        await self._timer(self.due_ms(seconds))

    def timer_ms(self, delay_ms: int) -> asyncio.Future[None]:
        """Return a future that is done after exactly so long: what others do, not this machine's timers."""
        return self._timer(self._timeline.now_ms + delay_ms)

    def _timer(self, when_ms: int) -> asyncio.Future[None]:
        if self._process.dead:
            raise Died
        future: asyncio.Future[None] = self._process.loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)
                self._process.run()

        self._timeline.at(when_ms, wake)
        return future

    def due_ms(self, seconds: float) -> int:
        """Return when a timer of so many seconds fires: never before its time, which for next to nothing is the next ms."""
        due = self._timeline.now_ms + max(seconds > 0, round(seconds * 1000))
        slack = self._slack_ms
        return due if slack <= 1 else -(-due // slack) * slack
