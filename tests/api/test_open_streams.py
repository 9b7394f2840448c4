"""Streams that are open end with their token, over gRPC with the status that says why; they do not wait for a change."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import grpc
import httpx
import pytest
from msgspec.structs import replace
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2, sync_pb2_grpc
from tests.api.kit import Place
from tests.flagfeed.kit import flag
from tests.node.kit import until

from tidegate.api import routes, sync
from tidegate.api.tokens import LOOK_EVERY_S, Grant, make_token, read_tokens, revoke_token, write_tokens

LASTS_S = 60.0
ALL = "/ofrep/v1/evaluate/flags"
NEVER_S = 3_600.0


def revoked(place: Place) -> None:
    revoke_token(place.tokens_file, "page")
    place.ahead.elapse(LOOK_EVERY_S)


def remade(place: Place) -> None:
    revoke_token(place.tokens_file, "page")
    make_token(place.tokens_file, "page")
    place.ahead.elapse(LOOK_EVERY_S)


def expired(place: Place) -> None:
    place.ahead.elapse(LASTS_S)


def narrowed(place: Place) -> None:
    write_tokens(place.tokens_file, [replace(one, sets=("other",)) for one in read_tokens(place.tokens_file)])
    place.ahead.elapse(LOOK_EVERY_S)


ENDS = [
    (revoked, grpc.StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED),
    (remade, grpc.StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED),
    (expired, grpc.StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED),
    (narrowed, grpc.StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN),
]
Look = Callable[[float], None]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """How often an open stream looks at its token."""

    def every(seconds: float) -> None:
        monkeypatch.setattr(sync, "LOOK_EVERY_S", seconds)
        monkeypatch.setattr(routes, "LOOK_EVERY_S", seconds)

    return every


@pytest.fixture
async def text(place: Place) -> str:
    await place.author.put("web/dark", flag("on"))
    return make_token(
        place.tokens_file, "page", ("web", "spare"), Grant(expires_ms=place.ahead.now_ms() + round(LASTS_S * 1_000))
    )


@contextlib.asynccontextmanager
async def subscribed(place: Place, text: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """What reads the next message of a stream that had its first one."""
    async with grpc.aio.insecure_channel(place.served.sync) as channel:
        stream = sync_pb2_grpc.FlagSyncServiceStub(channel).SyncFlags(sync_pb2.SyncFlagsRequest(provider_id=text))
        await stream.read()
        yield stream.read


async def status_of(read: Callable[[], Awaitable[object]]) -> grpc.StatusCode:
    async with asyncio.timeout(20):
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read()
    return ended.value.code()


@contextlib.asynccontextmanager
async def hearing(place: Place, text: str) -> AsyncIterator[tuple[str, AsyncIterator[str]]]:
    """The path of a stream of events that is open, and its lines."""
    (stream,) = (await place.post(ALL, X_API_Key=text)).json()["eventStreams"]
    path = stream["endpoint"]["requestUri"]
    async with httpx.AsyncClient(timeout=20) as client, client.stream("GET", place.served.url + path) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith(":")
        yield path, lines


async def events_in(lines: AsyncIterator[str]) -> list[str]:
    """The events until the stream ends."""
    async with asyncio.timeout(20):
        return [line async for line in lines if line.startswith("data")]


@pytest.mark.parametrize(("change", "code", "_"), ENDS)
async def test_a_sync_stream_ends_with_its_token_though_nothing_changes(place, text, look, change, code, _):
    look(0.02)
    async with place.serve(), subscribed(place, text) as read:
        change(place)
        assert await status_of(read) is code


@pytest.mark.parametrize(("change", "_", "status"), ENDS)
async def test_a_stream_of_events_ends_with_its_token_and_who_asks_again_learns_why(place, text, look, change, _, status):
    look(0.02)
    async with place.serve(), hearing(place, text) as (path, lines):
        change(place)
        assert await events_in(lines) == []
        async with httpx.AsyncClient(timeout=20) as client:
            assert (await client.get(place.served.url + path)).status_code == status


@pytest.mark.parametrize("change", [change for change, _, _ in ENDS])
async def test_whose_token_has_ended_is_told_no_change_more(place, text, look, change):
    look(NEVER_S)
    async with place.serve(), subscribed(place, text) as read, hearing(place, text) as (_, lines):
        change(place)
        await place.author.put("web/dark", flag("off"))
        assert await status_of(read) in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        assert await events_in(lines) == []


async def test_the_first_token_ends_streams_that_were_opened_without_one(place, look):
    look(0.02)
    async with place.serve(), subscribed(place, "") as read, hearing(place, "") as (_, lines):
        make_token(place.tokens_file, "page")
        place.ahead.elapse(LOOK_EVERY_S)
        assert await status_of(read) is grpc.StatusCode.UNAUTHENTICATED
        assert await events_in(lines) == []


async def test_who_waits_for_the_first_flags_waits_no_longer_than_the_token(place, text, look):
    look(0.02)
    place.log.reachable = False
    async with place.serve(), grpc.aio.insecure_channel(place.served.sync) as channel:
        stream = sync_pb2_grpc.FlagSyncServiceStub(channel).SyncFlags(sync_pb2.SyncFlagsRequest(provider_id=text))
        reading = asyncio.ensure_future(stream.read())
        await until(lambda: place.registry.get_sample_value("tidegate_api_subscribers", {"kind": "sync"}) == 1)
        revoked(place)
        assert await status_of(lambda: reading) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_that_holds_keeps_its_streams_and_a_wider_one_too(place, text, look):
    look(0.02)
    async with place.serve(), subscribed(place, text) as read, hearing(place, text) as (_, lines):
        make_token(place.tokens_file, "other")
        write_tokens(place.tokens_file, [replace(one, sets=()) for one in read_tokens(place.tokens_file)])
        place.ahead.elapse(LOOK_EVERY_S)
        await place.author.put("web/light", flag("on"))
        async with asyncio.timeout(20):
            assert b"light" in (await read()).flag_configuration.encode()
            assert [line async for line in _until_event(lines)][-1].startswith("data")


async def _until_event(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith("data"):
            return
