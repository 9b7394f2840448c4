"""Two workers of experiment killed at 20 random moments: what they add up to is what one adds up who folds the log in peace.

Users see variants and do things, some see two, some of what is sent is sent twice. At the end every partition of the log is
folded once in this process, and counted once more the slow way; the records on ``experiments`` must say just that. The workers
share 12 partitions, so that a kill may move some of them to the other one and back.
"""

import asyncio
import random
import secrets
import signal
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests.experiments.kit import TRIAL, Event, counted, did, plainly, saw
from tests.prove.kit import Program, hold, home_of

from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars
from tidegate.experiments import ExperimentState, step, sums
from tidegate.ports import Record
from tidegate.wire.codec import encode
from tidegate.wire.experiments import Sums, sums_of
from tidegate.wire.exposures import exposure_of

KILLS = 20
SECONDS = 120.0
SEED = 11
EVENTS_A_SECOND = 400
USERS = 8_000
FIRST_KILL_S = 5.0
END_WITHIN_S = 30.0
LOOK_BACK = 500
"""So many events back something may be sent again."""
NAMES = ("one", "two")


def prove(folder: Path) -> dict[str, Any]:
    return asyncio.run(run(folder, kills=KILLS, seconds=SECONDS))


async def run(folder: Path, *, kills: int, seconds: float, broker: KafkaProcess | None = None) -> dict[str, Any]:
    """Let two workers add up while they are killed; compare; return the figures."""
    own = broker or KafkaProcess(await kafka_jars(print), folder / "kafka")
    if broker is None:
        await own.start()
    connection = Connection(own.bootstrap, f"x{secrets.token_hex(3)}.")
    workers: list[Program] = []
    log = KafkaLog(connection, client_id="proof")
    try:
        await create_topics(connection)
        home = home_of(connection, folder)
        workers = [Program(home, name, "worker", "experiment", "--instance", name, "--port", "0").start() for name in NAMES]
        writing = asyncio.create_task(write(log, seconds))
        moments = await kill(workers, kills, seconds)
        written = await writing
        hold(all(worker.alive for worker in workers), "a worker ended by itself; see its log")
        exposures = await read(log, "exposures")
        wanted = calm(exposures)
        await agreed(log, wanted)
        for worker in workers:
            await asyncio.to_thread(worker.end, signal.SIGTERM)
        await agreed(log, wanted)
        arms = [arm for one in wanted.values() for arm in one.arms.values()]
        return {
            "written": written,
            "records": sum(len(records) for records in exposures.values()),
            "partitions": len(wanted),
            "differ": 0,
            "users": sum(arm.users for arm in arms),
            "saw_two": sum(arm.doubles for arm in arms),
            "kills": len(moments),
            "seed": SEED,
            "kills_at_s": moments,
        }
    finally:
        for worker in workers:
            worker.end(signal.SIGKILL)
        await log.close()
        if broker is None:
            await own.stop()


def events(number: int) -> list[Event]:
    """What is sent, in order."""
    source = random.Random(SEED)
    found: list[Event] = []
    for at in range(number):
        person, chance = source.randrange(USERS), source.random()
        if found and chance < 0.1:
            found.append(found[-1 - source.randrange(min(len(found), LOOK_BACK))])
        elif chance < 0.55:
            variant = ("off", "on")[person % 2] if source.random() > 0.01 else ("on", "off")[person % 2]
            found.append(saw(person, variant))
        else:
            found.append(did(person, ("bought", "paid")[at % 2], float(source.randint(1, 9)), at_ms=at))
    return found


async def write(log: KafkaLog, seconds: float) -> int:
    """Send everything at an even pace; return how much that was."""
    told, begin_s = events(int(seconds * EVENTS_A_SECOND)), time.monotonic()
    batch = EVENTS_A_SECOND // 10
    for first in range(0, len(told), batch):
        await asyncio.sleep(max(0.0, begin_s + first / EVENTS_A_SECOND - time.monotonic()))
        await asyncio.gather(*(log.append("exposures", one.user, encode(one)) for one in told[first : first + batch]))
    return len(told)


async def kill(workers: list[Program], kills: int, within_s: float) -> list[float]:
    """Kill one of the workers at random moments and start it again; return these."""
    source, begin_s = random.Random(SEED), time.monotonic()
    done = []
    for moment_s in sorted(source.uniform(FIRST_KILL_S, within_s) for _ in range(kills)):
        await asyncio.sleep(max(0.0, begin_s + moment_s - time.monotonic()))
        worker = source.choice(workers)
        await asyncio.to_thread(worker.end, signal.SIGKILL)
        done.append(round(time.monotonic() - begin_s, 1))
        worker.start()
    return done


async def read(log: KafkaLog, topic: str) -> dict[int, list[Record]]:
    """Return all records of a topic by partition."""
    reader = await log.reader([topic])
    try:
        records = await reader.read_to_end()
    finally:
        await reader.close()
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record)
    return found


def calm(exposures: dict[int, list[Record]]) -> dict[int, Sums]:
    """Return the sums of one quiet fold of each partition; they are those of plain counting."""
    found = {}
    for partition, records in exposures.items():
        state, seen = ExperimentState(partition), [exposure_of(record.value or b"") for record in records]
        for record, event in zip(records, seen, strict=True):
            step(state, event, record.time_ms)
        found[partition] = sums(state, TRIAL.name, 0)
        hold(plainly(found[partition]) == counted(seen), f"partition {partition}: the fold is not what one counts")
    return found


async def agreed(log: KafkaLog, wanted: dict[int, Sums]) -> None:
    """Return once the last that is told of every partition is what was wanted."""
    reader = await log.reader(["experiments"])
    told: dict[int, Sums] = {}
    deadline_s = time.monotonic() + END_WITHIN_S
    try:
        while told != wanted:
            differ = sorted(one for one in wanted if told.get(one) != wanted[one])
            hold(time.monotonic() < deadline_s, f"partitions {differ} are not what the log adds up to")
            for record in await reader.poll(0.2):
                one = sums_of(record.value or b"")
                told[one.partition] = replace(one, offset=0)
    finally:
        await reader.close()
