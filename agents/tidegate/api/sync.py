"""flagd's sync API over gRPC: stock flagd providers of any language, and the flagd daemon, evaluate in their own process.

A subscriber gets the newest set, whole, at once and after each change. Who reads slowly skips what came between; who does not
read at all is let go, and comes back by itself. A flag that is gone from the set is gone from the next message. A stream ends
with its token: within two looks, a second each, and before anything more is written.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

import grpc

from tidegate.api.admission import Admission, Asking
from tidegate.api.board import Board
from tidegate.api.metrics import Metrics
from tidegate.api.protobuf import SyncRequest, flags_response, metadata_response, sync_request
from tidegate.api.tokens import LOOK_EVERY_S, Denied
from tidegate.runtime.problem import Problem

SERVICE = "flagd.sync.v1.FlagSyncService"
SUBSCRIBERS_MAX = 1_000
SLOW_S = 60.0
"""A message that is not taken for so long ends its stream."""
REQUEST_BYTES_MAX = 16 << 10
STOP_WITHIN_S = 1.0

OPTIONS = (
    # Two servers on one port would each get some of the clients, and nobody would be told.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    # A subscriber whose machine is gone holds its place for 50 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

METADATA = metadata_response({"$flagd": "tidegate"})
"""Some providers fail on an empty answer, and all make attributes of it that every rule sees: this one is replaced by their own
evaluator, so that no rule sees more than ours does.
"""

_CODES = {
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
}


class SyncService:
    """The three methods."""

    def __init__(self, board: Board, admission: Admission, metrics: Metrics) -> None:
        self._board = board
        self._admission = admission
        self._metrics = metrics
        self._subscribers = 0

    def handler(self) -> Any:
        """Return what a gRPC server is given."""
        methods = {
            "SyncFlags": grpc.unary_stream_rpc_method_handler(self._sync, sync_request),
            "FetchAllFlags": grpc.unary_unary_rpc_method_handler(self._fetch, sync_request),
            "GetMetadata": grpc.unary_unary_rpc_method_handler(self._tell),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _sync(self, request: SyncRequest, context: Any) -> None:
        asking = await self._admit(request, context)
        if self._subscribers >= SUBSCRIBERS_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{SUBSCRIBERS_MAX} subscribers are served already")
        self._subscribers += 1
        self._metrics.subscribers.labels("sync").set(self._subscribers)
        try:
            await self._stream(asking, context)
        finally:
            self._subscribers -= 1
            self._metrics.subscribers.labels("sync").set(self._subscribers)

    async def _stream(self, asking: Asking, context: Any) -> None:
        told = -1
        while True:
            try:
                self._admission.check_still(asking)
            except Denied as denied:
                await self._deny(denied, context)
            if not self._board.ready:
                # An empty set would take flags away from a provider that has some: nothing is said before something is known.
                await _a_while(self._board.until_ready())
            elif (changes := self._board.changes(asking.set_id)) > told:
                await self._write(asking.set_id, context)
                told = changes
            else:
                await _a_while(self._board.changed(asking.set_id, told))

    async def _write(self, set_id: str, context: Any) -> None:
        try:
            async with asyncio.timeout(SLOW_S):
                await context.write(flags_response(self._board.file(set_id)))
        except TimeoutError:
            self._metrics.slow.inc()
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"nothing was read for {SLOW_S:.0f} s")

    async def _fetch(self, request: SyncRequest, context: Any) -> bytes:
        asking = await self._admit(request, context)
        why = self._board.not_ready()
        if why:
            await context.abort(grpc.StatusCode.UNAVAILABLE, why)
        return flags_response(self._board.file(asking.set_id))

    async def _tell(self, _request: bytes, _context: Any) -> bytes:
        return METADATA

    async def _admit(self, request: SyncRequest, context: Any) -> Asking:
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        try:
            # Stock providers send no headers of their own over a plain channel: their provider id may be the token.
            return self._admission.admit(headers, request.selector, request.provider_id)
        except Denied as denied:
            await self._deny(denied, context)
            raise

    async def _deny(self, denied: Denied, context: Any) -> None:
        """End a call with the status that says why."""
        self._metrics.denied.labels(str(denied.status.value)).inc()
        await context.abort(_CODES[denied.status], denied.details)


async def _a_while(news: Awaitable[object]) -> None:
    """Wait for news, but no longer than tokens may go unlooked at."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY_S):
            await news


async def sync_server(service: SyncService, host: str, port: int) -> tuple[Any, int]:
    """Return a server that has begun, and its port. Problem where the port is taken."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((service.handler(),))
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(where)
    except RuntimeError as error:
        raise Problem(
            f"cannot serve flagd's sync at {where}: the port is in use, or no address of this machine",
            "set api.sync and api.host in config.yaml; port 0 is any free one",
        ) from error
    await server.start()
    return server, bound


__all__ = ["STOP_WITHIN_S", "SyncService", "sync_server"]
