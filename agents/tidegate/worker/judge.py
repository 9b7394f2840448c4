"""judge: one ordered partition folded into KPIs, scores, verdicts and alarms (A3). Decode, step, emit; checkpoint."""

import asyncio
import contextlib
from collections.abc import Mapping

import structlog
from aiokafka import ConsumerRecord
from faust.types import TP

from tidegate.broker import Connection, KafkaLog
from tidegate.judge import JudgeState, Outcome, Tally, bequeath, restore, snapshot, step
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed, decode, encode
from tidegate.wire.judgement import Alarm, Score, Verdict
from tidegate.worker.keeper import Held, Keeper
from tidegate.worker.metrics import JudgeMetrics
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Limits

CHECKPOINT_EVERY_S = 10.0
STANDING_WITHIN_S = 10.0
ROLE = "judge"

log = structlog.get_logger("tidegate.worker")


class Judge(Keeper[JudgeState]):
    """The role behind the agent."""

    role = ROLE
    topic = "nodeseconds"
    limits = Limits(pace_s=0.02, chunk_records=100, chunk_bytes=256 << 10)
    checkpoint_every_s = CHECKPOINT_EVERY_S
    breath = 1
    lost_means = "judged anew from here; subjects hold until their requests are met anew (C7)"
    bridges = False

    def __init__(self, connection: Connection, outbox: Outbox, metrics: JudgeMetrics) -> None:
        super().__init__(connection, outbox, metrics)
        self._metrics = metrics

    def fresh(self, partition: int) -> JudgeState:
        """Return the state of a partition of which nothing is known."""
        return JudgeState(partition)

    def snapshot(self, state: JudgeState) -> bytes:
        """Return a state as bytes."""
        return snapshot(state)

    def restore(self, data: bytes, partition: int) -> JudgeState:
        """Return the state that bytes hold; Malformed where they hold none."""
        return restore(data, partition)

    async def on_assigned(self, assigned: set[TP]) -> Mapping[TP, int]:
        """Load the states of partitions, and tell them what stands on ``alarms``: who lost its own is to end it (I1)."""
        starts = await super().on_assigned(assigned)
        if assigned:
            await self._inherit()
        return starts

    async def _inherit(self) -> None:
        try:
            async with asyncio.timeout(STANDING_WITHIN_S):
                alarms = await standing(self._connection)
        except TimeoutError:
            # Telemetry is to be judged whatever becomes of them.
            log.warning("alarms not read", means="those of a predecessor that lost its state fire on until the next assignment")
            return
        for held in self._held.values():
            bequeath(held.state, alarms)

    async def fold(self, held: Held[JudgeState], record: "ConsumerRecord[bytes, bytes]") -> None:
        """Fold one record and hand over what it brought about. Malformed where it cannot be read."""
        await self._emit(step(held.state, nodeseconds.decode(record.value or b""), record.timestamp))

    def folded(self, partition: int, before: Tally, state: JudgeState) -> None:
        """Count what one chunk did to a state."""
        self._metrics.folded(before, state.tally)
        self._metrics.clock_at(partition, state.clock.now_ms)

    def saved(self, partition: int, state: JudgeState, size_bytes: int) -> None:
        """Count one checkpoint."""
        self._metrics.saved(partition, state, size_bytes)

    async def _emit(self, outcome: Outcome) -> None:
        for kpi in outcome.kpis:
            await self._outbox.send("kpis", kpi.flat(), key=kpi.service, time_ms=kpi.end_ms)
        for score in outcome.scores:
            await self._write("scores", score.service, score, score.end_ms)
        for verdict in outcome.verdicts:
            await self._write("verdicts", verdict.subject, verdict)
        for alarm in outcome.alarms:
            await self._write("alarms", alarm.key, alarm)
        self._metrics.emitted(outcome)

    async def _write(self, topic: str, key: str, value: Score | Verdict | Alarm, time_ms: int | None = None) -> None:
        try:
            data = encode(value)
        except Malformed as fault:
            # A judgement that is no number would come out again after every restart: say so and go on.
            log.exception("an output cannot be written", topic=topic, id=value.id, reason=str(fault))
            self._metrics.unwritable.labels(topic).inc()
            return
        await self._outbox.send(topic, data, key=key, time_ms=time_ms)


async def standing(connection: Connection) -> list[Alarm]:
    """Return the last record of each alarm, up to the end that the topic has now; without those that cannot be read here."""
    reader = await KafkaLog(connection, client_id=f"tidegate-{ROLE}-alarms").reader(["alarms"])
    try:
        last = {record.key: record.value for record in await reader.read_to_end()}
    finally:
        await reader.close()
    found = []
    for value in last.values():
        with contextlib.suppress(Malformed):
            found += [decode(value, Alarm)] if value is not None else []
    return found
