"""A toggle and a kill reach 200 connected services; with the broker gone all of them go on, and new ones start, on real Kafka
with a real decision agent.

Times are from just before a person's intent is sent to when a provider's evaluation says so, on the clock of this machine.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from openfeature.evaluation_context import EvaluationContext
from prometheus_client import CollectorRegistry
from tests.flagfeed.kit import DECISION, FLEET, OPERATOR, TRUST, root_file
from tests.rollout.flags import DARK, spec

from tidegate.broker import Connection, KafkaLog, create_topics
from tidegate.decider import Decider
from tidegate.ports import SystemClock
from tidegate.sdk.flags import AsyncTidegateProvider, FlagSettings, Status
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Intent, Verb
from tidegate.wire.envelope import seal
from tidegate.wire.flagchanges import FlagChange

pytestmark = [pytest.mark.kafka, pytest.mark.scenario, pytest.mark.asyncio(loop_scope="module")]

REPORT = Path(__file__).parents[2] / "build" / "flags.json"
PROCESSES, PROVIDERS = 2, 200
ROUNDS = 6
"""Of set, kill, restore."""
WITHIN_S = 120.0


class Crowd:
    """200 providers in a few processes, and what they said."""

    def __init__(self, folder: Path, connection: Connection) -> None:
        self._folder = folder
        self._connection = connection
        self._read = [0] * PROCESSES
        self._processes: list[asyncio.subprocess.Process] = []
        self.lines: list[dict] = []

    async def start(self) -> None:
        for number in range(PROCESSES):
            arguments = (str(self._folder), self._connection.bootstrap, self._connection.prefix, f"p{number}")
            self._processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.scenarios.flag_crowd_main", *arguments, str(PROVIDERS // PROCESSES)
                )
            )
        await self.until(lambda: self.heard(lambda line: line["what"] == "begun"), "all providers connected")

    async def stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
        for process in self._processes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()

    def heard(self, wanted: Callable[[dict], bool], since: int = 0) -> dict[str, dict]:
        """Return who has said something that is wanted, with the first line of it."""
        found: dict[str, dict] = {}
        for line in self.lines[since:]:
            if wanted(line):
                found.setdefault(line["who"], line)
        return found if len(found) == PROVIDERS else {}

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what}: not within {WITHIN_S} s"
            assert all(process.returncode is None for process in self._processes), "a process of the crowd has ended"
            await asyncio.sleep(0.05)
            self._look()

    def _look(self) -> None:
        for number in range(PROCESSES):
            path = self._folder / f"p{number}.jsonl"
            if path.exists():
                text = path.read_bytes()[self._read[number] :]
                whole = text[: text.rfind(b"\n") + 1]
                self._read[number] += len(whole)
                self.lines += [json.loads(line) for line in whole.splitlines()]


class Person:
    """Asks for changes of one flag, and waits until every provider does as told."""

    def __init__(self, log: KafkaLog, crowd: Crowd) -> None:
        self._log = log
        self._crowd = crowd
        self.asked = 0
        self.generation = 0
        self.published_ms = 0
        """When the flag's last record was appended."""
        self.took_ms: dict[str, list[float]] = {}
        self.after_record_ms: list[float] = []

    async def follow(self) -> None:
        """Know the generation of the flag, as whoever asks must (D3)."""
        reader = await self._log.reader(["decisions", "flags"])
        try:
            while True:
                for record in await reader.poll(0.5):
                    if record.topic == "flags":
                        self.published_ms = record.time_ms
                    elif (decision := decode(record.value or b"", Decision)).subject == DARK:
                        self.generation = decision.generation
        finally:
            await reader.close()

    async def want(self, verb: Verb, variant: str, **fields) -> None:
        """Ask; return when all providers give this variant, and keep how long each took."""
        self.asked += 1
        before, known = len(self._crowd.lines), self.generation
        intent = Intent(
            id=f"w{self.asked}",
            fleet=FLEET,
            subject=DARK,
            verb=verb,
            generation=known,
            actor="kim",
            issued_ms=time.time_ns() // 1_000_000,
            **fields,
        )
        data = seal(intent, OPERATOR)
        began_ms = time.time_ns() / 1e6
        await self._log.append("intents", DARK, data)

        def seen() -> dict[str, dict]:
            return self._crowd.heard(lambda line: line["variant"] == variant, before)

        await self._crowd.until(seen, f"{verb} at every provider")
        await self._crowd.until(
            lambda: self.generation > known and self.published_ms >= began_ms - 1, "the decision, and its record"
        )
        at_ms = [line["ms"] for line in seen().values()]
        self.took_ms.setdefault(verb.value, []).extend(one - began_ms for one in at_ms)
        self.after_record_ms += [one - self.published_ms for one in at_ms]


@contextlib.asynccontextmanager
async def place(broker, folder: Path) -> AsyncIterator[tuple[Crowd, Person]]:
    connection = Connection(broker.bootstrap, "flags.")
    await create_topics(connection)
    root_file(folder)
    log = KafkaLog(connection, client_id="test")
    await log.start()
    decider = Decider(log, SystemClock(), DECISION, TRUST, life="a", registry=CollectorRegistry())
    crowd = Crowd(folder, connection)
    person = Person(log, crowd)
    tasks = [asyncio.create_task(decider.run()), asyncio.create_task(person.follow())]
    try:
        await crowd.until(lambda: decider.leading, "a decision agent that leads")
        await crowd.start()
        yield crowd, person
    finally:
        await crowd.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await log.close()


def told(took_ms: list[float]) -> dict[str, float]:
    took = sorted(took_ms)
    return {
        "p50": round(statistics.median(took)),
        "p95": round(took[int(0.95 * len(took))]),
        "max": round(took[-1]),
        "n": len(took),
    }


async def test_every_service_sees_each_change_and_none_needs_the_broker(broker, tmp_path, say):
    async with place(broker, tmp_path) as (crowd, person):
        change = {name: FlagChange(spec=spec(name, immediate=True)) for name in ("on", "off")}
        await person.want(Verb.SET, "on", flag=change["on"])
        person.took_ms.clear()  # the first one also makes the flag
        person.after_record_ms.clear()
        for _ in range(ROUNDS):
            await person.want(Verb.KILL, "off")
            await person.want(Verb.RESTORE, "on")
            await person.want(Verb.SET, "off", flag=change["off"])
            await person.want(Verb.SET, "on", flag=change["on"])
        await crowd.until((tmp_path / "p0" / "web" / "flags.snapshot").exists, "a snapshot")

        await broker.kill()
        gone = len(crowd.lines)
        stale = {}

        def all_stale() -> dict[str, dict]:
            stale.update(crowd.heard(lambda line: line["what"] == "PROVIDER_STALE", gone))
            return stale

        await crowd.until(all_stale, "every provider says that it is stale")
        assert {line["variant"] for line in stale.values()} == {"on"}
        ages = sorted(line["age_s"] for line in stale.values())

        began_s = time.monotonic()
        settings = FlagSettings(
            flag_set="web",
            root=tmp_path / "root.json",
            bootstrap=broker.bootstrap,
            prefix="flags.",
            snapshot=tmp_path / "p0",
            wait_s=1,
        )
        async with AsyncTidegateProvider(settings) as cold:
            took_s, found = time.monotonic() - began_s, cold.resolve_boolean_details("dark", False, EvaluationContext("kim"))
            cold_age_s = cold.age_s
            assert (found.variant, cold.status) == ("on", Status.STALE)

    by_verb = {verb: told(took) for verb, took in person.took_ms.items()}
    report = {
        "providers": PROVIDERS,
        "processes": PROCESSES,
        "from": "just before the intent is sent, with a real decision agent",
        "to": "the provider's evaluation gives the new variant",
        "ms": told([ms for took in person.took_ms.values() for ms in took]),
        "ms_by_verb": by_verb,
        "ms_from_record": told(person.after_record_ms),
        "changes": person.asked - 1,
        "seen_by_all": True,
        "broker_gone": {"stale_told_by": len(stale), "age_s_when_told": [round(ages[0], 1), round(ages[-1], 1)]},
        "cold_start_without_broker": {"waited_s": round(took_s, 2), "age_s": round(cold_age_s or 0.0, 1)},
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    say(f"{report['changes']} changes at {PROVIDERS} connected providers, ms from the intent: {report['ms']}")
    say(f"of these, ms from the record: {report['ms_from_record']}; kills from the intent: {by_verb['kill']}")
    say(f"broker gone, all went on: {report['broker_gone']}; cold start: {report['cold_start_without_broker']}")
