"""A simulated fleet on real Kafka, second by second: through intake to a verdict, with the sums that were drawn."""

import asyncio
import time

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from tests.worker.fleet import workers

from tidegate.broker import Connection, KafkaLog
from tidegate.sim import SERVICE, WORLDS, Episode, Fault, FaultKind, Run, Senders, Sent
from tidegate.wire import nodeseconds
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.partition import partition_of
from tidegate.wire.telemetry import encode_json, encode_msgpack
from tidegate.wire.topics import BY_NAME

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

QUIET_S, ROLLOUT_S = 10, 10
DEADLINE_S = 40.0
HOME = partition_of(SERVICE, BY_NAME["nodeseconds"].partitions)


class Play:
    """What an episode sends, in the order of its append times, and what the rest of each second must add up to."""

    def __init__(self) -> None:
        world = replace(WORLDS["everything"], lost=0.0, late=0.0, doubled=0.05)
        fault = Fault(FaultKind.ERRORS, 0.5)
        run = Run(Episode(world=world, canaries=2, others=4, past=None, history_s=QUIET_S, fault=fault), np.random.default_rng(2))
        senders = Senders(world, run.fleet.skew_ms.tolist(), np.random.default_rng(1))
        sent: list[Sent] = []
        self.contexts: list[tuple[int, Context]] = []
        self.rest: dict[int, tuple[int, int]] = {}
        for cast, block in [*run.prelude_blocks(), *((run.cast, block) for block in run.blocks(ROLLOUT_S))]:
            context = run.context(cast, block)
            self.contexts.append((block.start_ms, context))
            sent += senders.rows(block)
            for second in run.seconds(cast, block):
                sums = second.pane().cohorts["rest"].sums
                self.rest[second.start_ms] = (sums.requests, sums.errors)
        self.sent = sorted(sent, key=lambda one: one.append_ms)
        self.begin_ms = min(self.rest)

    async def send(self, log: KafkaLog) -> int:
        """Send everything at its time; return by how much times are shifted."""
        shift_ms = (int(time.time()) + 2) * 1_000 - self.begin_ms
        events = [(at_ms, self._tell(log, context, shift_ms)) for at_ms, context in self.contexts]
        events += [(one.append_ms, self._row(log, one, number, shift_ms)) for number, one in enumerate(self.sent)]
        async with asyncio.TaskGroup() as group:
            for at_ms, event in sorted(events, key=lambda pair: pair[0]):
                await asyncio.sleep(max(0.0, (at_ms + shift_ms) / 1_000 - time.time()))
                group.create_task(event)
        return shift_ms

    async def _tell(self, log: KafkaLog, context: Context, shift_ms: int) -> None:
        started_ms = context.started_ms and context.started_ms + shift_ms
        record = nodeseconds.encode(replace(context, started_ms=started_ms))
        await log.append("nodeseconds", None, record, partition=HOME)

    async def _row(self, log: KafkaLog, one: Sent, number: int, shift_ms: int) -> None:
        row = replace(
            one.row, start_ms=one.row.start_ms + shift_ms, changed_ms=one.row.changed_ms and one.row.changed_ms + shift_ms
        )
        await log.append("telemetry", row.node, encode_json(row) if number % 2 else encode_msgpack(row))


async def test_a_faulty_rollout_is_seen_through_intake_with_the_sums_that_were_drawn(connection: Connection, log: KafkaLog):
    play = Play()
    async with workers(connection):
        kpis = await log.reader(["kpis"])
        await log.append("telemetry", "n", b"{}", partition=0)  # a dead letter: intake is there when its mark moves
        sending = asyncio.create_task(play.send(log))
        verdicts = await log.reader(["verdicts"])
        found: dict[int, tuple[int, int]] = {}
        fails: list[Verdict] = []
        async with asyncio.timeout(DEADLINE_S):
            while not sending.done() or not fails or len(found) < QUIET_S:
                fails += [verdict for verdict in await read(verdicts) if verdict.outcome is Outcome.FAIL]
                for record in await kpis.poll(0.1):
                    kpi = msgspec.json.decode(record.value or b"")
                    if (kpi["cohort"], kpi["window_s"]) == ("rest", 1):
                        found[kpi["start_ms"]] = (kpi["requests"], kpi["errors"])
        shift_ms = await sending
        await kpis.close()
        await verdicts.close()
    drawn = {start_ms + shift_ms: sums for start_ms, sums in play.rest.items()}
    # The context comes while the last quiet second is still open: its canaries are no longer rest then.
    both = [start_ms for start_ms in sorted(drawn)[: QUIET_S - 2] if start_ms in found]
    assert len(both) >= QUIET_S - 5  # the judge may have come while the first ones were under way
    assert {start_ms: found[start_ms] for start_ms in both[2:]} == {start_ms: drawn[start_ms] for start_ms in both[2:]}
    assert fails[0].rollout == "r1"


async def read(reader) -> list[Verdict]:
    return [msgspec.json.decode(record.value or b"", type=Verdict) for record in await reader.poll(0.1)]
