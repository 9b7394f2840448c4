"""The scraper against real servers: what it asks, what it bears, and what it says."""

import asyncio
import contextlib
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.node.kit import config_of, until

from tidegate.node.config import ConfigError, ServiceConfig, load_config
from tidegate.node.rows import Rows
from tidegate.node.scrape.config import ScrapeConfig, faults, measures_of, url_of
from tidegate.node.scrape.fetch import PAGE_BYTES_MAX, ScrapeFailed, fetch
from tidegate.node.scrape.scraper import Scraper
from tidegate.ports import SystemClock
from tidegate.reconcile.actions import Running
from tidegate.scrape.selector import parse
from tidegate.wire.plans import Artifact
from tidegate.wire.telemetry import Source

PAGE = b'# TYPE http_requests_total counter\nhttp_requests_total{code="200"} %d\n'


def answer(body: bytes, kind: bytes = b"text/plain; version=0.0.4", status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, kind, len(body), more, body)


class Target:
    """A server of which every answer is what the test says; ``None`` never comes."""

    def __init__(self) -> None:
        self.answer: bytes | None = answer(PAGE % 1)
        self.asked: list[str] = []
        self.open = self.most = 0

    @asynccontextmanager
    async def serving(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader, writer) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.answer is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(self.answer)
                await writer.drain()
        writer.close()
        self.open -= 1


@pytest.fixture
async def target():
    async with Target().serving() as target:
        yield target


async def test_a_page_is_asked_for_in_the_richest_format_on_a_connection_of_its_own(target):
    got = await fetch(target.url)
    assert (got.body, got.content_type) == (PAGE % 1, "text/plain; version=0.0.4")
    (asked,) = target.asked
    assert asked.startswith("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:")
    assert (
        asked.index("application/vnd.google.protobuf") < asked.index("application/openmetrics-text") < asked.index("text/plain")
    )
    assert "Connection: close" in asked


async def test_chunks_are_put_together(target):
    target.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert (await fetch(target.url)).body == b"abcde"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "did not answer within 0.1 s"),
        (b"", "no whole answer"),
        (b"SMTP ready\r\n", "no whole answer"),
        (answer(b"half")[:-2], "no whole answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc\r\n", "no whole answer"),
        (answer(b"", status=b"404 Not Found"), "answers 404"),
        (
            answer(b"", status=b"302 Found", more=b"Location: http://elsewhere/\r\n"),
            "answers 302; it points to http://elsewhere/",
        ),
        (answer(b"x" * (PAGE_BYTES_MAX + 1)), "more than 8 MiB"),
    ],
)
async def test_whatever_is_no_page_is_refused_with_what_it_is(target, given, said):
    target.answer = given
    with pytest.raises(ScrapeFailed, match=said):
        await fetch(target.url, 0.1 if given is None else 5.0)


async def test_where_nobody_listens_the_address_is_named():
    with pytest.raises(ScrapeFailed, match=r"http://127\.0\.0\.1:1/metrics"):
        await fetch("http://127.0.0.1:1/metrics")


class QuickClock(SystemClock):
    """Four seconds in one; requests take as long as they take."""

    def now_ms(self) -> int:
        return super().now_ms() * 4

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 4)


class Kept(Rows):
    """Rows that go nowhere."""

    def __init__(self) -> None:
        super().__init__(None, "n1")
        self.kept = []
        self.refuses = False

    def put(self, row) -> None:
        if self.refuses:
            raise ValueError(row)
        super().put(row)
        self.kept.append(row)


class Machine:
    """What an executor says of what runs."""

    def __init__(self) -> None:
        self.now: Running | None = Running(artifact=Artifact(version="v1", sha256="0" * 64, uri="x"), boot="b1", ready_ms=1)

    def running(self, _service):
        return self.now


@asynccontextmanager
async def scraping(tmp_path, machine=None, **targets):
    services = {name: ServiceConfig(executor="none", scrape=ScrapeConfig(url=one.url)) for name, one in targets.items()}
    rows, machine = Kept(), machine or Machine()
    scraper = Scraper(config_of(tmp_path, **services), dict.fromkeys(services, machine), QuickClock(), rows, "agent")
    run = asyncio.ensure_future(scraper.run())
    with capture_logs() as said:
        try:
            yield scraper, rows, said
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)


async def test_a_target_that_hangs_delays_no_other_and_is_asked_once_at_a_time(tmp_path, target):
    async with Target().serving() as hanging:
        hanging.answer = None
        async with scraping(tmp_path, shop=target, stuck=hanging) as (scraper, rows, said):
            await until(lambda: scraper.results().get(("stuck", "failed"), 0) >= 2 and len(rows.kept) >= 2)
            assert hanging.most == 1
            assert {row.service for row in rows.kept} == {"shop"}
            assert [entry["event"] for entry in said] == ["not scraped"]
            assert scraper.up() == {"shop": True, "stuck": False}


async def test_a_failure_is_said_once_and_its_end_too_and_what_was_missed_comes_with_the_next_row(tmp_path, target):
    async with scraping(tmp_path, shop=target) as (scraper, rows, said):
        await until(lambda: len(target.asked) == 1)
        target.answer = answer(b"<html>", b"text/html")
        await until(lambda: scraper.results().get(("shop", "failed"), 0) >= 2)
        target.answer = answer(PAGE % 8)
        await until(lambda: rows.kept)
        assert (rows.kept[0].requests, rows.kept[0].source) == (7, Source.SCRAPE)
        assert rows.kept[0].length_ms >= 3_000
        assert [entry["event"] for entry in said] == ["not scraped", "scraped again"]
        assert "text/html" in said[0]["problem"]


async def test_a_page_that_was_read_and_cannot_be_used_is_a_failure_like_any_other(tmp_path, target):
    async with scraping(tmp_path, shop=target) as (scraper, rows, said):
        rows.refuses = True
        await until(lambda: scraper.results().get(("shop", "failed"), 0) >= 2)
        assert scraper.up() == {"shop": False}
        rows.refuses = False
        await until(lambda: rows.kept)
        assert [entry["event"] for entry in said] == ["not scraped", "scraped again"]
        assert "cannot be used: ValueError" in said[0]["problem"]
        assert scraper.results()["shop", "row"] == len(rows.kept)


async def test_a_page_of_which_nothing_is_known_is_said_once_and_is_an_idle_service(tmp_path, target):
    target.answer = answer(b"strange_metric 5\n")
    async with scraping(tmp_path, shop=target) as (_, rows, said):
        await until(lambda: len(rows.kept) >= 2)
        assert {row.requests for row in rows.kept} == {0}
        assert [entry["event"] for entry in said] == ["page shows no requests yet"]
        assert "services.shop.scrape" in said[0]["remedy"]


async def test_what_does_not_run_is_not_asked(tmp_path, target):
    machine = Machine()
    machine.now = None
    async with (
        Target().serving() as other,
        scraping(tmp_path, machine, shop=target),
        scraping(tmp_path, other=other) as (_, rows, _),
    ):
        await until(lambda: rows.kept)
    assert target.asked == []


async def test_a_version_that_changes_while_a_page_is_under_way_makes_no_row(tmp_path, target):
    machine = Machine()
    async with scraping(tmp_path, machine, shop=target) as (scraper, rows, _):
        await until(lambda: rows.kept)
        target.answer = None
        asked = len(target.asked)
        await until(lambda: len(target.asked) > asked)
        machine.now = replace(machine.now, boot="b2", shared=True)
        target.answer = answer(PAGE % 900)
        await until(lambda: scraper.results().get(("shop", "shared"), 0) >= 1)
        machine.now = replace(machine.now, shared=False)
        made = len(rows.kept)
        await until(lambda: len(rows.kept) > made)
        assert {row.requests for row in rows.kept} == {0}
        assert rows.kept[-1].boot == "b2.scrape.agent"


# configuration

GOOD = """
fleet: demo
node: n1
kafka: {bootstrap: "127.0.0.1:9092"}
keys: {root: root.json, private: n1.key}
state: state
services:
  shop:
    command: [run]
    listen: "127.0.0.1:8101"
    scrape: SCRAPE
"""


def load(folder, scrape: str):
    path = folder / "n1.yaml"
    path.write_text(GOOD.replace("SCRAPE", scrape))
    return load_config(path).services["shop"]


def test_everything_may_be_left_out(tmp_path):
    shop = load(tmp_path, "{}")
    assert url_of(shop.scrape, shop.listen) == "http://127.0.0.1:8101/metrics"
    assert len(measures_of(shop.scrape).traffic) > 1


def test_everything_may_be_said(tmp_path):
    shop = load(
        tmp_path,
        """
      url: http://127.0.0.1:9001/m?a=b
      requests: ['a_total{path!="/m"}', b_total]
      errors: 'a_total{code=~"5.."}'
      latency: a_seconds
      gauges: {queue: queue_length}
      counters: {orders: orders_total}
      ratios: {cache: {part: hits_total, whole: lookups_total}}
""",
    )
    measures = measures_of(shop.scrape)
    ((traffic,), latency) = measures.traffic, measures.latency
    assert [one.name for one in traffic.requests] == ["a_total", "b_total"]
    assert traffic.errors == (parse('a_total{code=~"5.."}'),)
    assert latency == (parse("a_seconds"),)
    assert measures.wanted.numbers == {"a_total", "b_total", "queue_length", "orders_total", "hits_total", "lookups_total"}
    assert measures.wanted.histograms == {"a_seconds"}


def test_a_histogram_alone_counts_the_requests_too():
    (traffic,) = measures_of(ScrapeConfig(latency='rpc_seconds{kind="server"}')).traffic
    assert traffic.requests == (parse('rpc_seconds_count{kind="server"}'),)
    assert parse('rpc_seconds_count{kind="server",code=~"5.."}') in traffic.errors


@pytest.mark.parametrize(
    ("scrape", "path"),
    [
        ("{requests: '5xx'}", "services.shop.scrape.requests"),
        ("{requests: [a_total, 'b{']}", "services.shop.scrape.requests"),
        ("{errors: a_total}", "services.shop.scrape.requests: say what counts all requests too"),
        ("{latency: 'a{le=5}'}", "services.shop.scrape.latency"),
        ("{gauges: {queue: '{'}}", "services.shop.scrape.gauges.queue"),
        ("{ratios: {cache: {part: '{', whole: b}}}", "services.shop.scrape.ratios.cache.part"),
        ("{ratios: {cache: {part: a}}}", "whole"),
        ("{url: 'https://127.0.0.1/metrics'}", "services.shop.scrape.url"),
        ("{url: 'http://127.0.0.1:x/metrics'}", "services.shop.scrape.url"),
        ("{url: 'http://me:secret@127.0.0.1/metrics'}", "services.shop.scrape.url"),
        ("{url: 'http://127.0.0.1/a b'}", "services.shop.scrape.url"),
        ("{uri: x}", "uri"),
    ],
)
def test_a_fault_is_named_by_its_path(tmp_path, scrape, path):
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, scrape)
    assert path in str(refused.value)


def test_a_service_without_a_port_must_say_where_its_page_is():
    assert [path for path, _ in faults(ScrapeConfig(), None)] == ["url"]
    assert not [*faults(ScrapeConfig(url="http://[::1]:9/metrics"), None)]
