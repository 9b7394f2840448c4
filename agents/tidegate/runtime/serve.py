"""/metrics, /healthz and /readyz of one process, answered by threads of their own.

Threads, because liveness is a question about the event loop: one that hangs could not say so itself; and one for each request,
because whoever connects and says nothing must not keep others from their answer.
"""

import asyncio
import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from msgspec import Struct
from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from tidegate.runtime.problem import Problem
from tidegate.runtime.service_manager import BEAT_EVERY_S, keep_told

STALLED_AFTER_S = 10.0
REQUEST_WITHIN_S = 5.0
REQUESTS_MOST = 32
"""At once; further ones are hung up on."""
ANNOUNCE = "TIDEGATE_ANNOUNCE"
"""Names a file in which a process leaves the address it serves at: the supervisor reads it."""

NotReady = Callable[[], str | None]
"""Returns why a process is not ready yet, or None; called from the serving thread, so it only looks."""

Note = Callable[[], str]
"""Returns what whoever looks should know of a process that is ready; empty: nothing. Called from the serving thread, too."""


class Serving(Struct, frozen=True):
    """What is being served."""

    url: str
    port: int


@contextlib.asynccontextmanager
async def serving(
    host: str, port: int, not_ready: NotReady, *, note: Note = str, also: Sequence[str] = ()
) -> AsyncIterator[Serving]:
    """Serve while the block runs, and tell the service manager the same. Port 0: any free one. Problem where the port is taken.
    ``also``: what else the process serves and where, in lines that the supervisor shows.
    """
    beat = _Beat()
    pulses = [asyncio.create_task(beat.run()), asyncio.create_task(keep_told(not_ready))]
    try:
        server = _bind(host, port, _handler(beat, not_ready, note))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True)
        thread.start()
        try:
            found = Serving(f"http://{shown_host(host)}:{server.server_port}", server.server_port)
            announce(found.url, *also)
            yield found
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join(REQUEST_WITHIN_S)
    finally:
        for pulse in pulses:
            pulse.cancel()
        await asyncio.gather(*pulses, return_exceptions=True)


def shown_host(host: str) -> str:
    """Return a host that is served at as it stands in an address that somebody here may ask."""
    return "127.0.0.1" if host in ("", "0.0.0.0") else f"[{host}]" if ":" in host else host  # noqa: S104 - shown, not bound


def announce(url: str, *also: str) -> None:
    """Leave the address, and lines below it, in the file that the supervisor named, if it named one."""
    if path := os.environ.get(ANNOUNCE):
        beside = Path(f"{path}.new")
        beside.write_text("\n".join((url, *also)) + "\n")
        beside.replace(path)


class _Beat:
    """The event loop's pulse."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    async def run(self) -> None:
        while True:
            self._last_s = time.monotonic()
            await asyncio.sleep(BEAT_EVERY_S)

    def stalled_s(self) -> float:
        return time.monotonic() - self._last_s


class _Server(ThreadingHTTPServer):
    """Ends a request that takes too long, however slowly it goes on."""

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._began_s: dict[Any, float] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._began_s) >= REQUESTS_MOST:
            super().shutdown_request(request)
            return
        self._began_s[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._began_s.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        late_s = time.monotonic() - REQUEST_WITHIN_S
        for request, began_s in list(self._began_s.items()):
            if began_s < late_s:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)  # whoever reads from it wakes up

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: who hangs up in the middle is no news."""


def _bind(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        return _Server(host, port, handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Problem(
                f"cannot serve metrics at {host}:{port}: the port is in use", "choose another port, or 0 for any free one"
            ) from error
        raise Problem(f"cannot serve metrics at {host}:{port}: {error.strerror}", "choose another host or port") from error


def _handler(beat: _Beat, not_ready: NotReady, note: Note) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_WITHIN_S

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif path == "/healthz":
                stalled_s = beat.stalled_s()
                if stalled_s < STALLED_AFTER_S:
                    self._say(200, "ok")
                else:
                    self._say(503, f"the event loop has not run for {stalled_s:.0f} s")
            elif path == "/readyz":
                why = not_ready()
                self._say(503 if why else 200, why or ": ".join(filter(None, ("ready", note()))))
            else:
                self._say(404, "here are /metrics, /healthz and /readyz")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: a probe every few seconds is no news."""

        def _say(self, status: int, text: str) -> None:
            self._answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
