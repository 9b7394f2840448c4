"""judge: one ordered partition folded into KPIs, scores, verdicts and alarms (A3). Decode, step, emit; checkpoint.

Outputs before the checkpoint, the checkpoint before the floor: after a crash the successor repeats outputs (their ids are
deterministic), and never skips any.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog
from aiokafka import ConsumerRecord
from faust.types import TP
from msgspec import Struct

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
    whole: bool = False
    """Whether the state is that of a checkpoint."""


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
        before = held.state.tally.copy()
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
        self._metrics.folded(before, held.state.tally)
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
                    due.append((tp, held, checkpoints.pack(held.next, snapshot(held.state))))
            if due:
                await self._outbox.settled()
        sent = []
        saved = []
        for tp, held, checkpoint in due:
            data = checkpoints.encode(checkpoint)
            self._metrics.saved(tp.partition, held.state, len(data))
            if len(data) > checkpoints.BYTES_MAX:
                # The last one that fitted stays: a successor folds more of the log again, and judges the same.
                self._metrics.too_large.inc()
                log.error("a checkpoint is too large and is not written", partition=tp.partition, size_bytes=len(data))
                continue
            key = checkpoints.key_of(ROLE, tp.partition)
            sent.append(await self._outbox.send("checkpoints", data, key=key, partition=tp.partition))
            saved.append((tp, held, checkpoint))
        await asyncio.gather(*sent)
        for tp, held, checkpoint in saved:
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
        self._held = {tp: self._restored(tp, found.get(tp.partition, [])) for tp in assigned}
        return {tp: held.next for tp, held in self._held.items() if held.whole}

    def _restored(self, tp: TP, candidates: Sequence[Checkpoint]) -> _Held:
        """Return the state of the newest checkpoint that can be read: an older one only means more to fold again."""
        for checkpoint in candidates:
            try:
                return _Held(
                    restore(checkpoints.unpack(checkpoint), tp.partition), checkpoint.offset, checkpoint.offset, whole=True
                )
            except Malformed as fault:
                self._metrics.unreadable.inc()
                log.warning(
                    "a checkpoint cannot be read; an older one is tried",
                    partition=tp.partition,
                    offset=checkpoint.offset,
                    reason=str(fault),
                )
        return _Held(JudgeState(tp.partition), 0, 0)

    def on_positions(self, positions: Mapping[TP, int]) -> None:
        """Learn where reading begins. Where that is in the middle of the log and there is no state, it is lost (C7)."""
        for tp, offset in positions.items():
            held = self._held.get(tp)
            if held is None:
                continue
            held.next = held.saved = offset
            held.state.lost = not held.whole and offset > 0
            if held.state.lost:
                self._metrics.lost.inc()
                log.warning(
                    "no checkpoint: judged anew from here; subjects hold until their requests are met anew (C7)",
                    partition=tp.partition,
                    offset=offset,
                )
