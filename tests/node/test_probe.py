"""Probes against real servers (I2): what is asked, what counts as right, what is borne, and what a swap may not cost."""

import asyncio
import contextlib
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.node.kit import config_of, free_port, until
from tests.node.test_scrape import Kept, Machine

from tidegate.node.config import ServiceConfig
from tidegate.node.probe.ask import BODY_BYTES_MAX, Asker
from tidegate.node.probe.prober import Prober
from tidegate.ports import SystemClock
from tidegate.wire.probes import Method, Probe
from tidegate.wire.telemetry import Source, check

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
ASKED = Probe(http="/health")
END_MS = 1_700_000_001_000


class Server:
    """Keeps connections; every answer is what the test says, and waits for the gate. ``None`` never comes; ``last`` closes behind
    each answer.
    """

    def __init__(self) -> None:
        self.answer: bytes | None = OK
        self.last = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[bytes] = []
        self.connections = self.open = 0
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def serving(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.drop()

    def drop(self) -> None:
        """Give up every connection, as a server does that has kept it for long."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader, writer) -> None:
        self.connections += 1
        self.open += 1
        self._writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line.split()[1]) for line in head.splitlines() if line.startswith(b"Content-Length")), 0)
                self.asked.append(head + await reader.readexactly(length))
                await self.gate.wait()
                if self.answer is None:
                    await reader.read()
                    break
                for start in range(0, len(self.answer), 1 << 16):
                    writer.write(self.answer[start : start + (1 << 16)])
                    await writer.drain()
                if self.last:
                    break
        self.open -= 1
        writer.close()


@pytest.fixture
async def server():
    async with Server().serving() as server:
        yield server


@pytest.fixture
async def asker(server):
    asker = Asker(server.address, SystemClock().monotonic_s)
    yield asker
    asker.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n"
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30) + b"fine" + b"x" * (4 * BODY_BYTES_MAX)


@pytest.mark.parametrize(
    ("answer", "probe", "problem"),
    [
        (OK, ASKED, ""),
        (CHUNKED, Probe(http="/", contains="fine"), ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ASKED, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Probe(http="/", method=Method.HEAD), ""),
        (OK, Probe(http="/", contains="fine"), ""),
        (OK, Probe(http="/", contains="well"), "does not contain 'well'"),
        (OK, Probe(http="/", status=204), "answers 200, not 204"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Probe(http="/", status=404), ""),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", ASKED, "answers 500, not 2xx"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", ASKED, "answers 302, not 2xx"),
        (BIG, Probe(http="/", contains="fine"), ""),
        (b"SMTP ready\r\n\r\n", ASKED, "no whole answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, ASKED, "its head has more than 64 KiB"),
        (None, Probe(http="/", timeout="50ms"), "no whole answer within 50ms"),
        (OK[:-1], Probe(http="/", timeout="50ms"), "no whole answer within 50ms"),
    ],
    ids=lambda one: (one[:30] if isinstance(one, bytes) else None) or None,
)
async def test_what_is_right_and_what_is_not(server, asker, answer, probe, problem):
    server.answer = answer
    told = await asker.ask(probe)
    assert problem in told.problem if problem else told.problem == ""
    assert told.seconds > 0


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "without one"),
        (b"HTTP/1.1 200", "its head is torn"),
        (OK[:-1], "its body is torn"),
        (CHUNKED[:-9], "its body is torn"),
    ],
)
async def test_an_answer_that_breaks_off_is_none(server, asker, answer, problem):
    server.answer, server.last = answer, True
    assert problem in (await asker.ask(ASKED)).problem


async def test_a_body_without_a_length_ends_with_its_connection(server, asker):
    server.answer, server.last = b"HTTP/1.1 200 OK\r\n\r\nall is fine", True
    assert (await asker.ask(Probe(http="/", contains="all is fine"))).problem == ""


async def test_where_nobody_listens_there_is_an_error_and_no_latency():
    told = await Asker(f"0.0.0.0:{free_port()}", SystemClock().monotonic_s).ask(ASKED)
    assert "127.0.0.1" in told.problem
    assert told.seconds is None


async def test_a_connection_alone_may_be_asked_for(server, asker):
    assert (await asker.ask(Probe(tcp=True))).problem == ""
    assert server.asked == []


async def test_the_question_is_the_plans_and_says_who_asks(server, asker):
    await asker.ask(Probe(http="/api?a=1", method=Method.POST, headers={"Content-Type": "text/x"}, body="düne"))
    (asked,) = server.asked
    head, _, body = asked.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /api?a=1 HTTP/1.1"
    assert {f"Host: {server.address}".encode(), b"User-Agent: tidegate-probe", b"Content-Type: text/x"} < {*head.splitlines()}
    assert body.decode() == "düne"


async def test_one_connection_is_kept_and_a_server_that_gave_it_up_is_at_no_fault(server, asker):
    for _ in range(5):
        assert (await asker.ask(ASKED)).problem == ""
    assert (server.connections, len(server.asked)) == (1, 5)
    server.drop()
    assert (await asker.ask(ASKED)).problem == ""
    assert server.connections == 2
    server.answer, server.last = b"", True
    assert "without one" in (await asker.ask(ASKED)).problem, "asked twice, and twice given up"
    assert server.connections == 3


@asynccontextmanager
async def probing(tmp_path, machine=None, busy=None, **servers):
    services = {name: ServiceConfig(executor="none", listen=address) for name, address in servers.items()}
    rows, machine, busy = Kept(), machine or Machine(), set() if busy is None else busy
    config = config_of(tmp_path, **services)
    executors = dict.fromkeys(services, machine)
    prober = Prober(config, executors, SystemClock(), rows, life="agent", busy=busy.__contains__)
    with capture_logs() as said:
        try:
            yield prober, rows, said
        finally:
            prober.end()
            await asyncio.sleep(0)


OFTEN = Probe(http="/health", interval="100ms", timeout="100ms")


async def test_what_was_answered_stands_in_the_row_of_its_second(tmp_path, server):
    async with probing(tmp_path, shop=server.address) as (prober, rows, _):
        prober.second("shop", OFTEN, END_MS)
        await until(lambda: len(server.asked) >= 3)
        server.answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
        await until(lambda: prober.results["shop", "wrong"] >= 2)
        prober.second("shop", OFTEN, END_MS + 1_000)
        (row,) = rows.kept
        right, wrong = prober.results["shop", "right"], prober.results["shop", "wrong"]
    check(row)
    assert (row.requests, row.errors, sum(row.latency.values())) == (right + wrong, wrong, right + wrong)
    assert (row.node, row.service, row.version, row.source) == ("n1", "shop", "v1", Source.PROBE)
    assert (row.boot, row.seq, row.start_ms, row.length_ms) == ("agent.probe", 1, END_MS, 1_000)
    assert server.connections == 1


async def test_a_second_without_a_question_has_a_row_too_and_a_service_that_is_not_ready_has_none(tmp_path, server):
    machine, rare = Machine(), Probe(http="/health", interval="60s")
    async with probing(tmp_path, machine, shop=server.address) as (prober, rows, _):
        for second in range(3):
            prober.second("shop", rare, END_MS + second * 1_000)
        assert [(row.seq, row.requests) for row in rows.kept] == [(1, 0), (2, 0)]
        machine.now = replace(machine.now, ready_ms=0)
        prober.second("shop", rare, END_MS + 3_000)
        machine.now = None
        prober.second("shop", rare, END_MS + 4_000)
        assert len(rows.kept) == 2


@pytest.mark.parametrize("change", ["busy", "shared", "another process", "gone"])
async def test_what_is_answered_while_a_version_is_changed_counts_for_none(tmp_path, server, change):
    machine, busy, patient = Machine(), set(), replace(OFTEN, timeout="10s")
    now = machine.now
    changed = {"shared": replace(now, shared=True), "another process": replace(now, boot="b2"), "gone": None}
    async with probing(tmp_path, machine, busy, shop=server.address) as (prober, rows, _):
        prober.second("shop", patient, END_MS)
        await until(lambda: prober.results["shop", "right"] >= 1)
        server.gate.clear()
        asked = len(server.asked)
        await until(lambda: len(server.asked) > asked)
        machine.now = changed.get(change, now)
        busy |= {"shop"} if change == "busy" else set()
        server.answer = b"HTTP/1.1 503 Going\r\nContent-Length: 0\r\n\r\n"
        server.gate.set()
        await until(lambda: prober.results["shop", "unsettled"] == 1)
        machine.now = None
        await until(lambda: server.open == 0, what="the connection is let go, or a drain would wait for it")
        prober.second("shop", patient, END_MS + 1_000)
        machine.now = now
        busy.clear()
        prober.second("shop", patient, END_MS + 2_000)
    if change != "another process":
        assert prober.results["shop", "wrong"] == 0
        assert sum(row.errors for row in rows.kept) == 0


async def test_while_two_processes_share_a_socket_none_is_asked_but_the_node_is_there(tmp_path, server):
    machine = Machine()
    machine.now = replace(machine.now, shared=True)
    async with probing(tmp_path, machine, shop=server.address) as (prober, rows, _):
        prober.second("shop", OFTEN, END_MS)
        machine.now, other = replace(machine.now, shared=False), machine.now
        await until(lambda: prober.results["shop", "right"] >= 1)
        machine.now = other
        asked = len(server.asked)
        prober.second("shop", OFTEN, END_MS + 1_000)
        prober.second("shop", OFTEN, END_MS + 2_000)
        assert rows.kept[-1].requests == 0
        assert len(server.asked) <= asked + 1


async def test_a_service_that_hangs_is_asked_once_at_a_time_and_delays_no_other(tmp_path, server):
    async with Server().serving() as hanging:
        hanging.answer = None
        async with probing(tmp_path, shop=server.address, stuck=hanging.address) as (prober, rows, said):
            for service in ("shop", "stuck"):
                prober.second(service, OFTEN, END_MS)
            await until(lambda: prober.results["stuck", "wrong"] >= 3 and prober.results["shop", "right"] >= 3)
            assert hanging.open <= 1
            assert [one["event"] for one in said if one["log_level"] == "warning"] == ["wrong answer to a probe"]
            prober.second("stuck", OFTEN, END_MS + 1_000)
    assert (rows.kept[-1].errors, sum(rows.kept[-1].latency.values())) == (rows.kept[-1].requests, rows.kept[-1].requests)


async def test_another_plan_is_another_question_and_a_plan_without_one_ends_it(tmp_path, server):
    async with probing(tmp_path, shop=server.address) as (prober, rows, _):
        prober.second("shop", OFTEN, END_MS)
        await until(lambda: server.asked)
        prober.second("shop", replace(OFTEN, http="/other"), END_MS + 1_000)
        await until(lambda: b"/other" in server.asked[-1])
        prober.second("shop", None, END_MS + 2_000)
        await until(lambda: server.open == 0)
        asked = len(server.asked)
        prober.second("shop", None, END_MS + 3_000)
        assert (rows.kept, len(server.asked)) == ([], asked)


async def test_a_service_of_no_known_address_is_said_once(tmp_path):
    async with probing(tmp_path, shop=None) as (prober, rows, said):
        for second in range(3):
            prober.second("shop", OFTEN, END_MS + second * 1_000)
        assert rows.kept == []
    (told,) = said
    assert (told["event"], "services.shop.address" in told["remedy"]) == ("not probed", True)


async def test_nodes_ask_at_different_moments_and_each_always_at_its_own(tmp_path):
    """A thousand nodes must not ask a shared database in the same millisecond."""
    moments = set()
    for node in range(20):
        clock = Fixed()
        config = config_of(tmp_path, node=f"n{node}", shop=ServiceConfig(executor="none", listen="127.0.0.1:1"))
        prober = Prober(config, {"shop": Machine()}, clock, Kept(), life="agent", busy=lambda _: False)
        prober.second("shop", ASKED, END_MS)
        await until(lambda clock=clock: clock.asked)
        prober.end()
        moments.add(clock.asked[0])
    assert len(moments) >= 18
    assert all(0 < seconds <= 1 for seconds in moments)


class Fixed(SystemClock):
    """A moment for ever; keeps how long was to be waited."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def now_ms(self) -> int:
        return END_MS

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.Event().wait()


def test_a_service_is_asked_where_it_listens_unless_its_file_says_where():
    assert ServiceConfig(listen="0.0.0.0:80").asked_at == "0.0.0.0:80"
    assert ServiceConfig(executor="systemd", address="10.0.0.5:80").asked_at == "10.0.0.5:80"
    assert ServiceConfig(executor="systemd").asked_at is None
