"""Receivers that tear their answers, or never end them, over real sockets: they cost nobody else a notice, and no shutdown."""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.alarms.kit import alarm as made
from tests.kafka.secured.authority import Authority
from tests.notify.kit import FAST, Plant, webhook
from tests.notify.rough import DRIPS, TORN, WHOLE, Act, Rough, rough, says, silent
from tests.notify.server import receiving, until

from tidegate.alarms.notices import Notice
from tidegate.notify import desk, web
from tidegate.notify.aside import Aside
from tidegate.notify.targets import Undelivered
from tidegate.wire.judgement import Alarm
from tidegate.world import MemoryDisk

BODY = DRIPS["a body"]
LONG_S = 3_600.0


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def alarm(which: str = "n1") -> Alarm:
    return made(which=which, start_ms=time.time_ns() // 1_000_000)


def failing(plant: Plant, target: str) -> float:
    return plant.metric("tidegate_notify_failing", target=target) or 0.0


@pytest.mark.parametrize("act", TORN.values(), ids=TORN)
async def test_a_torn_answer_is_a_notice_not_taken_and_costs_no_other_target(
    plant: Plant, act: Act, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.02)
    caplog.set_level(logging.DEBUG)
    with rough(act, act, says(WHOLE)) as server, receiving() as other:
        async with plant.notify(webhook(server.url, "torn"), webhook(other.url, "well")):
            await plant.say(alarm())
            await until(lambda: plant.metric("tidegate_notify_notices_total", target="torn", outcome="taken"))
            await until(lambda: other.taken)
        assert plant.metric("tidegate_notify_notices_total", target="torn", outcome="failed") == 2
    assert "do-not-tell" not in caplog.text


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (says(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nsoon"), "it answers 503 soon"),
        (TORN["a refusal that ends early"], "it answers 503 soon"),
        (TORN["a refusal in torn chunks"], "it answers 502 and breaks off"),
        (says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), "it answers 302"),
        (TORN["nothing"], "RemoteDisconnected: Remote end closed connection without response"),
        (TORN["torn chunks"], "IncompleteRead: "),
    ],
)
async def test_what_came_instead_of_an_answer_is_told(act: Act, told: str) -> None:
    with rough(act) as server, pytest.raises(Undelivered) as raised:
        await web.Line("chat", server.url).post(b"{}", {})
    assert str(raised.value).startswith(told)


async def test_of_an_answer_no_more_is_read_than_a_verdict_needs() -> None:
    with rough(says(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (web.ANSWER_BYTES + 1))) as server:
        assert await web.Line("chat", server.url).post(b"{}", {}) == b"x" * web.ANSWER_BYTES


@pytest.mark.parametrize("act", DRIPS.values(), ids=DRIPS)
async def test_an_answer_that_drips_ends_at_the_deadline_with_its_connection_and_the_notice_is_sent_again(
    plant: Plant, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "WITHIN_S", 0.2)
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.02)
    with rough(act, says(WHOLE)) as server:
        async with plant.notify(webhook(server.url)):
            await plant.say(alarm())
            await until(server.left.is_set)
            await until(lambda: plant.metric("tidegate_notify_notices_total", target="chat", outcome="taken"))
    assert server.asked == 2


async def test_after_the_deadline_it_says_that_no_whole_answer_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WITHIN_S", 0.2)
    with rough(BODY) as server, pytest.raises(Undelivered, match=r"no whole answer within 0\.2 s"):
        await web.Line("chat", server.url).post(b"{}", {})


async def hung_up_on(line: web.Line, server: Rough) -> None:
    """Post, cancel that in the middle of the answer, and wait until the connection is closed."""
    posting = asyncio.create_task(line.post(b"{}", {}))
    await until(server.dripping.is_set)
    posting.cancel()
    await until(server.left.is_set)
    with pytest.raises(asyncio.CancelledError):
        await posting


@pytest.mark.parametrize("act", DRIPS.values(), ids=DRIPS)
async def test_a_post_that_is_cancelled_hangs_up(act: Act) -> None:
    with rough(act) as server:
        await hung_up_on(web.Line("chat", server.url), server)


async def test_it_hangs_up_below_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    with rough(says(WHOLE), BODY, tls=authority.certify("hook")) as server:
        line = web.Line("chat", server.url.replace("http://", "https://"))
        assert await line.post(b"{}", {}) == b"{}"
        await hung_up_on(line, server)


@pytest.mark.parametrize("act", [silent, DRIPS["a status"], DRIPS["headers"]])
async def test_it_hangs_up_on_a_proxy_that_opens_no_tunnel(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    with rough(act) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        await hung_up_on(web.Line("chat", "https://hook.example/"), proxy)


async def test_a_proxy_that_refuses_the_tunnel_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with rough(says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Undelivered, match="407"):
            await web.Line("chat", "https://hook.example/").post(b"{}", {})


@contextlib.contextmanager
def many(act: Act, number: int) -> Iterator[list[Rough]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(rough(act)) for _ in range(number)]


async def test_targets_that_drip_hold_up_neither_others_nor_the_end(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than a loop's own executor has threads, and with all the time in the world."""
    monkeypatch.setattr(web, "WITHIN_S", LONG_S)
    monkeypatch.setattr(desk, "SEND_WITHIN_S", LONG_S)
    with many(BODY, 40) as servers, receiving() as other:
        slow = [webhook(server.url, f"slow{number}") for number, server in enumerate(servers)]
        async with plant.notify(*slow, webhook(other.url, "well")):
            await plant.say(alarm())
            await until(lambda: all(server.dripping.is_set() for server in servers))
            await plant.say(made("environment", start_ms=time.time_ns() // 1_000_000))
            await until(lambda: len(other.taken) == 2)
            assert not any(server.left.is_set() for server in servers)
        await until(lambda: all(server.left.is_set() for server in servers))
    assert {(server.asked, server.at_once_most) for server in servers} == {(1, 1)}


def people(plant: Plant, port: int) -> dict[str, Any]:
    path = plant.folder / "chat.url"
    path.write_text(f"json://127.0.0.1:{port}/\n")
    path.chmod(0o600)
    return {"kind": "apprise", "name": "people", "url": "file:chat.url"}


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_what_hangs_in_a_library_is_one_send_at_a_time_and_people_are_told_when_it_has_ended(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "SEND_WITHIN_S", 0.2)
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(desk, "RETRY_MOST_S", 0.1)
    with rough(BODY, says(WHOLE)) as server, receiving() as other:
        async with plant.notify(people(plant, server.port), webhook(other.url, "well")):
            await plant.say(alarm())
            await until(server.dripping.is_set)
            await until(lambda: failing(plant, "people") >= 4)
            await until(lambda: other.taken)
            assert (server.asked, server.at_once) == (1, 1)
            monkeypatch.setattr(desk, "SEND_WITHIN_S", LONG_S)
            server.enough.set()
            await until(lambda: plant.metric("tidegate_notify_notices_total", target="people", outcome="taken"))
    assert server.at_once_most == 1


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["webhook", "apprise"])
def test_the_end_of_the_process_waits_for_no_receiver(plant: Plant, kind: str) -> None:
    """``asyncio.run`` waits for the threads of its executor; nothing of ours is there."""

    async def process(server: Rough) -> None:
        target = webhook(server.url) if kind == "webhook" else people(plant, server.port)
        async with plant.notify(target):
            await plant.say(alarm())
            await until(server.dripping.is_set)

    with rough(BODY) as server:
        asyncio.run(process(server))
        # A connection of ours was closed; who is in a library may stay there.
        assert kind == "webhook" or not server.left.is_set()


class Broken:
    """A kind of target with a fault in it."""

    name = "broken"
    policy = FAST

    async def send(self, notice: Notice, now_ms: int) -> None:
        raise KeyError("https://example.org/?token=do-not-tell")


async def test_a_fault_in_one_kind_of_target_is_a_failed_send_that_is_logged_without_its_text(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.02)
    with receiving() as other:
        async with plant.notify(Broken(), webhook(other.url)):
            await plant.say(alarm())
            await until(lambda: other.taken)
            await until(lambda: failing(plant, "broken") >= 2)
    said = caplog.text + "".join(capsys.readouterr())
    assert "KeyError in send at test_rough.py" in said
    assert "do-not-tell" not in said


class BrokenDisk(MemoryDisk):
    """Has a fault in it, and is no full disk."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def write(self, name: str, data: bytes) -> None:
        self.asked = True
        raise ZeroDivisionError


async def test_a_fault_of_our_own_ends_the_process(plant: Plant) -> None:
    disk = BrokenDisk()

    async def process() -> None:
        with receiving() as receiver:
            async with plant.notify(webhook(receiver.url), disk=disk):
                await plant.say(alarm())
                await until(lambda: disk.asked)

    with pytest.raises(ZeroDivisionError):
        await process()


async def test_work_aside_returns_raises_and_keeps_its_place_until_it_has_ended() -> None:
    aside, end = Aside("chat", most=2), threading.Event()
    try:
        assert await aside.run(lambda: 1) == 1
        with pytest.raises(SystemExit):
            await aside.run(sys.exit)
        waiting = [asyncio.create_task(aside.run(end.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(Undelivered, match="has not ended"):
            await aside.run(lambda: 2)
    finally:
        end.set()
    assert await waiting[1]
