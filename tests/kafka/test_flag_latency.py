"""From an intent in the log to the flag that it brings about, on real Kafka, among some hundred others."""

import asyncio
import statistics

import pytest
from prometheus_client import CollectorRegistry
from tests.decider.flagkit import Reader
from tests.decider.kit import DECISION, FLEET, OPERATOR, TRUST
from tests.kafka.test_decider_latency import until
from tests.rollout.flags import DARK, spec

from tidegate.decider import Decider
from tidegate.ports import SystemClock
from tidegate.wire.documents import Intent, Verb
from tidegate.wire.envelope import seal
from tidegate.wire.flagchanges import FlagChange

pytestmark = pytest.mark.kafka
OTHERS = 300
TOGGLES = 20


class Provider(Reader):
    """Follows the topic, and keeps the append time of what each order brought."""

    def __init__(self, log) -> None:
        super().__init__()
        self.log = log
        self.seen_ms: list[int] = []

    async def follow(self) -> None:
        reader = await self.log.reader(["flags"])
        try:
            while True:
                records = await reader.poll(0.5)
                self.read(records)
                self.seen_ms += [one.time_ms for one in records if one.key == "web/dark"]
        finally:
            await reader.close()


async def test_a_kill_is_on_the_topic_soon_after_it_was_asked_for(log, say):
    clock, provider = SystemClock(), Provider(log)
    decider = Decider(log, clock, DECISION, TRUST, life="a", registry=CollectorRegistry())
    tasks = [asyncio.create_task(decider.run()), asyncio.create_task(provider.follow())]

    async def ask(number: int, subject: str, verb: Verb, **fields):
        intent = Intent(id=f"i{number}", fleet=FLEET, subject=subject, verb=verb, actor="kim", issued_ms=clock.now_ms(), **fields)
        return await log.append("intents", subject, seal(intent, OPERATOR))

    try:
        await until(lambda: decider.leading)
        change = FlagChange(spec=spec(immediate=True))
        subjects = [DARK, *(f"flag/web/f{number}" for number in range(OTHERS))]
        await asyncio.gather(
            *(ask(number, subject, Verb.SET, generation=0, flag=change) for number, subject in enumerate(subjects))
        )
        await until(lambda: len(provider.orders) == OTHERS + 1, within_s=60)
        took = []
        for number in range(TOGGLES):
            verb, there = (Verb.RESTORE, "on") if number % 2 else (Verb.KILL, "off")
            at = await ask(OTHERS + 1 + number, DARK, verb, generation=1 + number)
            await until(lambda: len(provider.seen_ms) == number + 2)  # noqa: B023 - awaited in this very turn
            assert provider.default("web/dark") == there
            took.append(provider.seen_ms[-1] - at.time_ms)
    finally:
        await decider.stop()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert provider.ignored == 0
    took.sort()
    say(f"{TOGGLES} toggles among {OTHERS} flags: intent to flag {statistics.median(took):.0f} ms median, {took[-1]} ms most")
