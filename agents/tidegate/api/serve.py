"""Both servers of one process, begun and ended together."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping

import structlog
import uvicorn
from litestar import Litestar
from msgspec import Struct

from tidegate.api.admission import Admission
from tidegate.api.board import Board
from tidegate.api.control import Control
from tidegate.api.metrics import Metrics
from tidegate.api.pages import page_handlers
from tidegate.api.routes import Routes
from tidegate.api.sync import STOP_WITHIN_S, SyncService, sync_server
from tidegate.api.tokens import Tokens
from tidegate.console import File
from tidegate.runtime.problem import Problem
from tidegate.runtime.serve import shown_host
from tidegate.runtime.settings import ApiSettings

CONNECTIONS_MAX = 2_000
BACKLOG = 1_024
LOOPBACK = "127.0.0.1"
SLOW_MS = 60_000
NO_PAGES: Mapping[str, File] = {}

log = structlog.wrap_logger(logging.getLogger("tidegate.api"))


class Served(Struct, frozen=True):
    """Where it is served."""

    url: str
    sync: str


class _Server(uvicorn.Server):
    """Signals are the process's, not the server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def flags_served(
    board: Board,
    metrics: Metrics,
    tokens: Tokens,
    settings: ApiSettings,
    control: Control | None = None,
    *,
    pages: Mapping[str, File] = NO_PAGES,
) -> AsyncIterator[Served]:
    """Serve OFREP, flagd's sync, and the control API and the console's pages where there are some, while the block runs. Without
    any token only this machine is served. Problem where a port is taken.
    """
    host = settings.host if tokens.required else LOOPBACK
    if not tokens.required:
        log.warning(
            "no token is needed, so only this machine is served", host=host, remedy="tidegate api token NAME, then restart"
        )
    admission = Admission(tokens, settings.flag_set)
    routes = Routes(board, admission, metrics)
    also = [*(control.handlers(tokens) if control is not None else ()), *page_handlers(pages)]
    server = _server(routes.application(settings.origins, also))
    with _bind(host, settings.port) as listening:
        sync, sync_port = await sync_server(SyncService(board, admission, metrics), host, settings.sync)
        serving = asyncio.create_task(server.serve([listening]))
        served = Served(f"http://{shown_host(host)}:{listening.getsockname()[1]}", f"{shown_host(host)}:{sync_port}")
        log.info("flags are served", ofrep=served.url, sync=served.sync)
        try:
            yield served
        finally:
            routes.closing.set()
            if control is not None:
                control.close()
            server.should_exit = True
            await asyncio.gather(serving, sync.stop(STOP_WITHIN_S))


def _server(application: Litestar) -> _Server:
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


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise Problem(
            f"cannot serve OFREP at {host}:{port}: {why}", "set api.port and api.host in config.yaml; port 0 is any free one"
        ) from error
    # asyncio does so only where a socket names its protocol; without it each answer waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Who takes nothing for so long is let go by the kernel, also where its window is shut; connections inherit it.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SLOW_MS)
    return listening


__all__ = ["Served", "flags_served"]
