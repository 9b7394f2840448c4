"""The load generator: real requests to every server at a steady rate, and what became of each.

Open loop: a request is due when it is due, however slow the servers are. A request counts as failed when no response
came, never for a 500: those are answers.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from msgspec import Struct

CONNECTIONS_PER_SERVER = 6
RESPONSE_WITHIN_S = 5.0
USERS = 2_000


class Answer(Struct, frozen=True):
    """One response: from which server (its place among the addresses), to whom, and when, in seconds since the epoch."""

    server: int
    user: int
    status: int
    version: str
    checkout: str
    at_s: float
    last: bool
    """The server closes the connection behind it."""


class Tally(Struct):
    """What one version answered. Times are seconds since the epoch; 0.0: not yet."""

    answers: int = 0
    errors: int = 0
    first_s: float = 0.0
    first_error_s: float = 0.0


class Load:
    """Sends ``rate`` requests a second to each of the addresses until it is stopped."""

    def __init__(self, addresses: list[tuple[str, int]], rate: float, seed: int = 1) -> None:
        self._addresses = addresses
        self._rate = rate
        self._random = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []
        self.sent = 0
        self.failed = 0
        self.failures: Counter[str] = Counter()
        self.versions: dict[str, Tally] = {}
        self.heard: Callable[[Answer], None] | None = None
        """Is told of every response."""

    def start(self) -> None:
        """Begin, on the running loop."""
        for server in range(len(self._addresses)):
            queue: asyncio.Queue[float] = asyncio.Queue(maxsize=1_000)
            self._tasks.append(asyncio.create_task(self._clock(queue)))
            self._tasks += [asyncio.create_task(self._client(server, queue)) for _ in range(CONNECTIONS_PER_SERVER)]

    async def stop(self) -> None:
        """End; requests under way are abandoned and count neither way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _clock(self, queue: asyncio.Queue[float]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._random.random() / self._rate
        while True:
            await asyncio.sleep(due - loop.time())
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(due)
            due += self._random.expovariate(self._rate)

    async def _client(self, server: int, queue: asyncio.Queue[float]) -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        host, port = self._addresses[server]
        try:
            while True:
                await queue.get()
                self.sent += 1
                user = self._random.randrange(USERS)
                try:
                    if reader is None or writer is None:
                        reader, writer = await asyncio.open_connection(host, port)
                    writer.write(b"GET /buy?user=u%d HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (user, host.encode(), port))
                    async with asyncio.timeout(RESPONSE_WITHIN_S):
                        answer = await _response(reader, server, user)
                except asyncio.CancelledError:
                    self.sent -= 1
                    raise
                except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                    self.failed += 1
                    self.failures[f"{type(error).__name__}: {error}"[:120]] += 1
                    closing = True
                else:
                    closing = answer.last
                    self._count(answer)
                if closing:
                    if writer is not None:
                        writer.close()
                    reader = writer = None
        finally:
            if writer is not None:
                writer.close()

    def _count(self, answer: Answer) -> None:
        tally = self.versions.setdefault(answer.version, Tally())
        tally.answers += 1
        tally.first_s = tally.first_s or answer.at_s
        if answer.status >= 500:
            tally.errors += 1
            tally.first_error_s = tally.first_error_s or answer.at_s
        if self.heard is not None:
            self.heard(answer)


async def _response(reader: asyncio.StreamReader, server: int, user: int) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    await reader.readexactly(int(headers["content-length"]))
    last = headers.get("connection") == "close"
    return Answer(server, user, status, headers["x-version"], headers.get("x-checkout", ""), time.time(), last)


def main() -> None:
    """Send requests to the addresses of the command line until SIGTERM; say once a minute what came back."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("address", nargs="+", help="host:port of a server")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second to each server (20)")
    arguments = parser.parse_args()
    asyncio.run(
        _forever([(host, int(port)) for host, _, port in (one.rpartition(":") for one in arguments.address)], arguments.rate)
    )


async def _forever(addresses: list[tuple[str, int]], rate: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    load = Load(addresses, rate)
    load.start()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                await stop.wait()
        print(f"{load.sent} requests, {load.failed} without an answer, {len(load.versions)} versions seen", flush=True)
    await load.stop()


if __name__ == "__main__":
    main()
