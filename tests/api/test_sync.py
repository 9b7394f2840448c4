"""flagd's sync: what subscribers get, who may subscribe, and what becomes of slow and of many ones."""

import asyncio
import json
import socket

import grpc
import pytest
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2, sync_pb2_grpc
from tests.api.kit import client_of, flagd_provider
from tests.flagfeed.kit import flag
from tests.node.kit import until

from tidegate.api import sync
from tidegate.api.tokens import make_token
from tidegate.runtime.problem import Problem


def stub_of(channel):
    return sync_pb2_grpc.FlagSyncServiceStub(channel)


def channel_to(place):
    return grpc.aio.insecure_channel(place.served.sync)


def keys_of(answer) -> list[str]:
    return sorted(json.loads(answer.flag_configuration)["flags"])


async def test_a_subscriber_gets_the_set_and_then_each_change_and_a_removed_flag_is_gone(place):
    await place.put("web", {"flags": {"dark": json.loads(flag("on"))}, "$evaluators": {"staff": {"==": [1, 1]}}})
    async with place.serve(), channel_to(place) as channel:
        stream = stub_of(channel).SyncFlags(sync_pb2.SyncFlagsRequest())
        first = json.loads((await stream.read()).flag_configuration)
        assert first == {"flags": {"dark": json.loads(flag("on"))}, "$evaluators": {"staff": {"==": [1, 1]}}, "metadata": {}}
        await place.author.put("web/light", flag("on"))
        assert keys_of(await stream.read()) == ["dark", "light"]
        await place.author.put("other/x", flag("on"))
        await place.author.put("web/dark", None)
        assert keys_of(await stream.read()) == ["light"]


async def test_who_reads_slowly_skips_what_came_between(place):
    await place.author.put("web/last", flag("on", metadata={"n": 0}))
    async with place.serve(), channel_to(place) as channel:
        stream = stub_of(channel).SyncFlags(sync_pb2.SyncFlagsRequest())
        await stream.read()
        for number in range(1, 201):
            await place.author.put("web/last", flag("on", metadata={"n": number, "much": "x" * 100_000}))
        await until(lambda: place.board.set("web").flags["last"].metadata["n"] == 200)
        seen = []
        while not seen or seen[-1] != 200:
            seen.append(json.loads((await stream.read()).flag_configuration)["flags"]["last"]["metadata"]["n"])
        assert seen == sorted(set(seen))
        assert len(seen) < 200


@pytest.mark.parametrize(
    ("field", "header", "keys"),
    [("", None, ["dark"]), ("other", None, ["x"]), ("web", "flagSetId=other", ["x"]), ("", "nobodys", [])],
)
async def test_field_or_header_names_the_set(place, field, header, keys):
    await place.author.put("web/dark", flag("on"))
    await place.author.put("other/x", flag("on"))
    metadata = None if header is None else (("flagd-selector", header),)
    async with place.serve(), channel_to(place) as channel:
        stub = stub_of(channel)
        fetched = await stub.FetchAllFlags(sync_pb2.FetchAllFlagsRequest(selector=field), metadata=metadata)
        streamed = await stub.SyncFlags(sync_pb2.SyncFlagsRequest(selector=field), metadata=metadata).read()
        assert (keys_of(fetched), keys_of(streamed)) == (keys, keys)


async def test_metadata_is_never_empty_and_adds_nothing_that_a_rule_sees(place):
    async with place.serve(), channel_to(place) as channel:
        found = await stub_of(channel).GetMetadata(sync_pb2.GetMetadataRequest())
        assert dict(found.metadata) == {"$flagd": "tidegate"}


async def test_tokens_are_asked_for_in_a_header_or_as_provider_id(place):
    every, other = make_token(place.tokens_file, "every"), make_token(place.tokens_file, "other", ("other",))
    async with place.serve(), channel_to(place) as channel:
        stub = stub_of(channel)

        async def code(provider_id="", **headers):
            metadata = tuple((name.replace("_", "-"), text) for name, text in headers.items())
            try:
                await stub.FetchAllFlags(sync_pb2.FetchAllFlagsRequest(provider_id=provider_id), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                fetched = error.code()
            else:
                fetched = grpc.StatusCode.OK
            stream = stub.SyncFlags(sync_pb2.SyncFlagsRequest(provider_id=provider_id), metadata=metadata)
            if fetched is grpc.StatusCode.OK:
                await stream.read()
            else:
                with pytest.raises(grpc.aio.AioRpcError) as streamed:
                    await stream.read()
                assert streamed.value.code() is fetched
            return fetched

        assert await code() is grpc.StatusCode.UNAUTHENTICATED
        assert await code("tgapi_x") is grpc.StatusCode.UNAUTHENTICATED
        assert await code(every) is grpc.StatusCode.OK
        assert await code(authorization=f"Bearer {every}") is grpc.StatusCode.OK
        assert await code(x_api_key=every) is grpc.StatusCode.OK
        assert await code(other) is grpc.StatusCode.PERMISSION_DENIED
        assert await code(other, flagd_selector="other") is grpc.StatusCode.OK
        assert await code(every, flagd_selector="a/b") is grpc.StatusCode.INVALID_ARGUMENT


async def test_before_anything_was_read_a_subscriber_waits_and_is_not_told_that_there_are_no_flags(place):
    await place.author.put("web/dark", flag("on"))
    place.log.reachable = False
    async with place.serve(), channel_to(place) as channel:
        stub = stub_of(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.FetchAllFlags(sync_pb2.FetchAllFlagsRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        reading = asyncio.ensure_future(stub.SyncFlags(sync_pb2.SyncFlagsRequest()).read())
        place.log.reachable = True
        async with asyncio.timeout(20):
            assert keys_of(await reading) == ["dark"]


async def test_one_subscriber_too_many_is_refused_and_a_place_that_is_free_is_given_again(place, monkeypatch):
    monkeypatch.setattr(sync, "SUBSCRIBERS_MAX", 2)
    async with place.serve(), channel_to(place) as channel:
        stub = stub_of(channel)
        streams = [stub.SyncFlags(sync_pb2.SyncFlagsRequest()) for _ in range(2)]
        for stream in streams:
            await stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SyncFlags(sync_pb2.SyncFlagsRequest()).read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        streams[0].cancel()
        open_now = lambda: place.registry.get_sample_value("tidegate_api_subscribers", {"kind": "sync"})  # noqa: E731
        await until(lambda: open_now() == 1)
        assert keys_of(await stub.SyncFlags(sync_pb2.SyncFlagsRequest()).read()) == []


async def test_who_does_not_read_at_all_is_let_go(place, monkeypatch):
    """Flow control of the connection stops the server's writes; after a while the stream ends."""
    monkeypatch.setattr(sync, "SLOW_S", 0.3)
    await place.author.put("web/much", flag("on", metadata={"much": "x" * 200_000}))
    async with place.serve():
        _, writer = await asyncio.open_connection("127.0.0.1", place.sync_port)
        writer.write(raw_call())
        try:
            await until(lambda: place.registry.get_sample_value("tidegate_api_slow_subscribers_total") == 1, 20)
            await until(lambda: place.registry.get_sample_value("tidegate_api_subscribers", {"kind": "sync"}) == 0)
        finally:
            writer.close()


def raw_call() -> bytes:
    """A call of SyncFlags in HTTP/2 by a client that grants 64 KiB and never more."""

    def frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
        return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data

    def literal(name: bytes, text: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name + bytes([len(text)]) + text

    headers = b"".join(
        literal(name, text)
        for name, text in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/flagd.sync.v1.FlagSyncService/SyncFlags"),
            (b":authority", b"x"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
    )
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers) + frame(0, 1, 1, bytes(5))


async def test_bytes_that_are_no_request_end_that_call_alone(place):
    async with place.serve(), channel_to(place) as channel:
        call = channel.unary_unary("/flagd.sync.v1.FlagSyncService/FetchAllFlags")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(b"\xff\xff")
        assert keys_of(await stub_of(channel).FetchAllFlags(sync_pb2.FetchAllFlagsRequest())) == []


async def test_a_stock_provider_sees_a_kill_and_a_removal(place):
    await place.author.put("web/dark", flag("on"))
    async with place.serve(), client_of(flagd_provider(place)) as client:
        said = lambda: client.get_boolean_details("dark", default_value=False)  # noqa: E731
        assert said().value is True
        await place.author.put("web/dark", flag("off"))
        await until(lambda: said().value is False)
        await place.author.put("web/dark", None)
        await until(lambda: said().error_code is not None and said().error_code.value == "FLAG_NOT_FOUND")


@pytest.mark.parametrize("which", ["port", "sync"])
async def test_a_port_in_use_is_told_with_what_to_do(place, which):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Problem) as problem:
        async with place.serve(**{which: taken.getsockname()[1]}):
            pass
    assert "in use" in problem.value.what
    assert f"api.{which}" in problem.value.remedy


async def test_without_token_only_this_machine_is_served_whatever_is_configured(place):
    async with place.serve(host="0.0.0.0"):  # noqa: S104 - which it does not do
        assert place.served.url.startswith("http://127.0.0.1:")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            # Another address of loopback is another address.
            assert probe.connect_ex(("127.0.0.2", place.sync_port)) != 0
