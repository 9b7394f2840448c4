"""The stream of what changes: in order, resumable by its last id in any process, bounded, and only for who may see it."""

import asyncio
import socket
from typing import Any

from tests.api.control.kit import Installation, Told, installed, quiet

from tidegate.api.control.happenings import PARTS, Kind, Window, position_of
from tidegate.api.control.streaming import Following
from tidegate.api.roles import Role
from tidegate.api.tokens import LOOK_EVERY_S, revoke_token
from tidegate.model.asked import Asker
from tidegate.ports import Record

WHY = {"reason": "a test"}
ABOUT = Asker("f", "a")


def what(one: Told) -> tuple[Any, ...]:
    about = one.data["about"]
    return one.event, about.get("seq"), about.get("node"), about.get("counter")


def record(topic: str, offset: int, partition: int = 0) -> Record:
    return Record(topic, partition, offset, offset, "k", b"", {})


def filled(window: Window, *records: Record) -> list[str]:
    for one in records:
        window.passed(one)
        window.add(Kind.DECISION, one, (), ABOUT)
    return [".".join(map(str, one.after)) for one in window.since(window.first)]


def test_the_window_holds_what_was_not_pushed_out():
    window = Window(kept=2)
    filled(window, record("decisions", 0), record("verdicts", 0), record("decisions", 1))
    assert (window.first, window.number) == (1, 3)
    assert [(PARTS[one.part][0], one.offset) for one in window.since(1)] == [("verdicts", 0), ("decisions", 1)]
    zeros = (0,) * len(PARTS)
    assert not window.holds(zeros)
    assert window.holds((1, *zeros[1:]))
    assert window.holds(window.position)
    # Of a log that was longer than this one.
    assert not window.holds((9, *window.position[1:]))


def test_an_id_is_a_position_in_every_topic():
    assert position_of("1.0.0.0.0.0.0") == (1, 0, 0, 0, 0, 0, 0)
    for wrong in ("", "1", "1.2.3.4.5.6.7.8", "a.2.3.4.5.6.7", "-1.2.3.4.5.6.7", "1.2.3.4.5.6.²", "9" * 30 + ".2.3.4.5.6.7"):
        assert position_of(wrong) is None


async def test_every_change_is_told_and_a_stream_goes_on_where_it_ended(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            async with here.events("ci") as events:
                await here.start("ci")
                seen = [await anext(events) for _ in range(2)]
                assert [(one.event, one.data["about"]["kind"]) for one in seen] == [("decision", "accept"), ("decision", "start")]
                assert seen[0].data["subjects"] == ["svc/shop"]
                kinds = {"decision"}
                async with asyncio.timeout(20):
                    while kinds != {"decision", "report"}:
                        seen.append(await anext(events))
                        kinds.add(seen[-1].event)
            await here.post("/rollouts/shop/abort", "ci", WHY)
            async with here.events("ci", seen[0].id) as events:
                again = [await anext(events) for _ in seen[1:]]
                assert again == seen[1:]
        # Another process has read the topics in another order; nothing is lost and nothing is told twice.
        other = Installation(world, here.log)
        other.texts = here.texts
        async with other.serve(), other.events("ci", seen[-1].id) as events:
            found = [await anext(events)]
            async with asyncio.timeout(20):
                while found[-1].event != "decision" or found[-1].data["about"]["message"].startswith("a test") is False:
                    found.append(await anext(events))
            assert not {what(one) for one in seen} & {what(one) for one in found}


async def test_what_cannot_be_made_up_for_is_said(world):
    async with quiet(world) as here, here.serve():
        for last in ("nonsense", ".".join(["999"] * len(PARTS))):
            async with here.stream_of(last) as first:
                assert (first.event, first.data) == ("reset", {})
                assert position_of(first.id) == here.mirror.window.position


async def test_a_flag_and_an_alarm_are_told(world):
    async with quiet(world) as here:
        here.token("shop", Role.VIEWER, "shop")
        async with here.serve():
            alarm = (
                b'{"id":"x/web","writer":"judge","name":"x","state":"firing","severity":"critical","start_ms":1,"service":"%b"}'
            )
            async with here.events("shop") as events:
                await here.log.append("alarms", "judge/x/web", alarm % b"web")
                await here.log.append("alarms", "judge/x/shop", (alarm % b"shop").replace(b"x/web", b"x/shop"))
                await here.log.append("alarms", "judge/y", alarm.replace(b'"%b"', b'""').replace(b"x/web", b"y"))
                seen = []
                async with asyncio.timeout(20):
                    while len(seen) < 2:
                        one = await anext(events)
                        seen += [one] if one.event == "alarm" else []
            assert [one.data["about"]["id"] for one in seen] == ["x/shop", "y"]


async def test_a_stream_ends_with_its_token(world, monkeypatch):
    monkeypatch.setattr("tidegate.api.control.streaming.PING_S", 0.05)
    async with quiet(world) as here:
        here.token("ci", Role.VIEWER)
        here.token("other", Role.VIEWER)
        async with here.serve(), here.events("ci") as events:
            revoke_token(here.tokens_file, "ci")
            here.ahead.elapse(LOOK_EVERY_S)
            async with asyncio.timeout(20):
                assert [one async for one in events if one.event not in ("", "report")] == []
            assert here.control.streams.count == 0


async def test_one_token_has_so_many_streams(world, monkeypatch):
    monkeypatch.setattr("tidegate.api.control.streaming.STREAMS_EACH_MAX", 2)
    async with quiet(world) as here:
        here.token("ci", Role.VIEWER)
        here.token("other", Role.VIEWER)
        async with (
            here.serve(),
            here.opened("ci") as first,
            here.opened("ci") as second,
            here.opened("ci") as third,
            here.opened("other") as other,
        ):
            assert (first, second, third, other) == (200, 200, 429, 200)


async def test_who_reads_too_slowly_is_told_and_let_go(world):
    async with quiet(world) as here, here.serve():
        window = here.mirror.window
        streams = here.control.streams
        parts = streams.stream(here.visitor, Following(), lambda: True)
        assert b"from here on" in await anext(parts)
        begin = window.position[0]
        for number in range(5_000):
            one = record("decisions", begin + number)
            window.passed(one)
            window.add(Kind.DECISION, one, (), ABOUT)
        assert b"event: reset" in await anext(parts)
        assert [part async for part in parts] == []
        assert streams.count == 0


async def test_who_takes_nothing_is_let_go_by_the_kernel(world, monkeypatch):
    monkeypatch.setattr("tidegate.runtime.web.SLOW_MS", 500)
    async with quiet(world) as here, here.serve():
        window = here.mirror.window
        host, port = here.served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await until_count(here, 1)
            large, begin = Asker("f", "x" * 100_000), window.position[0]
            for number in range(200):
                one = record("decisions", begin + number)
                window.passed(one)
                window.add(Kind.DECISION, one, (), large)
            window.ring()
            await until_count(here, 0)


async def until_count(here: Installation, count: int) -> None:
    async with asyncio.timeout(20):
        while here.control.streams.count != count:
            await here.mirror.wait("nothing", 0.02)
