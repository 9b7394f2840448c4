"""Rows on their way to the broker, without ever making the agent wait.

At most 240 rows wait; beyond that the oldest is thrown away and counted, for an old row proves nothing.
"""

import asyncio
from collections import deque

from tidegate.ports import Clock, Log, SendUnknown
from tidegate.wire.telemetry import Telemetry, encode_msgpack

ROWS_WAITING_MOST = 240


class Rows:
    """One queue and what sends it."""

    def __init__(self, log: Log, node: str) -> None:
        self._log = log
        self._node = node
        self._waiting: deque[bytes] = deque(maxlen=ROWS_WAITING_MOST)
        self._filled = asyncio.Event()
        self._ending = False
        self.made = 0
        self.dropped = 0

    def put(self, row: Telemetry) -> None:
        """Queue a row."""
        self.made += 1
        self.dropped += len(self._waiting) == ROWS_WAITING_MOST
        self._waiting.append(encode_msgpack(row))
        self._filled.set()

    async def send(self) -> None:
        """Send one row at a time, until ``end`` was called and nothing waits."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                try:
                    await self._log.append("telemetry", self._node, self._waiting.popleft())
                except SendUnknown:
                    self.dropped += 1
            if self._ending:
                return

    def end(self) -> None:
        """Let ``send`` return as soon as nothing waits."""
        self._ending = True
        self._filled.set()


async def full_second(clock: Clock) -> int:
    """Wait for the next full second; return it in ms since the epoch."""
    before = clock.now_ms()
    await clock.sleep((1_000 - before % 1_000) / 1_000)
    # A timer may fire a little early or late; the second that is meant is the nearest one.
    return (clock.now_ms() + 500) // 1_000 * 1_000
