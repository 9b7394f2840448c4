"""Several gates at once, on simulated time: none waits for another (I2)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.notify.house import SIGNER, TRUST, at_work
from tests.notify.house import question as asked_by_a_fleet

from tidegate.notify import Gatekeeper
from tidegate.notify.gatekeeper import GIVE_AGAIN_S
from tidegate.notify.gates import AT_ONCE_MAX, Answer, Gate, Says
from tidegate.rollout.outgoing import OpenGate
from tidegate.wire.documents import Intent, Verb
from tidegate.wire.envelope import unseal
from tidegate.world import MemoryLog, SimClock

QUESTION = asked_by_a_fleet()
EVER_S = 1e6
PASS, UNDECIDED = Answer(Says.PASS), Answer(Says.UNDECIDED)


def question(gate: str, service: str = "shop") -> OpenGate:
    return replace(QUESTION, gate=gate, service=service, subject=f"svc/{service}", rollout=f"r-{service}")


class Slow:
    """A gate that takes its time, and gives its answers in turn, the last one for ever."""

    def __init__(self, clock: SimClock, name: str, every_s: float, takes_s: float, *answers: Answer | Exception) -> None:
        self.name = name
        self.every_s = every_s
        self._clock = clock
        self._takes_s = takes_s
        self._answers = [*answers] or [UNDECIDED]
        self.asked: list[tuple[float, str]] = []
        """When, in seconds, and about which service."""
        self.at_once = self.at_once_most = 0

    async def ask(self, question: OpenGate, now_ms: int) -> Answer:
        self.asked.append((self._clock.monotonic_s(), question.service))
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        try:
            await self._clock.sleep(self._takes_s)
        finally:
            self.at_once -= 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def at_s(self) -> list[float]:
        return [at_s for at_s, _ in self.asked]


class House:
    """A keeper on simulated time."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.registry = CollectorRegistry()

    @contextlib.asynccontextmanager
    async def keeper(self, *gates: Gate) -> AsyncIterator[Gatekeeper]:
        async with at_work(Gatekeeper(self.log, self.clock, SIGNER, gates, registry=self.registry)) as keeper:
            yield keeper

    def said(self) -> list[tuple[float, str, Verb]]:
        """When, about what and how gates answered."""
        found = [(record.time_ms, unseal(record.value or b"", Intent, TRUST)[0]) for record in self.log.topic("intents")]
        began_ms = SimClock().now_ms()
        return sorted(((time_ms - began_ms) / 1000, intent.subject, intent.verb) for time_ms, intent in found)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"tidegate_notify_{name}", labels)


async def test_a_slow_gate_keeps_no_other_from_being_asked_and_answered():
    house = House()
    slow, quick = Slow(house.clock, "load-test", 10, 300, PASS), Slow(house.clock, "board", 10, 0, UNDECIDED, PASS)
    async with house.keeper(slow, quick) as keeper:
        keeper.show([question("load-test")])
        await house.clock.advance(60)
        keeper.show([question("load-test"), question("board", "cart")])
        await house.clock.advance(600)
    assert house.said() == [(70, "svc/cart", Verb.PROMOTE), (300, "svc/shop", Verb.PROMOTE)]


class Pace(Struct, frozen=True):
    """A gate, in whole seconds."""

    every_s: int
    takes_s: int


PACES = st.lists(st.builds(Pace, st.integers(20, 600), st.integers(0, 300)), min_size=1, max_size=4)


@given(paces=PACES, news_s=st.lists(st.integers(1, 200), max_size=8))
def test_each_question_is_asked_at_once_and_then_so_long_after_each_answer_whatever_else_is_asked(paces, news_s):
    async def story() -> None:
        house = House()
        gates = [Slow(house.clock, f"g{at}", pace.every_s, pace.takes_s) for at, pace in enumerate(paces)]
        other = Slow(house.clock, "other", 50, 0)
        stays = [question(gate.name) for gate in gates]
        async with house.keeper(*gates, other) as keeper:
            keeper.show(stays)
            for number, wait_s in enumerate(news_s):
                await house.clock.advance(wait_s)
                keeper.show([*stays, question("other", f"s{number}")])
            await house.clock.advance(1_000)
            ends_s = house.clock.monotonic_s()
        for gate, pace in zip(gates, paces, strict=True):
            assert gate.at_s == [*range(0, int(ends_s) + 1, pace.every_s + pace.takes_s)]

    asyncio.run(story())


async def test_a_question_that_closes_is_ended_at_once_and_frees_its_place():
    house = House()
    gate = Slow(house.clock, "load-test", 10, EVER_S)
    many = [question("load-test", f"s{number}") for number in range(AT_ONCE_MAX + 1)]
    async with house.keeper(gate) as keeper:
        keeper.show(many)
        await house.clock.advance(1)
        assert (len(gate.asked), house.metric("gate_queued", gate="load-test")) == (AT_ONCE_MAX, 1)
        keeper.show(many[1:])
        await house.clock.advance(1)
        assert gate.asked[-1] == (1, many[-1].service)
        assert (gate.at_once, house.metric("gate_queued", gate="load-test")) == (AT_ONCE_MAX, 0)
        keeper.show([])
        await house.clock.advance(1)
        assert gate.at_once == 0
    assert house.said() == []


async def test_what_waits_for_its_turn_or_its_time_and_closes_is_not_asked():
    house = House()
    full, idle = Slow(house.clock, "full", 10, EVER_S), Slow(house.clock, "idle", 10, 0)
    many = [question("full", f"s{number}") for number in range(AT_ONCE_MAX + 1)]
    async with house.keeper(full, idle) as keeper:
        keeper.show([*many, question("idle")])
        await house.clock.advance(5)
        keeper.show(many[:-1])
        await house.clock.advance(100)
    assert (len(full.asked), idle.at_s) == (AT_ONCE_MAX, [0])


async def test_a_gate_that_never_answers_fills_its_own_places_and_no_others():
    house = House()
    hangs, quick = Slow(house.clock, "hangs", 10, EVER_S), Slow(house.clock, "board", 10, 0, PASS)
    async with house.keeper(hangs, quick) as keeper:
        keeper.show([question("hangs", f"s{number}") for number in range(5 * AT_ONCE_MAX)] + [question("board", "cart")])
        await house.clock.advance(100)
    assert hangs.at_once_most == AT_ONCE_MAX
    assert house.said() == [(0, "svc/cart", Verb.PROMOTE)]


async def test_many_questions_of_one_gate_have_their_turn_one_as_often_as_another():
    house = House()
    gate = Slow(house.clock, "load-test", 10, 60)
    services = [f"s{number}" for number in range(3 * AT_ONCE_MAX)]
    async with house.keeper(gate) as keeper:
        keeper.show([question("load-test", service) for service in services])
        await house.clock.advance(60 * 3 * 4 - 1)
    assert gate.at_once_most == AT_ONCE_MAX
    assert {service: sum(about == service for _, about in gate.asked) for service in services} == dict.fromkeys(services, 4)


async def test_at_the_end_nothing_is_asked_any_more():
    house = House()
    gate = Slow(house.clock, "load-test", 10, EVER_S)
    async with house.keeper(gate) as keeper:
        keeper.show([question("load-test", "shop"), question("load-test", "cart")])
        await house.clock.advance(1)
        assert gate.at_once == 2
    assert gate.at_once == 0


async def test_a_fault_in_one_kind_of_gate_decides_nothing_and_ends_no_other(capsys, caplog):
    house = House()
    fault = KeyError("https://example.org/?token=do-not-tell")
    broken, other = Slow(house.clock, "broken", 10, 1, fault, PASS), Slow(house.clock, "board", 10, 30, PASS)
    async with house.keeper(broken, other) as keeper:
        keeper.show([question("broken"), question("board", "cart")])
        await house.clock.advance(60)
    assert house.said() == [(12, "svc/shop", Verb.PROMOTE), (30, "svc/cart", Verb.PROMOTE)]
    assert house.metric("gate_answers_total", gate="broken", says="undecided") == 1
    logged = caplog.text + "".join(capsys.readouterr())
    assert "KeyError in ask at test_gatekeeper.py" in logged
    assert "do-not-tell" not in logged


class BrokenLog(MemoryLog):
    """Has a fault in it, and is no broker that is away."""

    async def append(self, *_, **__):
        raise ZeroDivisionError


async def test_a_fault_of_our_own_ends_the_keeper_and_what_it_asks():
    clock = SimClock()
    gate, slow = Slow(clock, "board", 10, 1, PASS), Slow(clock, "load-test", 10, EVER_S)
    keeper = Gatekeeper(BrokenLog(clock), clock, SIGNER, [gate, slow], registry=CollectorRegistry())
    keeper.show([question("board"), question("load-test", "cart")])
    running = asyncio.create_task(keeper.run())
    await clock.advance(5)
    with pytest.raises(ZeroDivisionError):
        await running
    assert slow.at_once == 0


async def test_an_answer_that_the_log_did_not_confirm_is_given_again_and_not_asked_for_again():
    """A load test that took minutes, with an interval of minutes: until then the gate's default could have held."""
    house = House()
    gate = Slow(house.clock, "load-test", 600, 300, PASS)
    house.log.lose_answers("intents", False, False)
    async with house.keeper(gate) as keeper:
        keeper.show([question("load-test")])
        await house.clock.advance(3_600)
    assert gate.at_s == [0]
    assert house.said() == [(300 + 2 * GIVE_AGAIN_S, "svc/shop", Verb.PROMOTE)]
