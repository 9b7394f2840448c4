"""The public HTTP server of a role, beside the one for its metrics: an ASGI application on a port, bounded, without signals."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from tidegate.runtime.problem import Problem

CONNECTIONS_MAX = 2_000
BACKLOG = 1_024
LOOPBACK = "127.0.0.1"
SLOW_MS = 60_000


class _Server(uvicorn.Server):
    """Signals are the process's, not the server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def web_server(application: Any) -> uvicorn.Server:
    """Return a server of an application, to be given a socket."""
    return _Server(
        uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=3,
        )
    )


def listen(what: str, host: str, port: int, remedy: str) -> socket.socket:
    """Return a socket that listens. Problem, with the remedy, where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise Problem(f"cannot serve {what} at {host}:{port}: {why}", remedy) from error
    # asyncio does so only where a socket names its protocol; without it each answer waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Who takes nothing for so long is let go by the kernel, also where its window is shut; connections inherit it.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SLOW_MS)
    return listening


__all__ = ["LOOPBACK", "listen", "web_server"]
