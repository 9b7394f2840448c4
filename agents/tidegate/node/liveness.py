"""Liveness rows (A5): one a second for each service that ``desired`` names, whether the service itself speaks or not.

At most 240 rows wait for the broker; beyond that the oldest is thrown away and counted, for an old row proves nothing.
"""

import asyncio
from collections import deque

from tidegate.ports import Clock, Log, SendUnknown
from tidegate.reconcile.held import Held
from tidegate.reconcile.status import Status
from tidegate.wire.telemetry import Source, Telemetry, encode_msgpack

ROWS_WAITING_MOST = 240
NO_VERSION = "none"
"""A row must name a version; this one says that there is none yet."""


class Liveness:
    """Makes rows and sends them without ever making the agent wait."""

    def __init__(self, log: Log, clock: Clock, node: str, boot: str, place: tuple[str, dict[str, str]]) -> None:
        self._log = log
        self._clock = clock
        self._node = node
        self._boot = boot
        self._zone, self._labels = place
        self._seq: dict[str, int] = {}
        self._waiting: deque[bytes] = deque(maxlen=ROWS_WAITING_MOST)
        self._filled = asyncio.Event()
        self._ending = False
        self.made = 0
        self.dropped = 0

    def offer(self, service: str, status: Status, held: Held, end_ms: int) -> None:
        """Queue the row of the second that ends at ``end_ms``."""
        self._seq[service] = self._seq.get(service, 0) + 1
        row = Telemetry(
            node=self._node,
            service=service,
            boot=self._boot,
            seq=self._seq[service],
            version=status.version or NO_VERSION,
            start_ms=end_ms - 1_000,
            source=Source.AGENT,
            zone=self._zone,
            labels=self._labels,
            dropped=self.dropped,
            state=status.state,
            exits=held.exits,
            changed_ms=held.changed_ms,
        )
        self.made += 1
        self.dropped += len(self._waiting) == ROWS_WAITING_MOST
        self._waiting.append(encode_msgpack(row))
        self._filled.set()

    async def seconds(self) -> int:
        """Wait for the next full second; return it in ms since the epoch."""
        before = self._clock.now_ms()
        await self._clock.sleep((1_000 - before % 1_000) / 1_000)
        # A timer may fire a little early or late; the second that is meant is the nearest one.
        return (self._clock.now_ms() + 500) // 1_000 * 1_000

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
