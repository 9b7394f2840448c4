"""The control API as Litestar serves it: one handler for each route of the table, and nothing else."""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import HttpMethod, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.api.control.alerts import Alerts
from tidegate.api.control.answers import Answers, Page, reading
from tidegate.api.control.asking import Asks
from tidegate.api.control.calls import Call, Nothing, Reply, Route, Visitor, body_of, query_of
from tidegate.api.control.documents import Documents
from tidegate.api.control.flag_writes import FlagWrites
from tidegate.api.control.guard import Guard
from tidegate.api.control.mirror import Mirror
from tidegate.api.control.openapi import BASE, document
from tidegate.api.control.problems import MEDIA_TYPE, Declined, ProblemBody
from tidegate.api.control.reads import Reads
from tidegate.api.control.refusals import Attempt, Refusal, Refusals
from tidegate.api.control.streaming import Following, OfEvents, Streams, following_of
from tidegate.api.control.views import Views
from tidegate.api.control.writes import Writes
from tidegate.api.roles import Right
from tidegate.api.tokens import Tokens
from tidegate.ports import Clock, Log
from tidegate.runtime.settings import AlertSettings
from tidegate.wire.envelope import ENVELOPE_BYTES_MAX, Signs

PLAN_BYTES_MAX = min(ENVELOPE_BYTES_MAX, 1 << 20)

Asked = Request[Any, Any, Any]

NO_ABORTS = AlertSettings()
PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = logging.getLogger("tidegate.api")


class Control:
    """Everything under ``/api/v1``."""

    def __init__(
        self,
        mirror: Mirror,
        log: Log,
        clock: Clock,
        signer: Signs | None,
        registry: CollectorRegistry,
        *,
        alerts: AlertSettings = NO_ABORTS,
    ) -> None:
        self.mirror = mirror
        self.closing = asyncio.Event()
        self.streams = Streams(mirror.window, mirror.recent, self.closing)
        self._answers = answers = Answers(mirror)
        self.asks = Asks(mirror, log, signer, answers)
        self.alerts = Alerts(mirror, log, clock, signer, settings=alerts, registry=registry)
        self._clock = clock
        self._told = Counter(
            "tidegate_api_control_answers",
            "Answers of the control API, by route and status.",
            ("route", "status"),
            registry=registry,
        )
        self._refusals = Refusals(clock.now_ms, registry)
        lag = Gauge(
            "tidegate_api_model_lag_seconds",
            "Seconds since what the control API tells was known to be all there is; NaN: not read yet.",
            registry=registry,
        )
        lag.set_function(lambda: float("nan") if mirror.lag_s is None else mirror.lag_s)
        streams = Gauge("tidegate_api_event_streams", "Open streams of events.", registry=registry)
        streams.set_function(lambda: self.streams.count)
        readers = (Views(mirror, answers), Reads(mirror, answers))
        writers = (Documents(mirror, self.asks), Writes(mirror, self.asks), FlagWrites(self.asks), self.alerts)
        told = (route for one in (*readers, *writers) for route in one.routes())
        self.routes: tuple[Route, ...] = (*told, *self._own())
        self._document = b""

    def close(self) -> None:
        """End open streams and let nobody wait: the process is about to end."""
        self.closing.set()
        self.mirror.close()

    def handlers(self, tokens: Tokens) -> list[HTTPRouteHandler]:
        """Return what Litestar is to serve."""
        guard = Guard(tokens, self._clock.monotonic_s, self._refusals)
        return [self._handler(route, guard) for route in self.routes]

    def _own(self) -> Iterable[Route]:
        """Yield the routes that are about the API itself."""
        yield Route(
            method="GET",
            path="/openapi.json",
            right=Right.READ,
            summary="This document",
            handle=self._described,
            answer=dict[str, Any],
        )
        yield replace(reading("/refused", "Who was refused what", self._refused, Page[Refusal]), right=Right.AUDIT)
        yield Route(
            method="GET",
            path="/events",
            right=Right.READ,
            summary="Everything that changes, as server-sent events; Last-Event-ID resumes",
            handle=self._described,
            answer=None,
            query=OfEvents,
        )

    async def _refused(self, call: Call) -> Reply:
        if not call.visitor.may(Right.AUDIT):
            raise Declined(HTTPStatus.FORBIDDEN, "a token with scopes may not see what others were refused", "use one without")
        return self._answers.page(self._refusals.newest())

    async def _described(self, _call: Call) -> Reply:
        self._document = self._document or msgspec.json.encode(document(self.routes))
        return Reply(msgspec.Raw(self._document))

    def _handler(self, route: Route, guard: Guard) -> HTTPRouteHandler:
        async def handle(request: Asked) -> Response[Any]:
            try:
                return await self._serve(route, guard, request)
            except Declined as declined:
                return self._declined(route, declined.body, declined.headers)
            except HTTPException as error:
                return self._declined(route, problem_of(error), {})
            except Exception as error:
                log.exception("a request failed", exc_info=error)
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                detail = "this is a fault of the server; its log tells more"
                return self._declined(route, ProblemBody(title=status.phrase, status=status.value, detail=detail), {})

        size = PLAN_BYTES_MAX if route.envelope else route.body_bytes_max
        path = BASE + route.path.replace("}", ":str}")
        return HTTPRouteHandler(path, http_method=[HttpMethod(route.method)], request_max_body_size=size, name=route.name)(handle)

    async def _serve(self, route: Route, guard: Guard, request: Asked) -> Response[Any]:
        path = {name: str(value) for name, value in request.path_params.items()}
        attempt = Attempt(route, path, request.client.host if request.client is not None else "")
        visitor = guard.admit(attempt, request.headers)
        if route.conditional and not request.headers.get("if-match"):
            raise Declined(
                HTTPStatus.PRECONDITION_REQUIRED,
                "this needs If-Match: it is about what you saw",
                f"GET it, and send its ETag, as in If-Match: {_EXAMPLE}",
            )
        raw = await request.body() if route.method == "POST" else b""
        query: Any = query_of(dict(request.query_params.items()), route.query) if route.query is not Nothing else None
        body = body_of(raw, route.body) if route.body is not None else None
        why = self.mirror.not_ready()
        if why:
            raise Declined(HTTPStatus.SERVICE_UNAVAILABLE, why, "ask again in a second", headers={"Retry-After": "1"})
        if route.answer is None:
            last = request.headers.get("last-event-id", "") or query.last_event_id
            return self._stream(route, guard, visitor, following_of(query, last))
        call = Call(visitor=visitor, path=path, query=query, body=body, raw=raw, headers=request.headers)
        try:
            reply = await route.handle(call)
        except Declined as declined:
            if declined.status is HTTPStatus.FORBIDDEN:  # only now was it known what is meant
                self._refusals.add(attempt, visitor.name, declined)
            raise
        return self._answer(route, reply)

    def _stream(self, route: Route, guard: Guard, visitor: Visitor, following: Following) -> Response[Any]:
        full = self.streams.room(visitor)
        if full:
            raise Declined(HTTPStatus.TOO_MANY_REQUESTS, full, "close some", headers={"Retry-After": "15"})
        self._told.labels(route.name, "200").inc()
        parts = self.streams.stream(visitor, following, lambda: guard.still(visitor))
        return Stream(parts, media_type="text/event-stream", headers={**PLAIN, **self._lag()})

    def _answer(self, route: Route, reply: Reply) -> Response[Any]:
        self._told.labels(route.name, str(reply.status.value)).inc()
        headers = {**PLAIN, **self._lag(), **reply.headers}
        return Response(
            msgspec.json.encode(reply.body), status_code=reply.status.value, media_type=reply.media_type, headers=headers
        )

    def _declined(self, route: Route, body: ProblemBody, headers: dict[str, str]) -> Response[Any]:
        self._told.labels(route.name, str(body.status)).inc()
        return Response(
            msgspec.json.encode(body),
            status_code=body.status,
            media_type=MEDIA_TYPE,
            headers={**PLAIN, **self._lag(), **headers},
        )

    def _lag(self) -> dict[str, str]:
        lag_s = self.mirror.lag_s
        return {} if lag_s is None else {"Tidegate-Lag-Seconds": f"{lag_s:.3f}"}


_EXAMPLE = '"7"'


def problem_of(error: HTTPException) -> ProblemBody:
    """Return what Litestar says of a request, as a problem."""
    status = HTTPStatus(error.status_code)
    return ProblemBody(title=status.phrase, status=status.value, detail=error.detail, remedy="see /api/v1/openapi.json")


__all__ = ["Control", "problem_of"]
