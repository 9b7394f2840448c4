"""A clock that moves only when it is told to, waking sleepers in the order of their times."""

import asyncio
import heapq
import itertools

SETTLE_TURNS = 50
"""Turns of the event loop given to tasks after each wake-up: enough for chains of awaits, and always the same number."""


class SimClock:
    """``tidegate.ports.Clock`` on simulated time, beginning at ``start_ms``."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = start_ms
        self._start_ms = start_ms
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        """Return simulated milliseconds since the epoch."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Return simulated seconds since the start."""
        return (self._now_ms - self._start_ms) / 1000

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved so far, in whole ms, by one at least where ``seconds`` are more than 0: in floats
        a wait may have 1e-10 s left, and time has to pass for who waits for that.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wait_ms = max(1, round(seconds * 1000)) if seconds > 0 else 0
        heapq.heappush(self._sleepers, (self._now_ms + wait_ms, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move the clock, stopping at each sleeper on the way and letting everybody run."""
        until_ms = self._now_ms + round(seconds * 1000)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until_ms:
            at_ms, _, future = heapq.heappop(self._sleepers)
            self._now_ms = max(self._now_ms, at_ms)
            if not future.done():
                future.set_result(None)
                await self.settle()
        self._now_ms = until_ms
        await self.settle()

    async def settle(self) -> None:
        """Let tasks run that need no time."""
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)
