"""OTLP/HTTP as its specification has it: what is taken, how it is answered, and what is refused."""

import asyncio
import gzip
import json
import random
import zlib

import pytest
import requests
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from tests.bridge.kit import until
from tests.bridge.receiving import JSON, PROTO, Place
from tests.otlp.stock import ATTRIBUTES, DURATION, Service, as_json
from tests.otlp.test_fuzz import broken, seeds
from tests.otlp.test_sorting import GOOD, histogram

from tidegate.api.tokens import make_token
from tidegate.bridge.decode import BODY_BYTES_MAX, Encoding
from tidegate.bridge.receive import AT_ONCE_MAX, PATH
from tidegate.runtime.problem import Problem


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def body():
    service = Service()
    service.request(0.02)
    data = service.export()
    service.close()
    return data


@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
async def test_both_forms_are_taken_and_answered_in_kind(place, body, packed):
    pack = {None: bytes, "gzip": gzip.compress, "deflate": zlib.compress}[packed]
    how = {"Content_Encoding": packed} if packed else {}
    async with place.serve():
        proto = await place.post(pack(body), PROTO, **how)
        assert (proto.status_code, proto.headers["content-type"], proto.content) == (200, PROTO, b"")
        answered = await place.post(pack(as_json(body)), "application/json; charset=utf-8", **how)
        assert (answered.status_code, answered.headers["content-type"], answered.json()) == (200, JSON, {})
    assert [one.service for one in place.exports] == ["shop", "shop"]
    assert place.exports[0] == place.exports[1]
    assert {record.key for record in place.log.topic("otlp")} == {"web-1"}


async def test_what_cannot_be_used_is_told_and_the_rest_counts(place):
    request = json.dumps(histogram(GOOD, GOOD | {"count": 9}, GOOD | {"count": 8})).encode()
    async with place.serve():
        found = await place.post(request, JSON)
        told = found.json()["partialSuccess"]
        assert (found.status_code, told["rejectedDataPoints"]) == (200, "2")
        assert "buckets hold 3, the point says 9 (1)" in told["errorMessage"]
    (one,) = place.exports
    assert [point.count for point in one.points] == [3]


@pytest.mark.parametrize(
    ("status", "body", "kind", "headers"),
    [
        (400, b"\xff\xff", PROTO, {}),
        (400, b"{", JSON, {}),
        (400, b"no gzip", PROTO, {"Content_Encoding": "gzip"}),
        (400, gzip.compress(b"", mtime=0)[:-3], PROTO, {"Content_Encoding": "gzip"}),
        (400, gzip.compress(b"", mtime=0) + b"more", PROTO, {"Content_Encoding": "gzip"}),
        (413, bytes(BODY_BYTES_MAX + 1), PROTO, {}),
        (413, gzip.compress(bytes(BODY_BYTES_MAX + 1), mtime=0), PROTO, {"Content_Encoding": "gzip"}),
        (415, b"", "text/plain", {}),
        (415, b"", None, {}),
        (415, b"", PROTO, {"Content_Encoding": "zstd"}),
    ],
)
async def test_what_is_no_request_is_refused_with_a_status_that_says_why(place, status, body, kind, headers):
    async with place.serve():
        found = await place.post(body, kind, **headers)
    assert found.status_code == status
    assert "Retry-After" not in found.headers
    if kind == JSON:
        assert found.json()["message"]
    else:
        assert Status.FromString(found.content).message
    assert place.exports == []
    assert place.registry.get_sample_value("tidegate_bridge_answers_total", {"status": str(status)}) == 1


async def test_other_paths_and_methods_are_refused_in_the_same_form(place):
    async with place.serve():
        for method, path, status in (("GET", "", 405), ("POST", "x", 404)):
            found = await asyncio.to_thread(
                requests.request, method, place.url + path, headers={"Content-Type": JSON}, timeout=20
            )
            assert (found.status_code, bool(found.json()["message"])) == (status, True)


async def test_while_no_broker_answers_senders_are_asked_to_come_again(place, body):
    async with place.serve():
        place.log.reachable = False
        found = await place.post(body)
        assert (found.status_code, found.headers["Retry-After"]) == (503, "2")
        place.log.reachable = True
        assert (await place.post(body)).status_code == 200
    assert len(place.exports) == 1


class Slow:
    """A log whose answers are held back."""

    def __init__(self, log) -> None:
        self._log = log
        self.waiting = 0
        self.go = asyncio.Event()

    async def append(self, *arguments, **named):
        self.waiting += 1
        await self.go.wait()
        return await self._log.append(*arguments, **named)


async def test_of_too_many_at_once_the_last_are_asked_to_wait(place, body):
    slow = Slow(place.log)
    async with place.serve(slow):
        address, port = place.url.removeprefix("http://").partition("/")[0].split(":")
        head = f"POST {PATH} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {PROTO}\r\nContent-Length: {len(body)}\r\n\r\n"
        wires = [await asyncio.open_connection(address, int(port)) for _ in range(AT_ONCE_MAX)]
        for _, writer in wires:
            writer.write(head.encode() + body)
        await until(lambda: slow.waiting == AT_ONCE_MAX, "all are being written")
        found = await place.post(body)
        assert (found.status_code, found.headers["Retry-After"]) == (429, "2")
        slow.go.set()
        for reader, writer in wires:
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            writer.close()


async def test_without_a_token_this_machine_alone_is_served_and_with_one_nobody_without(place, body):
    async with place.serve(host="192.0.2.1"):
        assert place.url.startswith("http://127.0.0.1:")
        assert (await place.post(body, Host="evil.example")).status_code == 403
    text = make_token(place.tokens_file, "fleet")
    async with place.serve():
        for headers in ({}, {"Authorization": "Bearer nothing"}, {"Authorization": text}):
            refused = await place.post(body, **headers)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await place.post(body, Authorization=f"Bearer {text}", Host="any.example")).status_code == 200
    assert len(place.exports) == 1


async def test_a_port_that_is_taken_is_told_with_what_to_set(place, tmp_path):
    async with place.serve():
        port = int(place.url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(Problem, match=r"set bridge\.port"):
            await Place(tmp_path).serve(port=port).__aenter__()


@pytest.mark.parametrize("compression", list(Compression))
async def test_the_stock_exporter_is_content(place, compression):
    text = make_token(place.tokens_file, "fleet")
    async with place.serve():
        exporter = OTLPMetricExporter(place.url, headers={"authorization": f"Bearer {text}"}, compression=compression)
        provider = MeterProvider([PeriodicExportingMetricReader(exporter)], resource=Resource.create(ATTRIBUTES))
        provider.get_meter("stock").create_histogram(DURATION, unit="s").record(0.1)
        assert await asyncio.to_thread(provider.force_flush)
        await asyncio.to_thread(provider.shutdown)
    assert [point.count for one in place.exports for point in one.points] == [1, 1]


async def fuzzed(place, bodies: int, rng: random.Random) -> dict[int, int]:
    """Send bodies that are nearly right; return how they were answered."""
    began, statuses = seeds(), {}
    kinds = {Encoding.PROTO: PROTO, Encoding.JSON: JSON}
    async with place.serve():
        for _ in range(bodies):
            encoding, whole = rng.choice(began)
            sent = broken(rng, whole)
            packed = rng.random() < 0.3
            if packed:
                sent = broken(rng, gzip.compress(sent)) if rng.random() < 0.3 else gzip.compress(sent)
            found = await place.post(sent, kinds[encoding], **({"Content_Encoding": "gzip"} if packed else {}))
            statuses[found.status_code] = statuses.get(found.status_code, 0) + 1
            if found.status_code == 200 and encoding is Encoding.PROTO:
                ExportMetricsServiceResponse.FromString(found.content)
    return statuses


async def test_whatever_is_sent_is_answered_and_never_by_a_fault_of_ours(place, say):
    statuses = await fuzzed(place, 500, random.Random(9))
    say(f"500 fuzzed bodies over HTTP: {statuses}")
    assert set(statuses) == {200, 400}


@pytest.mark.thorough
async def test_so_are_20_000_bodies(place, say):
    statuses = await fuzzed(place, 20_000, random.Random(10))
    say(f"20,000 fuzzed bodies over HTTP: {statuses}")
    assert set(statuses) == {200, 400}
