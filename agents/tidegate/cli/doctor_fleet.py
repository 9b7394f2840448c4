"""What the log says of who is alive: the decision agent, the workers, the nodes; clocks; what could not be read."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from tidegate.archive.contents import HEARTBEAT, beat_in
from tidegate.broker import Connection, KafkaLog
from tidegate.broker.admin import asking
from tidegate.cli.doctor_finding import Finding, note, problem, warning
from tidegate.cli.tell import age
from tidegate.kpi.skew import EXCLUDE_BEYOND_MS, SHIFT_BEYOND_MS
from tidegate.model import TOPICS, Model
from tidegate.model.nodes import NodeState, node_state
from tidegate.ports import Log, Record
from tidegate.wire.envelope import Trust
from tidegate.wire.topics import BY_NAME

ANSWER_WITHIN_S = 10.0
BEAT_MARGIN_S = 1.0
LAG_MS, LAG_LOST_MS = 60_000, 300_000
"""A judge commits with its checkpoints, every 10 s; a verdict is stale after 5 s, and a minute is long."""
LETTERS_MS = 3_600_000
DISK_BYTES_LEAST = 2 << 30

SOURCES: dict[str, str] = {"intake": "telemetry", "judge": "nodeseconds", "experiment": "exposures"}
"""Worker to the topic that it works off."""
OPTIONAL = ("experiment",)
"""Without it experiments stand still, and everything else goes on."""


class Heard(Struct, frozen=True, kw_only=True):
    """What was heard of the decision agent."""

    last_ms: int | None
    """Append time of its last heartbeat; None: there never was one."""
    resigned: bool = False
    skew_ms: int | None = None
    """How far this machine's clock is ahead of the broker's, by a heartbeat that came meanwhile; None: none came."""


class Group(Struct, frozen=True, kw_only=True):
    """A worker's consumer group."""

    role: str
    members: int
    oldest_ms: int | None = None
    """Append time of the oldest record that is not dealt with; None: there is none, or nobody ever worked."""


async def fleet_findings(where: Connection, trust: Trust, takeover_s: float) -> tuple[list[Finding], int]:
    """Return what an operator sees wrong (decision agent, nodes, clocks, dead letters), and how many ms this machine's clock is
    ahead of the broker's. Takes until the next heartbeat.
    """
    log = KafkaLog(where, client_id="doctor")
    try:
        model, heard = await asyncio.gather(_model(log, trust), _listen(log, takeover_s + BEAT_MARGIN_S))
        letters = await _letters(log)
    finally:
        await log.close()
    skew_ms = heard.skew_ms or 0
    now_ms = _now_ms() - skew_ms
    return [*author(heard, now_ms), *node_findings(model, now_ms), *letter_findings(letters, now_ms)], skew_ms


async def worker_findings(admin: Connection, skew_ms: int) -> list[Finding]:
    """Return which workers do not run, or are behind, by the broker's clock."""
    try:
        async with asyncio.timeout(len(SOURCES) * ANSWER_WITHIN_S):
            groups = [await _group(admin, role, source) for role, source in SOURCES.items()]
    except TimeoutError:
        return [note("workers", "the broker did not tell how far workers are", "run it again")]
    return [found for group in groups for found in group_findings(group, _now_ms() - skew_ms)]


def author(heard: Heard, now_ms: int) -> Iterator[Finding]:
    """Yield what is wrong with the decision agent and this machine's clock."""
    if heard.skew_ms is None:
        start = "start one: tidegate decide, or tidegate up; its log says why it ended"
        if heard.last_ms is None:
            yield problem("decide", "no decision agent has ever led this fleet", start)
        elif heard.resigned:
            yield problem("decide", "the last decision agent resigned, and no other leads", start)
        else:
            yield problem("decide", f"no decision agent leads: the last heartbeat is {age(now_ms - heard.last_ms)} old", start)
    elif abs(heard.skew_ms) > SHIFT_BEYOND_MS:
        ahead = "ahead of" if heard.skew_ms > 0 else "behind"
        level = problem if abs(heard.skew_ms) > EXCLUDE_BEYOND_MS else warning
        yield level(
            "clock", f"this machine is {abs(heard.skew_ms) / 1_000:.1f} s {ahead} the broker", "run chrony or ntpd on both"
        )


def node_findings(model: Model, now_ms: int) -> Iterator[Finding]:
    """Yield which nodes are silent, frozen, off in time, or short of room."""
    for node in sorted(model.view.enrolled):
        standing, seen = node_state(model, node, now_ms), model.view.reports.get(node)
        about = f"node {node}"
        if seen is None:
            yield warning(about, "it is enrolled and never reported", f"start its agent, or: tidegate fleet retire {node}")
            continue
        if standing is NodeState.UNREACHABLE:
            what = f"its last report is {age(now_ms - seen.seen_ms)} old"
            yield problem(about, what, f"see its agent's log and its way to the broker, or: tidegate fleet retire {node}")
        if seen.report.frozen:
            yield problem(about, f"it refuses to act: {seen.report.frozen}", "see docs/nodes.md")
        off_ms = seen.report.issued_ms - seen.seen_ms
        if abs(off_ms) > SHIFT_BEYOND_MS:
            level, ahead = problem if abs(off_ms) > EXCLUDE_BEYOND_MS else warning, "ahead of" if off_ms > 0 else "behind"
            yield level(about, f"its clock is {abs(off_ms) / 1_000:.1f} s {ahead} the broker's", "run chrony or ntpd on it")
        if 0 <= seen.report.disk_free_bytes < DISK_BYTES_LEAST:
            yield warning(about, f"{seen.report.disk_free_bytes / 1e9:.2f} GB are free on its disk", "make room there")


def group_findings(group: Group, now_ms: int) -> Iterator[Finding]:
    """Yield what is wrong with a worker's group."""
    if not group.members:
        level = warning if group.role in OPTIONAL else problem
        yield level(group.role, "no worker of this role runs", f"start one: tidegate worker {group.role}, or tidegate up")
        return
    behind_ms = now_ms - group.oldest_ms if group.oldest_ms is not None else 0
    if behind_ms > LAG_MS:
        level = problem if behind_ms > LAG_LOST_MS else warning
        yield level(
            group.role, f"it is {age(behind_ms)} behind", f"start more of them: tidegate worker {group.role}; see its log"
        )


def letter_findings(letters: Sequence[Record], now_ms: int) -> Iterator[Finding]:
    """Yield how much could not be read lately, and the last of it."""
    late = [one for one in letters if now_ms - one.time_ms < LETTERS_MS]
    if late:
        headers = {name: value.decode(errors="replace") for name, value in late[-1].headers.items()}
        why = f"{headers.get('origin-topic', '?')}: {headers.get('path', '')} {headers.get('reason', '')}".strip()
        yield warning("dead letters", f"{len(late)} in the last hour, the last of {why}", "see who writes that; docs/nodes.md")


async def _model(log: Log, trust: Trust) -> Model:
    model, reader = Model(trust), await log.reader(TOPICS)
    try:
        model.see(await reader.read_to_end())
    finally:
        await reader.close()
    return model


async def _listen(log: Log, within_s: float) -> Heard:
    """Read what the last heartbeat was, then wait for the next one."""
    reader = await log.reader(["desired"])
    try:
        last = _beats(await reader.read_to_end())
        deadline_s = time.monotonic() + within_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            heard = _beats(await reader.poll(left_s))
            if heard:
                return Heard(last_ms=heard[-1].time_ms, skew_ms=_now_ms() - heard[-1].time_ms)
    finally:
        await reader.close()
    if not last:
        return Heard(last_ms=None)
    beat = beat_in(last[-1])
    return Heard(last_ms=last[-1].time_ms, resigned=beat is not None and beat.resigned)


def _beats(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.key == HEARTBEAT and record.value is not None]


async def _letters(log: Log) -> list[Record]:
    reader = await log.reader(["deadletters"], start="recent")
    try:
        return await reader.read_to_end()
    finally:
        await reader.close()


async def _group(admin: Connection, role: str, source: str) -> Group:
    name, topic = f"{admin.prefix}{role}", f"{admin.prefix}{source}"
    async with asking(admin) as client:
        (answer,) = await client.describe_consumer_groups([name])
        ((_code, _group, _state, _type, _protocol, members),) = answer.groups
        committed = {at: one.offset for at, one in (await client.list_consumer_group_offsets(name)).items() if at.topic == topic}
    oldest_ms = await _oldest(admin, source, committed) if members else None
    return Group(role=role, members=len(members), oldest_ms=oldest_ms)


async def _oldest(admin: Connection, source: str, committed: Mapping[TopicPartition, int]) -> int | None:
    """Return the append time of the oldest record from the committed offsets on; None where there is none."""
    consumer = AIOKafkaConsumer(**admin.arguments(), client_id="doctor", enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        parts = [TopicPartition(f"{admin.prefix}{source}", partition) for partition in range(BY_NAME[source].partitions)]
        ends = await consumer.end_offsets(parts)
        starts = {at: committed.get(at, 0) for at, end in ends.items() if committed.get(at, 0) < end}
        if not starts:
            return None
        consumer.assign(list(starts))
        for at, offset in starts.items():
            consumer.seek(at, offset)
        first: dict[TopicPartition, int] = {}
        while len(first) < len(starts):
            for at, records in (await consumer.getmany(*(starts.keys() - first.keys()), timeout_ms=1_000, max_records=1)).items():
                first[at] = records[0].timestamp
        return min(first.values())
    finally:
        await consumer.stop()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
