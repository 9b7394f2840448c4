"""OTLP/HTTP: ``POST /v1/metrics`` in protobuf and JSON, as opentelemetry-proto's docs/specification.md has it.

200 means durable; points that could not be used are told with it (partial success). 400, 413, 415: do not send this again. 429,
503 with Retry-After: send it again, later. Without any token only this machine is served.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from litestar import Litestar, Request, Response, post
from litestar.exceptions import HTTPException
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsPartialSuccess, ExportMetricsServiceResponse

from tidegate.api.hosts import is_local
from tidegate.api.tokens import Tokens
from tidegate.bridge.decode import BODY_BYTES_MAX, Encoding, TooLarge, decode, unpack
from tidegate.bridge.metrics import Metrics
from tidegate.bridge.sorter import Sorter
from tidegate.otlp.sorting import Sorted
from tidegate.ports import SendUnknown
from tidegate.runtime.serve import shown_host
from tidegate.runtime.settings import BridgeSettings
from tidegate.runtime.web import LOOPBACK, listen, web_server
from tidegate.wire.codec import Malformed

PATH = "/v1/metrics"
AT_ONCE_MAX = 64
"""Requests that are read and written at a time, so 256 MiB of bodies; beyond, senders are asked to wait."""
AGAIN_AFTER_S = 2
WORDS_MAX = 5
"""Reasons that one answer names."""
REMEDY = "set bridge.port and bridge.host in config.yaml; port 0 is any free one"
ENCODINGS: Mapping[str, Encoding] = {"application/x-protobuf": Encoding.PROTO, "application/json": Encoding.JSON}

Asked = Request[Any, Any, Any]

log = structlog.get_logger("tidegate.bridge")


class Refused(Exception):
    """A request that is not taken: how it is answered, and why."""

    def __init__(self, status: HTTPStatus, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = dict(headers or {})


class Receiver:
    """One server's requests."""

    def __init__(self, sorter: Sorter, tokens: Tokens, metrics: Metrics) -> None:
        self._sorter = sorter
        self._tokens = tokens
        self._metrics = metrics
        self._busy = 0

    def application(self) -> Litestar:
        """Return the ASGI application."""

        @post(PATH, status_code=HTTPStatus.OK)
        async def metrics(request: Asked) -> Response[bytes]:
            self._admit(request)
            encoding = _encoding(request)
            self._busy += 1
            try:
                found = await self._take(request, encoding)
            finally:
                self._busy -= 1
            return self._answer(request, HTTPStatus.OK, _response(found))

        def refused(request: Asked, error: Exception) -> Response[bytes]:
            assert isinstance(error, Refused)  # noqa: S101 - registered for these
            return self._answer(request, error.status, _status(str(error)), error.headers)

        def failed(request: Asked, error: Exception) -> Response[bytes]:
            assert isinstance(error, HTTPException)  # noqa: S101 - likewise
            return self._answer(request, HTTPStatus(error.status_code), _status(error.detail), dict(error.headers or {}))

        return Litestar(
            [metrics],
            openapi_config=None,
            request_max_body_size=BODY_BYTES_MAX,
            exception_handlers={Refused: refused, HTTPException: failed},
        )

    def _admit(self, request: Asked) -> None:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        known = self._tokens.token_of(text.strip()) if scheme.lower() == "bearer" else None
        if known is None and self._tokens.required:
            remedy = "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN; make one: tidegate bridge token NAME"
            raise Refused(HTTPStatus.UNAUTHORIZED, f"show a token that is good: {remedy}", {"WWW-Authenticate": "Bearer"})
        if known is None and not is_local(request.headers.get("host", "")):
            # A page of another site can have its own name lead here, and then would write what it likes.
            raise Refused(HTTPStatus.FORBIDDEN, "without a token this machine alone is served: tidegate bridge token NAME")
        if self._busy >= AT_ONCE_MAX:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS, f"{AT_ONCE_MAX} requests are being written", {"Retry-After": str(AGAIN_AFTER_S)}
            )

    async def _take(self, request: Asked, encoding: Encoding) -> Sorted:
        try:
            body = await request.body()
            if request.headers.get("content-encoding", "identity").lower() != "identity":
                body = await asyncio.to_thread(unpack, body)
            return await self._sorter.pass_on(decode(body, encoding), len(body))
        except TooLarge as error:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY_BYTES_MAX} bytes, unpacked, are read") from error
        except Malformed as fault:
            raise Refused(HTTPStatus.BAD_REQUEST, str(fault)) from fault
        except SendUnknown as error:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "the broker did not answer", {"Retry-After": str(AGAIN_AFTER_S)}
            ) from error

    def _answer(
        self, request: Asked, status: HTTPStatus, message: Message, headers: dict[str, str] | None = None
    ) -> Response[bytes]:
        self._metrics.answers.labels(str(status.value)).inc()
        if _kind(request) == "application/json":
            return Response(_json(message), status_code=status, media_type="application/json", headers=headers)
        return Response(message.SerializeToString(), status_code=status, media_type="application/x-protobuf", headers=headers)


@contextlib.asynccontextmanager
async def received(receiver: Receiver, tokens: Tokens, settings: BridgeSettings) -> AsyncIterator[str]:
    """Serve while the block runs, and yield the address. Problem where the port is taken."""
    host = settings.host if tokens.required else LOOPBACK
    if not tokens.required:
        log.warning(
            "no token is needed, so only this machine is served", host=host, remedy="tidegate bridge token NAME, then restart"
        )
    server = web_server(receiver.application())
    with listen("OTLP", host, settings.port, REMEDY) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        url = f"http://{shown_host(host)}:{listening.getsockname()[1]}{PATH}"
        log.info("OTLP is served", url=url)
        try:
            yield url
        finally:
            server.should_exit = True
            await serving


def _kind(request: Asked) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _encoding(request: Asked) -> Encoding:
    encoding = ENCODINGS.get(_kind(request))
    if encoding is None:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be {' or '.join(ENCODINGS)}")
    packed = request.headers.get("content-encoding", "identity").lower()
    if packed not in ("identity", "gzip", "deflate"):
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be gzip, deflate or none")
    return encoding


def _response(found: Sorted) -> Message:
    if not found.rejected:
        return ExportMetricsServiceResponse()
    told = [f"{reason.words} ({number})" for reason, number in found.rejected.most_common(WORDS_MAX)]
    partial = ExportMetricsPartialSuccess(rejected_data_points=found.rejected.total(), error_message="; ".join(told))
    return ExportMetricsServiceResponse(partial_success=partial)


def _status(why: str) -> Message:
    """Return a google.rpc.Status: its message is field 2, as that of a partial success is, and its code may be left out."""
    return ExportMetricsPartialSuccess(error_message=why)


def _json(message: Message) -> bytes:
    if isinstance(message, ExportMetricsPartialSuccess):
        return msgspec.json.encode({"message": message.error_message})
    text: str = MessageToJson(message, indent=None)
    return text.encode()


__all__ = ["PATH", "Receiver", "received"]
