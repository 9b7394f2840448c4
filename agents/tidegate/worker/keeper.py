"""A role that folds each partition of one topic into a state, and keeps that in checkpoints: what judge and experiment share.

Outputs before the checkpoint, the checkpoint before the floor: after a crash the successor repeats outputs (their ids are
deterministic), and never skips any.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import structlog
from aiokafka import ConsumerRecord
from faust.types import TP

from tidegate.broker import Connection
from tidegate.wire.codec import Malformed
from tidegate.worker import checkpoints
from tidegate.worker.checkpoints import Checkpoint
from tidegate.worker.deadletters import letter
from tidegate.worker.metrics import KeeperMetrics
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Chunk, ChunkConsumer, Limits

log = structlog.get_logger("tidegate.worker")


class Kept(Protocol):
    """What a state must have here."""

    lost: bool
    """Whether what came before was lost."""
    tally: Any
    """Counts, with ``copy``."""


S = TypeVar("S", bound=Kept)


class Held(Generic[S]):
    """One partition in hand: its state, the next offset to fold, and the one that its last checkpoint covers."""

    def __init__(self, state: S, next_: int = 0, *, whole: bool = False) -> None:
        self.state = state
        self.next = self.saved = next_
        self.whole = whole
        """Whether the state is that of a checkpoint."""


class Keeper(ABC, Generic[S]):
    """The role behind the agent; ``tidegate.worker.transport.Host``."""

    role: str
    topic: str
    limits: Limits
    checkpoint_every_s: float
    breath: int
    """So many records take some milliseconds; the loop must breathe after them."""
    lost_means: str
    """What records that are gone, and that a state has not seen, mean for it, in words."""
    bridges: bool
    """Whether a checkpoint is of use where records behind it are gone: retention removed them while nobody read."""

    def __init__(self, connection: Connection, outbox: Outbox, metrics: KeeperMetrics) -> None:
        self.consumer: ChunkConsumer
        self._connection = connection
        self._outbox = outbox
        self._kept_metrics = metrics
        self._held: dict[TP, Held[S]] = {}
        self._folding = asyncio.Lock()
        """Held from a step until its outputs are handed over: a checkpoint never covers what is not sent."""

    # what a role is

    @abstractmethod
    def fresh(self, partition: int) -> S:
        """Return the state of a partition of which nothing is known."""

    @abstractmethod
    def snapshot(self, state: S) -> bytes:
        """Return a state as bytes."""

    @abstractmethod
    def restore(self, data: bytes, partition: int) -> S:
        """Return the state that bytes hold; Malformed where they hold none."""

    @abstractmethod
    async def fold(self, held: Held[S], record: "ConsumerRecord[bytes, bytes]") -> None:
        """Fold one record and hand over what it brought about. Malformed where it cannot be read; the state is as it was then."""

    @abstractmethod
    def folded(self, partition: int, before: Any, state: S) -> None:
        """Count what one chunk did to a state, given the tally before it."""

    @abstractmethod
    def saved(self, partition: int, state: S, size_bytes: int) -> None:
        """Count one checkpoint."""

    # records

    async def take(self, chunk: Chunk) -> None:
        """Fold the records of a chunk, in order."""
        held = self._held[chunk.tp]
        before = held.state.tally.copy()
        try:
            for begin in range(0, len(chunk.records), self.breath):
                async with self._folding:
                    for record in chunk.records[begin : begin + self.breath]:
                        await self._take(held, record)
                await asyncio.sleep(0)
        except BaseException:
            # The state may be half changed: no checkpoint of it may come to be while the process ends.
            self._held.clear()
            raise
        self.folded(chunk.tp.partition, before, held.state)
        self._kept_metrics.read_to(self.topic, chunk.tp.partition, held.next, self.consumer.highwater(chunk.tp))

    async def _take(self, held: Held[S], record: "ConsumerRecord[bytes, bytes]") -> None:
        try:
            await self.fold(held, record)
        except Malformed as fault:
            self._kept_metrics.deadletters.labels(self.topic, "message").inc()
            value, headers = letter(self.topic, record, fault)
            await self._outbox.send("deadletters", value, key=self.topic, headers=headers)
        held.next = record.offset + 1

    def positions(self) -> Mapping[TP, int]:
        """Return the next offset of each partition in hand."""
        return {tp: held.next for tp, held in self._held.items()}

    # checkpoints

    async def run(self) -> None:
        """Write a checkpoint of each partition every so often, for ever, spread so that no moment has them all."""
        while True:
            held = sorted(self._held)
            for tp in held:
                await asyncio.sleep(self.checkpoint_every_s / len(held))
                if self.consumer.flow_active:
                    await self._save([tp])
            if not held:
                await asyncio.sleep(self.checkpoint_every_s)

    async def _save(self, tps: Iterable[TP]) -> None:
        """Make the state of partitions durable and raise their floors; nothing for those that have not moved."""
        due: list[tuple[TP, Held[S], Checkpoint]] = []
        async with self._folding:
            for tp in tps:
                held = self._held.get(tp)
                if held is not None and held.next != held.saved:
                    due.append((tp, held, checkpoints.pack(held.next, self.snapshot(held.state))))
            if due:
                await self._outbox.settled()
        sent = []
        saved = []
        for tp, held, checkpoint in due:
            data = checkpoints.encode(checkpoint)
            self.saved(tp.partition, held.state, len(data))
            if len(data) > checkpoints.BYTES_MAX:
                # The last one that fitted stays: a successor folds more of the log again, and comes to the same.
                self._kept_metrics.too_large.inc()
                log.error("a checkpoint is too large and is not written", partition=tp.partition, size_bytes=len(data))
                continue
            key = checkpoints.key_of(self.role, tp.partition)
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
        self._kept_metrics.forget(self.topic)
        partitions = {tp.partition for tp in assigned}
        found = await checkpoints.load(self._connection, self.role, self.topic, partitions, bridged=self.bridges)
        self._held = {tp: self._restored(tp, found.get(tp.partition, [])) for tp in assigned}
        return {tp: held.next for tp, held in self._held.items() if held.whole}

    def _restored(self, tp: TP, candidates: Sequence[Checkpoint]) -> Held[S]:
        """Return the state of the newest checkpoint that can be read: an older one only means more to fold again."""
        for checkpoint in candidates:
            try:
                state = self.restore(checkpoints.unpack(checkpoint), tp.partition)
            except Malformed as fault:
                self._kept_metrics.unreadable.inc()
                log.warning(
                    "a checkpoint cannot be read; an older one is tried",
                    partition=tp.partition,
                    offset=checkpoint.offset,
                    reason=str(fault),
                )
            else:
                return Held(state, checkpoint.offset, whole=True)
        return Held(self.fresh(tp.partition))

    def on_positions(self, positions: Mapping[TP, int]) -> None:
        """Learn where reading begins. Where the state has not seen what was before, that is lost (C7)."""
        for tp, offset in positions.items():
            held = self._held.get(tp)
            if held is None:
                continue
            held.state.lost = offset > held.next
            if held.state.lost:
                said = "records behind the checkpoint are gone" if held.whole else "no checkpoint"
                self._kept_metrics.lost.inc()
                log.warning(said, means=self.lost_means, partition=tp.partition, offset=offset)
            held.next = held.saved = offset
