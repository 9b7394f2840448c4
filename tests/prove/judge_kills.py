"""The judge killed at 20 random moments of a rollout: what it says then equals what one says that nothing happened to.

One log (``tests/judge/story.py``: one release is promoted to the end, one is rolled back for its errors, one for its latency) is
written to two prefixes of a real broker at the pace of its seconds. One judge folds the first and is killed -9 and started again;
the other folds the second in peace. Every record of verdicts, KPIs, scores and alarms is compared.
"""

import asyncio
import random
import secrets
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from tests.judge.story import story
from tests.prove.kit import Program, hold, home_of

from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars
from tidegate.kpi.pane import PANE_MS
from tidegate.wire import nodeseconds
from tidegate.wire.judgement import Outcome, Score, Verdict

KILLS = 20
SEED = 7
PACE = 1.4
"""Real seconds for one of the log: 20 lives in 90 s would leave none of them time to work."""
FIRST_KILL_S = 4.0
PARTITION = 3
TOPICS = ("verdicts", "kpis", "scores", "alarms")
TIMED_BY_THE_BROKER = "judge/clock_standing/"
"""An alarm whose times are append times, which the two logs do not share: its last record says only whether it fires."""
QUIET_S = 2.0
SETTLE_WITHIN_S = 60.0

Found = dict[str, dict[str, list[bytes]]]
"""Topic to id to its records, in order."""


def prove(folder: Path) -> dict[str, Any]:
    return asyncio.run(run(folder, kills=KILLS, seconds=90, pace=PACE))


async def run(folder: Path, *, kills: int, seconds: int, pace: float, broker: KafkaProcess | None = None) -> dict[str, Any]:
    """Let both judges fold the log; compare; return the figures."""
    own = broker or KafkaProcess(await kafka_jars(print), folder / "kafka")
    if broker is None:
        await own.start()
    # Long enough ago that no mark is ahead of its append time, and lately enough that the broker keeps the KPIs (7 days).
    begin_ms = (int(time.time()) // 60 - 10) * 60_000
    end_ms = begin_ms + seconds * 1_000 - 2 * PANE_MS
    names = secrets.token_hex(3)
    killed, calm = (Connection(own.bootstrap, f"{kind}{names}.") for kind in ("k", "c"))
    programs = {}
    try:
        for connection in (killed, calm):
            await create_topics(connection)
            home = home_of(connection, folder)
            programs[connection] = Program(home, "judge", "worker", "judge", "--instance", "judge-0", "--port", "0").start()
        writing = asyncio.create_task(write((killed, calm), begin_ms, seconds, pace))
        moments = await kill(programs[killed], kills, seconds * pace)
        await writing
        told = [await settled(connection, end_ms) for connection in (killed, calm)]
        hold(all(program.alive for program in programs.values()), "a judge ended by itself; see its log")
        return figures(told[0], told[1]) | {"kills": len(moments), "seed": SEED, "kills_at_s": moments}
    finally:
        for program in programs.values():
            program.end(signal.SIGKILL)
        if broker is None:
            await own.stop()


async def write(connections: tuple[Connection, ...], begin_ms: int, seconds: int, pace: float) -> None:
    """Write the log to the same partition of each."""
    logs = [KafkaLog(connection, client_id="proof") for connection in connections]
    for log in logs:
        await log.start()
    entries = [(at_ms, nodeseconds.encode(record)) for at_ms, record in story(seconds, begin_ms)]
    begin_s = time.monotonic()
    for at_ms, data in entries:
        await asyncio.sleep(max(0.0, begin_s + (at_ms - begin_ms) / 1_000 * pace - time.monotonic()))
        for log in logs:
            await log.append("nodeseconds", None, data, partition=PARTITION)
    for log in logs:
        await log.close()


async def kill(judge: Program, kills: int, within_s: float) -> list[float]:
    """Kill and start again at random moments, whatever the judge is doing then; return these."""
    source, begin_s = random.Random(SEED), time.monotonic()
    moments = sorted(source.uniform(FIRST_KILL_S, within_s) for _ in range(kills))
    done = []
    for moment_s in moments:
        await asyncio.sleep(max(0.0, begin_s + moment_s - time.monotonic()))
        await asyncio.to_thread(judge.end, signal.SIGKILL)
        done.append(round(time.monotonic() - begin_s, 1))
        judge.start()
    return done


async def settled(connection: Connection, end_ms: int) -> Found:
    """Return all that a judge has said, once it has come to the end of the log and says nothing more."""
    log = KafkaLog(connection, client_id="proof")
    await log.start()
    reader = await log.reader(list(TOPICS))
    found: Found = {topic: defaultdict(list) for topic in TOPICS}
    said_s = time.monotonic()
    deadline_s, last_ms = said_s + SETTLE_WITHIN_S, 0
    try:
        while time.monotonic() < said_s + QUIET_S or last_ms < end_ms:
            hold(time.monotonic() < deadline_s, f"the judge of {connection.prefix} has not come to the end of the log")
            for record in await reader.poll(0.2):
                value, said_s = record.value or b"", time.monotonic()
                name, time_ms = named(record.topic, record.key or "", value)
                last_ms = max(last_ms, time_ms)
                found[record.topic][name].append(comparable(name, value))
    finally:
        await reader.close()
        await log.close()
    return found


def named(topic: str, key: str, value: bytes) -> tuple[str, int]:
    """Return the identity of a record, and the end of the pane that it is about."""
    match topic:
        case "verdicts":
            verdict = msgspec.json.decode(value, type=Verdict)
            return verdict.id, verdict.last_pane_ms
        case "scores":
            score = msgspec.json.decode(value, type=Score)
            return score.id, 0
        case "kpis":
            kpi = msgspec.json.decode(value)
            return kpi["id"], kpi["end_ms"] if kpi["window_s"] == 1 else 0
        case _:
            return key, 0


def comparable(name: str, value: bytes) -> bytes:
    """Return what of a record two judges must say alike."""
    return msgspec.json.decode(value)["state"].encode() if name.startswith(TIMED_BY_THE_BROKER) else value


def figures(killed: Found, calm: Found) -> dict[str, Any]:
    """Compare record by record. Refuted where one judge says what the other does not."""
    told: dict[str, Any] = {}
    for topic in TOPICS:
        one, other = killed[topic], calm[topic]
        unsaid, more = sorted(other.keys() - one.keys()), sorted(one.keys() - other.keys())
        hold(not unsaid, f"{topic}: {len(unsaid)} were never said by the judge that was killed: {unsaid[:5]}")
        hold(not more, f"{topic}: {len(more)} were said by the judge that was killed alone: {more[:5]}")
        last = [name for name in other if one[name][-1] != other[name][-1]]
        hold(not last, f"{topic}: {len(last)} of {len(other)} end differently: {last[:5]}")
        never = [name for name in other if not {*one[name]} <= {*other[name]}]
        hold(not never, f"{topic}: {len(never)} say what the calm judge never said: {never[:5]}")
        records = sum(map(len, one.values()))
        told[topic] = {"compared": len(other), "differ": 0, "written_again": records - sum(map(len, other.values()))}
    verdicts = [msgspec.json.decode(records[-1], type=Verdict) for records in calm["verdicts"].values()]
    outcomes = {outcome.value: sum(verdict.outcome is outcome for verdict in verdicts) for outcome in Outcome}
    hold(outcomes["pass"] > 0 and outcomes["fail"] > 0, f"the log has no whole rollout: {outcomes}")
    return told | {"verdicts_by_outcome": outcomes, "placements": len({verdict.placement for verdict in verdicts})}
