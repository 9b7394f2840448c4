"""What a service does so that a node agent can start, swap and drain it: take the socket, say that it is ready, end on SIGTERM.

The conventions are systemd's (LISTEN_FDS and sd_notify), so a server that knows them already needs nothing of this. A service
that is started by hand, with no agent around it, works too.
"""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn

from tidegate.runtime.service_manager import tell

LISTEN_FD = 3
"""Where the convention puts the first socket."""


def listener(otherwise: str | None = None) -> socket.socket:
    """Return the listening socket that the agent hands from version to version (``listen`` in the node's file).

    Without an agent it is a new one at ``otherwise`` (``host:port``); RuntimeError where that is not given either.
    """
    if os.environ.get("LISTEN_FDS") and os.environ.get("LISTEN_PID", str(os.getpid())) == str(os.getpid()):
        return socket.socket(fileno=os.dup(LISTEN_FD))
    if otherwise is None:
        raise RuntimeError(
            "no socket was handed over: set `listen` of this service in the node's file, or say where to listen: listener(...)"
        )
    host, _, port = otherwise.rpartition(":")
    return socket.create_server((host, int(port)))


def ready() -> None:
    """Tell the agent that this version may serve (``readiness: notify``). Does nothing where nobody asks.

    Nor where whoever asked is gone: this version may have taken connections already, and the agent's next life drains it.
    """
    tell("READY=1")


def serve_http(handler: type[BaseHTTPRequestHandler], listen: str | None = None) -> None:
    """Serve HTTP on the agent's socket, a thread for each connection, until SIGTERM or Ctrl-C; then drain.

    Call it from the main thread. ``listen`` is where to listen without an agent.
    """
    with _stopping() as stop, _Server(listener(listen), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), name="serve")
        serving.start()
        ready()
        stop.wait()
        server.shutdown()
        serving.join()


async def stop_accepting(server: asyncio.Server) -> None:
    """Close an asyncio server's sockets, at the beginning of a drain, and lose no connection.

    ``Server.close`` alone drops, without a word, every connection that was accepted in the same turn of the loop: its transport
    is refused by a server that is closed by then (CPython 3.11, ``Server._attach``).
    """
    loop = server.get_loop()
    for listening in server.sockets:
        loop.remove_reader(listening)
    await asyncio.sleep(0)  # what was accepted in this turn gets its transport in the next one, before this goes on
    server.close()


class _Server(ThreadingMixIn, HTTPServer):
    """Leaving it waits for the requests under way: its threads are no daemons."""

    def __init__(self, listening: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        # Old and new version wait for the same connections: whoever comes second must not hang in accept.
        listening.settimeout(0)

    def get_request(self) -> tuple[socket.socket, object]:
        """Take one connection; its own reads wait as usual."""
        connection, address = super().get_request()
        connection.settimeout(None)
        return connection, address


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
