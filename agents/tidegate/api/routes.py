"""The HTTP routes: decode, ask, encode."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from tidegate.api.admission import Admission, Asking
from tidegate.api.board import Board
from tidegate.api.control.openapi import BASE
from tidegate.api.control.problems import MEDIA_TYPE
from tidegate.api.control.server import problem_of
from tidegate.api.metrics import Metrics
from tidegate.api.ofrep import BODY_BYTES_MAX, Answer, bulk, refetch, single
from tidegate.api.tokens import LOOK_EVERY_S, Denied

FLAGS = "/ofrep/v1/evaluate/flags"
EVENTS = "/ofrep/v1/events"
STREAMS_MAX = 1_000
PING_S = 15.0
"""Proxies end what is silent for a minute; and who is gone is noticed."""

ASKED_WITH = [
    *("Authorization", "X-API-Key", "Flagd-Selector", "Content-Type", "If-None-Match"),
    *("If-Match", "Idempotency-Key", "Last-Event-ID"),
]
TOLD_WITH = ["ETag", "Location", "Retry-After", "Tidegate-Lag-Seconds"]
"""What scripts of web pages from elsewhere may send, and read."""

Asked = Request[Any, Any, Any]

log = logging.getLogger("tidegate.api")


class Routes:
    """What OFREP asks for. ``closing`` ends open streams, so that a server may stop."""

    def __init__(self, board: Board, admission: Admission, metrics: Metrics) -> None:
        self._board = board
        self._admission = admission
        self._metrics = metrics
        self._streams = 0
        self.closing = asyncio.Event()

    def application(self, origins: list[str], also: Sequence[HTTPRouteHandler] = ()) -> Litestar:
        """Return the ASGI application. ``origins``: of web pages that may ask. ``also``: what else is served there."""
        cors = CORSConfig(allow_origins=origins, allow_headers=ASKED_WITH, expose_headers=TOLD_WITH) if origins else None

        @post(FLAGS + "/{key:str}", status_code=HTTPStatus.OK)
        async def one(request: Asked) -> Response[bytes]:
            asking = self._admit(request)
            answer = single(self._board, asking.set_id, request.path_params["key"], await request.body())
            return self._answer("single", answer)

        @post(FLAGS, status_code=HTTPStatus.OK)
        async def every(request: Asked) -> Response[bytes]:
            asking = self._admit(request)
            known = request.headers.get("if-none-match", "")
            answer = await bulk(self._board, asking, await request.body(), known, self._stream_of(asking))
            return self._answer("bulk", answer)

        @get(EVENTS)
        async def events(request: Asked) -> Stream:
            self._admission.check_host(request.headers)
            query = request.query_params
            asking = self._admission.admit_ticket(query.get("set", ""), query.get("ticket", ""), self._board.now_ms)
            if self._streams >= STREAMS_MAX:
                raise Denied(HTTPStatus.SERVICE_UNAVAILABLE, f"{STREAMS_MAX} streams are open already")
            return Stream(self._events(asking), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

        return Litestar(
            [one, every, events, *also],
            cors_config=cors,
            request_max_body_size=BODY_BYTES_MAX,
            openapi_config=None,
            logging_config=None,
            exception_handlers={Denied: self._denied, HTTPException: _http, Exception: _failed},
        )

    def _admit(self, request: Asked) -> Asking:
        self._admission.check_host(request.headers)
        asking = self._admission.admit(request.headers)
        why = self._board.not_ready()
        if why:
            raise Denied(HTTPStatus.SERVICE_UNAVAILABLE, why)
        return asking

    def _answer(self, route: str, answer: Answer) -> Response[bytes]:
        self._metrics.answers.labels(route, str(answer.status.value)).inc()
        headers = {"ETag": answer.etag} if answer.etag else {}
        return Response(answer.body, status_code=answer.status, media_type="application/json", headers=headers)

    def _stream_of(self, asking: Asking) -> str:
        ticket = self._admission.ticket(asking, self._board.now_ms)
        return f"{EVENTS}?{urlencode({'set': asking.set_id} | ({'ticket': ticket} if ticket else {}))}"

    async def _events(self, asking: Asking) -> AsyncIterator[bytes]:
        """Yield an event for each change, a comment now and then. Changes that come faster than they are read are one event.

        It ends with the token: within two looks, a second each, and before anything more is told. Who asks again learns why.
        """
        self._streams += 1
        self._metrics.subscribers.labels("events").set(self._streams)
        closing = asyncio.ensure_future(self.closing.wait())
        clock = asyncio.get_running_loop().time
        try:
            # Something may have changed between the answer that names this stream and its opening; asking again costs a 304.
            yield b": here is told when to ask again\n\n"
            seen, spoke_s = -1, clock()
            while True:
                change = asyncio.ensure_future(self._board.changed(asking.set_id, seen))
                try:
                    await asyncio.wait((change, closing), timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
                if self.closing.is_set() or not self._holds(asking):
                    return
                changes = self._board.changes(asking.set_id)
                if changes > seen:
                    number, data = refetch(changes, self._board.now_ms)
                    yield f"id: {number}\nevent: message\ndata: {data}\n\n".encode()
                elif clock() >= spoke_s + PING_S:
                    yield b": still here\n\n"
                else:
                    continue
                seen, spoke_s = changes, clock()
        finally:
            closing.cancel()
            self._streams -= 1
            self._metrics.subscribers.labels("events").set(self._streams)

    def _holds(self, asking: Asking) -> bool:
        try:
            self._admission.check_still(asking)
        except Denied as denied:
            self._metrics.denied.labels(str(denied.status.value)).inc()
            return False
        return True

    def _denied(self, _request: Asked, denied: Denied) -> Response[bytes]:
        self._metrics.denied.labels(str(denied.status.value)).inc()
        headers = {"WWW-Authenticate": "Bearer"} if denied.status is HTTPStatus.UNAUTHORIZED else {}
        return _said(denied.status, denied.details, headers)


def _http(request: Asked, error: HTTPException) -> Response[bytes]:
    if request.url.path.startswith(f"{BASE}/"):
        return Response(msgspec.json.encode(problem_of(error)), status_code=error.status_code, media_type=MEDIA_TYPE)
    return _said(error.status_code, error.detail, {})


def _failed(_request: Asked, error: Exception) -> Response[bytes]:
    log.error("a request failed", exc_info=error)
    return _said(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a fault of the server; its log tells more", {})


def _said(status: int, details: str, headers: dict[str, str]) -> Response[bytes]:
    body = msgspec.json.encode({"errorCode": "GENERAL", "errorDetails": details})
    return Response(body, status_code=status, media_type="application/json", headers=headers)


__all__ = ["Routes"]
