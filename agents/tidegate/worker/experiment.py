"""experiment: exposures and outcomes of each partition folded into sums per variant. Decode, step, emit; checkpoint.

The sums are levels: the last record of a key says all. Whoever holds partition 0 also looks at the sums of all partitions
together and writes the edges of alarms: a share that is off by a percent is seen in all of them long before it is seen in one.
"""

import asyncio
import time

from aiokafka import ConsumerRecord

from tidegate.broker import Connection, KafkaLog
from tidegate.experiments import ExperimentState, Tally, restore, snapshot, step, sums
from tidegate.experiments.alarms import Alarms
from tidegate.ports import LogReader
from tidegate.wire.codec import encode
from tidegate.wire.exposures import exposure_of
from tidegate.worker.keeper import Held, Keeper
from tidegate.worker.metrics import ExperimentMetrics
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Limits

TELL_EVERY_S = 2.0
"""So often sums that have changed are written."""
LOOK_EVERY_S = 5.0


class Experiment(Keeper[ExperimentState]):
    """The role behind the agent."""

    role = "experiment"
    topic = "exposures"
    limits = Limits(pace_s=0.05, chunk_records=1_000, chunk_bytes=512 << 10)
    checkpoint_every_s = 20.0
    """With five million users a partition's checkpoint has several MB."""
    breath = 200
    lost_means = "users and outcomes that came before and are not in it are not counted"
    bridges = True

    def __init__(self, connection: Connection, outbox: Outbox, metrics: ExperimentMetrics) -> None:
        super().__init__(connection, outbox, metrics)
        self._metrics = metrics

    def fresh(self, partition: int) -> ExperimentState:
        """Return the state of a partition of which nothing is known."""
        return ExperimentState(partition)

    def snapshot(self, state: ExperimentState) -> bytes:
        """Return a state as bytes."""
        return snapshot(state)

    def restore(self, data: bytes, partition: int) -> ExperimentState:
        """Return the state that bytes hold; Malformed where they hold none."""
        return restore(data, partition)

    async def fold(self, held: Held[ExperimentState], record: "ConsumerRecord[bytes, bytes]") -> None:
        """Fold one record. Malformed where it cannot be read."""
        step(held.state, exposure_of(record.value or b""), record.timestamp)

    def folded(self, partition: int, before: Tally, state: ExperimentState) -> None:
        """Count what one chunk did to a state."""
        self._metrics.folded(partition, before, state)

    def saved(self, partition: int, state: ExperimentState, size_bytes: int) -> None:  # noqa: ARG002 - Keeper
        """Count one checkpoint."""
        self._metrics.checkpointed(size_bytes)

    # out

    async def run(self) -> None:
        """Keep checkpoints, write sums and look at them, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._tell())
            group.create_task(self._watch())

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            if self.consumer.flow_active:
                await self.tell()

    async def tell(self) -> None:
        """Write the sums that have changed since they were written last."""
        async with self._folding:
            for held in self._held.values():
                await self._tell_of(held)

    async def _tell_of(self, held: Held[ExperimentState]) -> None:
        for name in sorted(held.state.changed):
            record = sums(held.state, name, held.next)
            await self._outbox.send("experiments", encode(record), key=record.key)
            self._metrics.summed()
        held.state.changed.clear()

    async def settle(self) -> None:
        """Write sums and a checkpoint of every partition that has moved since its last."""
        await self.tell()
        await super().settle()

    # alarms

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._leads():
                log = KafkaLog(self._connection, client_id="tidegate-experiment-alarms")
                await self._lead(await log.reader(["experiments", "alarms"]))

    async def _lead(self, reader: LogReader) -> None:
        """Look at the sums of all partitions for as long as this worker holds the first one."""
        alarms = Alarms()
        try:
            while self._leads():
                for record in await reader.read_to_end():
                    alarms.read(record.topic, record.value)
                for alarm in alarms.edges(time.time_ns() // 1_000_000):
                    await self._outbox.send("alarms", encode(alarm), key=alarm.key)
                    self._metrics.alarmed(alarm)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await reader.close()

    def _leads(self) -> bool:
        return any(tp.partition == 0 for tp in self._held)
