"""Virtual time for many processes: one heap of what happens when, and an event loop for each process that knows no other time.

What happens at one moment happens in the order in which it was put there, so that a run is a function of what was drawn. A loop
here is fed by the timeline alone: no selector, no thread, no real clock.
"""

import asyncio
import heapq
from asyncio.events import _get_running_loop, _set_running_loop  # what every event loop must do, and only this does
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, cast

CALLS_MOST = 20_000
"""A process that does so much in one moment never waits again."""


class Spinning(Exception):
    """A process goes round and round without waiting for anything."""


class Timeline:
    """What happens when, in ms since the epoch."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self._heap: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0

    def at(self, when_ms: int, happen: Callable[[], object]) -> None:
        """Let something happen at a time; now, where that is past."""
        self._count += 1
        heapq.heappush(self._heap, (max(when_ms, self.now_ms), self._count, happen))

    def run_until(self, until_ms: int) -> None:
        """Let everything happen up to and with a time, and stand there."""
        heap = self._heap
        while heap and heap[0][0] <= until_ms:
            self.now_ms, _, happen = heapq.heappop(heap)
            happen()
        self.now_ms = max(self.now_ms, until_ms)


class ProcessLoop:
    """The event loop of one simulated process: as much of asyncio's as tasks, futures and their waiting need."""

    def __init__(self, timeline: Timeline, run: Callable[[], object]) -> None:
        self.loop = cast("asyncio.AbstractEventLoop", self)
        """The same, as asyncio's own types know it."""
        self._timeline = timeline
        self._run = run
        self._ready: deque[tuple[Callable[..., object], tuple[Any, ...], Context | None]] = deque()
        self._tasks: list[asyncio.Task[Any]] = []
        self.halted = False
        """While true nothing runs, whatever is ready."""

    def turn(self) -> None:
        """Run what is ready, and what becomes ready by that."""
        before = _get_running_loop()
        _set_running_loop(self.loop)
        try:
            ready, left = self._ready, CALLS_MOST
            while ready and not self.halted:
                callback, args, context = ready.popleft()
                try:
                    if context is None:
                        callback(*args)
                    else:
                        context.run(callback, *args)
                except BaseException as fault:  # noqa: BLE001 - what a process does ends that process at most
                    self.call_exception_handler({"exception": fault})
                left -= 1
                if not left:
                    raise Spinning
        finally:
            _set_running_loop(before)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> None:
        """Put a call behind what is ready. No handle: tasks and futures never take back what they put here."""
        self._ready.append((callback, args, context))

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call after some virtual seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at a virtual time."""
        timer = asyncio.TimerHandle(when, callback, args, self.loop, context)

        def due() -> None:
            if not timer.cancelled():
                self.call_soon(timer._run)  # noqa: SLF001
                self._run()

        self._timeline.at(round(when * 1000), due)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is passed over when its time comes."""

    def time(self) -> float:
        """Return virtual seconds since the epoch."""
        return self._timeline.now_ms / 1000

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self.loop)

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:  # noqa: ARG002
        """Return a task of this loop."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self.loop)
        self._tasks.append(task)
        return task

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended."""
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks

    def begin(self, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Return the task of a process's main coroutine; it runs with the next turn."""
        return self.create_task(main)

    def get_debug(self) -> bool:
        """Return whether asyncio should check more; never."""
        return False

    def is_running(self) -> bool:
        """Return whether this loop is at work."""
        return _get_running_loop() is self.loop

    def is_closed(self) -> bool:
        """Return whether nothing may be called any more; always something may."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Let pass what a task that nobody awaits ended with: whoever watches a process looks at its main task."""
