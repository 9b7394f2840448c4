"""OFREP 0.3, OpenFeature's remote evaluation protocol (open-feature/protocol, service/openapi.yaml): requests and answers.

Bytes in, status and bytes out: no server and no socket here. A value that is the caller's own default (a disabled flag, or one
without default variant) is left out of the answer. Its ``variant`` is then empty, not missing: OpenFeature's own client for
Python needs the key, and flagd sends it so too.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from tidegate.api.admission import Asking
from tidegate.api.board import Board
from tidegate.flags.evaluate import Asked, Resolution, evaluate
from tidegate.flags.store import FlagSet
from tidegate.wire.flags import ErrorCode

BODY_BYTES_MAX = 64 << 10
BULK_WITHIN_S = 10.0
BULK_TURN_S = 0.005
"""Others on the loop have their turn after so long."""
INACTIVITY_S = 120
AGE = "tidegate.ageSeconds"
"""In the metadata where the last known good is served."""


class Answer(Struct, frozen=True):
    """What is sent."""

    status: HTTPStatus
    body: bytes
    etag: str = ""


class Refusal(Exception):
    """A request that cannot be evaluated, with what OFREP says of it."""

    def __init__(self, code: ErrorCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def context_of(body: bytes) -> dict[str, Any]:
    """Return the context of a request; empty where it has none. Refusal where it is no JSON object or its context is none."""
    try:
        found = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(ErrorCode.PARSE_ERROR, f"the body is no JSON: {error}") from error
    context = found.get("context", {}) if isinstance(found, dict) else None
    if not isinstance(context, dict):
        raise Refusal(ErrorCode.INVALID_CONTEXT, 'the body is to be {"context": {"targetingKey": "...", ...}}')
    return context


def single(board: Board, set_id: str, key: str, body: bytes) -> Answer:
    """Evaluate one flag."""
    try:
        context = context_of(body)
    except Refusal as refusal:
        return _json(HTTPStatus.BAD_REQUEST, {"key": key, "errorCode": refusal.code, "errorDetails": refusal.details})
    found = evaluate(board.set(set_id), key, Asked(context=context, now_s=board.now_ms // 1_000))
    status = HTTPStatus.OK
    if found.error_code is not None:
        missing = found.error_code is ErrorCode.FLAG_NOT_FOUND
        status = HTTPStatus.NOT_FOUND if missing else HTTPStatus.BAD_REQUEST
    return _json(status, _told(key, found, _age(board)))


async def bulk(board: Board, asking: Asking, body: bytes, known: str, stream: str) -> Answer:
    """Evaluate all flags of a set: 304 where the answer is one that the caller knows (``known``: its If-None-Match). ``stream``:
    path and query of the events that tell of changes.

    The tag is of the answer, not of the definitions: rules may look at the time; and of ``stream``, whose ticket ends. The age is
    not part of it.
    """
    try:
        context = context_of(body)
    except Refusal as refusal:
        return _json(HTTPStatus.BAD_REQUEST, {"errorCode": refusal.code, "errorDetails": refusal.details})
    flags = board.set(asking.set_id)
    told = await _all(flags, Asked(context=context, now_s=board.now_ms // 1_000))
    if told is None:
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"errorDetails": f"the rules took more than {BULK_WITHIN_S:.0f} s"})
    metadata = {**flags.metadata, **_age(board)}
    etag = f'"{hashlib.blake2b(msgspec.json.encode([flags.set_id, flags.metadata, told, stream]), digest_size=16).hexdigest()}"'
    if _matches(known, etag):
        return Answer(HTTPStatus.NOT_MODIFIED, b"", etag)
    streams = [{"type": "sse", "endpoint": {"requestUri": stream}, "inactivityDelaySec": INACTIVITY_S}]
    answer = {"flags": [msgspec.Raw(one) for one in told], "metadata": metadata, "eventStreams": streams}
    return Answer(HTTPStatus.OK, msgspec.json.encode(answer), etag)


def refetch(changes: int, now_ms: int) -> tuple[str, str]:
    """Return the id and the data of an event after which a client asks again."""
    return str(changes), msgspec.json.encode({"type": "refetchEvaluation", "lastModified": now_ms // 1_000}).decode()


async def _all(flags: FlagSet, asked: Asked) -> list[bytes] | None:
    """Evaluate every flag; None where it takes too long."""
    began_s = turn_s = time.monotonic()
    told = []
    for key in sorted(flags.flags):
        found = evaluate(flags, key, asked)
        if found.error_code is not ErrorCode.FLAG_NOT_FOUND:  # gone since it began
            told.append(msgspec.json.encode(_told(key, found, {})))
        now_s = time.monotonic()
        if now_s - began_s > BULK_WITHIN_S:
            return None
        if now_s - turn_s > BULK_TURN_S:
            await asyncio.sleep(0)
            turn_s = time.monotonic()
    return told


def _told(key: str, found: Resolution, age: Mapping[str, float]) -> dict[str, Any]:
    if found.error_code is not None:
        return {"key": key, "errorCode": found.error_code, "errorDetails": found.error_message or ""}
    told: dict[str, Any] = {
        "key": key,
        "reason": found.reason,
        "variant": found.variant or "",
        "metadata": {**found.metadata, **age},
    }
    if found.variant is not None:
        told["value"] = found.value
    return told


def _age(board: Board) -> dict[str, float]:
    return {} if board.stale_s is None else {AGE: round(board.stale_s, 1)}


def _matches(known: str, etag: str) -> bool:
    return known.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in known.split(","))


def _json(status: HTTPStatus, told: Any) -> Answer:
    return Answer(status, msgspec.json.encode(told))


__all__ = ["BODY_BYTES_MAX", "Answer", "bulk", "refetch", "single"]
