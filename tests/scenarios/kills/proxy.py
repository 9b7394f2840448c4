"""A TCP proxy between one process and the broker, with the faults that a network has."""

import asyncio
import contextlib
from enum import StrEnum

from tidegate.sdk import stop_accepting

CHUNK_BYTES = 1 << 16


class Fault(StrEnum):
    """What befalls a way to the broker."""

    DELAY = "delay"
    """Everything arrives so many seconds late."""
    CUT = "cut"
    """Each connection is reset after so many bytes, in the middle of whatever they are."""
    HALF_OPEN = "half-open"
    """What the process sends arrives, what is answered does not, and nobody is told."""
    REFUSE = "refuse"
    """Nobody listens, and what was open is reset."""


class Proxy:
    """One door. ``fault`` holds for connections that are there and for new ones, until ``heal``."""

    def __init__(self, port: int, broker_port: int) -> None:
        self.port = port
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._stuck: set[asyncio.StreamWriter] = set()
        self._fault: Fault | None = None
        self._amount = 0.0
        self._heal = asyncio.Event()
        self._heal.set()
        self.hits = 0
        """Chunks, connections and attempts that a fault has met."""

    async def start(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=CHUNK_BYTES)

    async def stop(self) -> None:
        """Let nobody in any more, and reset who is."""
        server, self._server = self._server, None
        if server is not None:
            await stop_accepting(server)
            for _ in range(4):  # who was let in a moment ago is not in `_serving` before the loop has turned a few times
                await asyncio.sleep(0)
        while self._serving:
            for writer in self._open:
                writer.transport.abort()
            await asyncio.wait(self._serving, timeout=0.1)

    async def break_it(self, fault: Fault, amount: float) -> None:
        """Begin a fault. ``amount``: seconds of a delay, bytes of a cut."""
        self._fault, self._amount = fault, amount
        self._heal.clear()
        if fault is Fault.REFUSE:
            await self.stop()

    async def heal(self) -> None:
        """End it. What was half-open stays as dead as it is, and is reset: a network forgets such connections."""
        self._fault = None
        self._heal.set()
        await self.start()
        for writer in list(self._stuck):
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            broker, on = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            await _reset(back)
        else:
            await self._between(client, back, broker, on)
        finally:
            self._serving.discard(task)

    async def _between(
        self, client: asyncio.StreamReader, back: asyncio.StreamWriter, broker: asyncio.StreamReader, on: asyncio.StreamWriter
    ) -> None:
        """Carry both ways until one of them ends."""
        self._open |= {back, on}
        left = [self._amount]
        ways = [
            asyncio.create_task(self._carry(client, on, left, answers=False)),
            asyncio.create_task(self._carry(broker, back, left, answers=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open -= {back, on}
            self._stuck -= {back, on}
            await _reset(back)
            await _reset(on)

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, left: list[float], *, answers: bool
    ) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            if self._fault is Fault.DELAY:
                self.hits += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._heal.wait(), self._amount)
            elif self._fault is Fault.CUT:
                left[0] -= len(chunk)
                if left[0] < 0:
                    self.hits += 1
                    target.write(chunk[: len(chunk) // 2])
                    await target.drain()
                    return
            elif self._fault is Fault.HALF_OPEN and answers:
                self.hits += 1
                self._stuck.add(target)
                continue
            target.write(chunk)
            await target.drain()


async def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
