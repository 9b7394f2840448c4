"""judge: one ordered partition folded into KPIs, scores, verdicts and alarms (A3). Decode, step, emit; checkpoint.

Outputs before the checkpoint, the checkpoint before the floor: after a crash the successor repeats outputs (their ids are
deterministic), and never skips any.
"""

import asyncio
from collections.abc import Iterable, Mapping

import structlog
from aiokafka import ConsumerRecord
from faust.types import TP
from msgspec import Struct
from msgspec.structs import asdict

from tidegate.broker import Connection
from tidegate.judge import JudgeState, Outcome, restore, snapshot, step
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.judgement import Alarm, Score, Verdict
from tidegate.worker import checkpoints
from tidegate.worker.checkpoints import Checkpoint
from tidegate.worker.deadletters import letter
from tidegate.worker.metrics import JudgeMetrics
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Chunk, ChunkConsumer, Limits

CHECKPOINT_EVERY_S = 10.0
ROLE = "judge"

log = structlog.get_logger("tidegate.worker")


class _Held(Struct):
    """One partition in hand: its state, the next offset to fold, and the one that its last checkpoint covers."""

    state: JudgeState
    next: int
    saved: int


class Judge:
    """The role behind the agent; ``tidegate.worker.transport.Host``."""

    topic = "nodeseconds"
    limits = Limits(pace_s=0.02, chunk_records=100, chunk_bytes=256 << 10)

    def __init__(self, connection: Connection, outbox: Outbox, metrics: JudgeMetrics) -> None:
        self.consumer: ChunkConsumer
        self._connection = connection
        self._outbox = outbox
        self._metrics = metrics
        self._held: dict[TP, _Held] = {}
        self._folding = asyncio.Lock()
        """Held from a step until its outputs are handed over: a checkpoint never covers what is not sent."""

    async def take(self, chunk: Chunk) -> None:
        """Fold the records of a chunk, in order."""
        held = self._held[chunk.tp]
        before = asdict(held.state.tally)
        try:
            for record in chunk.records:
                async with self._folding:
                    await self._fold(held, record)
                # Large records take milliseconds each; the loop must breathe in between.
                await asyncio.sleep(0)
        except BaseException:
            # The state may be half changed: no checkpoint of it may come to be while the process ends.
            self._held.clear()
            raise
        self._metrics.folded(before, asdict(held.state.tally))
        self._metrics.clock_at(chunk.tp.partition, held.state.clock.now_ms)
        self._metrics.read_to(self.topic, chunk.tp.partition, held.next, self.consumer.highwater(chunk.tp))

    async def _fold(self, held: _Held, record: "ConsumerRecord[bytes, bytes]") -> None:
        try:
            outcome = step(held.state, nodeseconds.decode(record.value or b""), record.timestamp)
        except Malformed as fault:
            self._metrics.deadletters.labels(self.topic, "message").inc()
            value, headers = letter(self.topic, record, fault)
            await self._outbox.send("deadletters", value, key=self.topic, headers=headers)
        else:
            await self._emit(outcome)
        held.next = record.offset + 1

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

    def positions(self) -> Mapping[TP, int]:
        """Return the next offset of each partition in hand."""
        return {tp: held.next for tp, held in self._held.items()}

    # checkpoints

    async def run(self) -> None:
        """Write a checkpoint of each partition every 10 s, for ever, spread so that no moment has them all."""
        while True:
            held = sorted(self._held)
            for tp in held:
                await asyncio.sleep(CHECKPOINT_EVERY_S / len(held))
                if self.consumer.flow_active:
                    await self._save([tp])
            if not held:
                await asyncio.sleep(CHECKPOINT_EVERY_S)

    async def _save(self, tps: Iterable[TP]) -> None:
        """Make the state of partitions durable and raise their floors; nothing for those that have not moved."""
        due: list[tuple[TP, _Held, Checkpoint]] = []
        async with self._folding:
            for tp in tps:
                held = self._held.get(tp)
                if held is not None and held.next != held.saved:
                    due.append((tp, held, Checkpoint(held.next, snapshot(held.state))))
            if due:
                await self._outbox.settled()
        sent = []
        for tp, _, checkpoint in due:
            data = checkpoints.encode(checkpoint)
            key = checkpoints.key_of(ROLE, tp.partition)
            sent.append(await self._outbox.send("checkpoints", data, key=key, partition=tp.partition))
            self._metrics.saved(len(data))
        await asyncio.gather(*sent)
        for tp, held, checkpoint in due:
            held.saved = checkpoint.offset
            self.consumer.raise_floor(tp, checkpoint.offset)

    async def settle(self) -> None:
        """Write a checkpoint of every partition that has moved since its last."""
        await self._save(sorted(self._held))

    # rebalance

    async def on_assigned(self, assigned: set[TP]) -> Mapping[TP, int]:
        """Load the states of partitions; return where each goes on."""
        self._metrics.forget(self.topic)
        found = await checkpoints.load(self._connection, ROLE, self.topic, {tp.partition for tp in assigned})
        self._held, starts, lost = {tp: _Held(JudgeState(), 0, 0) for tp in assigned}, {}, {}
        for tp in assigned:
            if tp.partition not in found:
                continue
            try:
                self._held[tp].state = restore(found[tp.partition].state)
            except Malformed as fault:
                lost[tp.partition] = str(fault)
            else:
                starts[tp] = found[tp.partition].offset
        if lost:
            log.warning(
                "states that cannot be read; judged anew from here (C7)",
                partitions=sorted(lost),
                reason=next(iter(lost.values())),
            )
        return starts

    def on_positions(self, positions: Mapping[TP, int]) -> None:
        """Learn where reading begins."""
        for tp, offset in positions.items():
            if tp in self._held:
                self._held[tp].next = self._held[tp].saved = offset
