"""The service that the demo rolls out: a real HTTP server whose versions differ in how often they fail and how long
they take.

It is started by a node agent: the listening socket is file descriptor 3 (systemd's socket activation), readiness is
told by ``READY=1`` to
``NOTIFY_SOCKET``, SIGTERM means drain. Connections that are kept alive are answered once more with ``Connection:
close`` while it drains, so that no
request is lost.

Every version has the express checkout in it, with its flaw. Where ``SHOP_FLAGS`` is set the flag ``shop/checkout`` says who gets
it, elsewhere nobody does.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tidegate.sdk import AsyncPublisher, Stats, listener, ready, stop_accepting

LATENCY_MEDIAN_S = 0.020
LATENCY_SIGMA = 0.35
ERROR_RATIO = 0.0005
DRAIN_MOST_S = 5.0
FOLLOW_FLAGS = "SHOP_FLAGS"
FLAG_SET, CHECKOUT = "shop", "checkout"
CLASSIC, EXPRESS, EXPRESS_MENDED = "classic", "express", "express-2"
FLAWS = {EXPRESS: 0.05}
"""What share of its requests a checkout answers with 500."""


class CheckoutFailed(Exception):
    """This request is answered with 500."""


class Behaviour(Struct, frozen=True):
    """How one version differs from a healthy one."""

    version: str
    error_ratio: float = ERROR_RATIO
    slowdown: float = 1.0


class _Connection(asyncio.Protocol):
    """One client. Requests come one after another; each is answered after its own service time."""

    def __init__(self, shop: "Shop") -> None:
        self._shop = shop
        self._received = b""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server promises
        self._transport = transport
        self._shop.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._shop.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._busy and b"\r\n\r\n" in self._received:
            _, _, asked = self._received.partition(b"\r\n")[0].partition(b"user=")
            self._received = b""
            self._busy = True
            self._shop.began(self, asked.partition(b" ")[0].decode("ascii", "replace") or None)

    def answer(self, status: bytes, version: str, checkout: str, *, last: bool) -> None:
        """Write the response; ``last`` closes the connection behind it."""
        body = version.encode()
        self._busy = False
        if not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 %b\r\nX-Version: %b\r\nX-Checkout: %b\r\nContent-Length: %d\r\n%b\r\n%b"
                % (status, body, checkout.encode(), len(body), b"Connection: close\r\n" if last else b"", body)
            )
            if last:
                self._transport.close()


class Shop:
    """The server: answers, measures, drains."""

    def __init__(self, behaviour: Behaviour, telemetry: AsyncPublisher, checkout_of: Callable[[str | None], str]) -> None:
        self._behaviour = behaviour
        self._telemetry = telemetry
        self._random = random.Random()
        self._checkout_of = checkout_of
        self._loop = asyncio.get_running_loop()
        self._draining = False
        self._under_way: set[asyncio.Task[None]] = set()
        self.connections: set[_Connection] = set()

    def began(self, connection: _Connection, user: str | None) -> None:
        """Take one request of a user."""
        task = self._loop.create_task(self._sell(connection, user))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _sell(self, connection: _Connection, user: str | None) -> None:
        """Answer: the service time is log-normal, as those of real services are."""
        status = b"200 OK"
        try:
            with self._telemetry.request():
                checkout = self._checkout_of(user)
                await asyncio.sleep(self._random.lognormvariate(0.0, LATENCY_SIGMA) * LATENCY_MEDIAN_S * self._behaviour.slowdown)
                self._pay(checkout)
        except CheckoutFailed:
            status = b"500 Internal Server Error"
        connection.answer(status, self._behaviour.version, checkout, last=self._draining)

    def _pay(self, checkout: str) -> None:
        if self._random.random() < max(self._behaviour.error_ratio, FLAWS.get(checkout, 0.0)):
            raise CheckoutFailed

    async def serve(self, listening: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):  # before the first connection is taken: SIGTERM would let it down
            self._loop.add_signal_handler(number, stop.set)
        server = await self._loop.create_server(lambda: _Connection(self), sock=listening)
        ready()
        await stop.wait()
        self._draining = True
        # The agent and the next version hold the same socket: whoever waits in its queue is served there.
        await stop_accepting(server)
        deadline = self._loop.time() + DRAIN_MOST_S
        for _ in range(10):  # what was accepted a moment ago has no connection object before the loop has turned a few times
            await asyncio.sleep(0.005)
        while self.connections and self._loop.time() < deadline:
            await asyncio.sleep(0.02)


def serve(behaviour: Behaviour) -> None:
    """Run one version until it is told to stop; leave what became of its telemetry in the folder named by SHOP_STATS."""

    async def run() -> tuple[str, Stats]:
        listening = listener()
        listening.setblocking(False)
        telemetry = AsyncPublisher(version=behaviour.version)
        await telemetry.start()
        async with _checkouts() as checkout_of:
            await Shop(behaviour, telemetry, checkout_of).serve(listening)
        stats = await telemetry.close()
        return telemetry.identity.boot, stats

    boot, stats = asyncio.run(run())
    if folder := os.environ.get("SHOP_STATS"):
        said = {"made": stats.made, "sent": stats.sent, "dropped": stats.dropped}
        Path(folder, f"{boot}.json").write_text(json.dumps(said))


def _checkouts() -> contextlib.AbstractAsyncContextManager[Callable[[str | None], str]]:
    """Return what tells, while it is entered, which checkout a user gets."""
    if FOLLOW_FLAGS not in os.environ:
        return contextlib.nullcontext(lambda _user: CLASSIC)
    from tidegate.demo.flagged import flagged  # noqa: PLC0415 - a second of start-up, for those alone who need it

    return flagged()
