"""Both servers of one process, begun and ended together."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

import structlog
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
from tidegate.runtime.serve import shown_host
from tidegate.runtime.settings import ApiSettings
from tidegate.runtime.web import LOOPBACK, listen, web_server

REMEDY = "set api.port and api.host in config.yaml; port 0 is any free one"
NO_PAGES: Mapping[str, File] = {}

log = structlog.wrap_logger(logging.getLogger("tidegate.api"))


class Served(Struct, frozen=True):
    """Where it is served."""

    url: str
    sync: str


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
    server = web_server(routes.application(settings.origins, also))
    with listen("OFREP", host, settings.port, REMEDY) as listening:
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


__all__ = ["Served", "flags_served"]
