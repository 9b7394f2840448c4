"""experiment without a broker: sums before the checkpoint, the checkpoint before the floor."""

import asyncio

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry
from tests.experiments.kit import BEGIN_MS, did, saw
from tests.worker.fakes import FakeConsumer, FakeProducer, telemetry, told

from tidegate.broker import Connection
from tidegate.experiments import ExperimentState, restore
from tidegate.wire.codec import encode as encoded
from tidegate.wire.experiments import sums_of
from tidegate.worker import checkpoints
from tidegate.worker.experiment import Experiment
from tidegate.worker.keeper import Held
from tidegate.worker.metrics import ExperimentMetrics
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Chunk

HERE = TP("p.exposures", 3)


class Rig:
    def __init__(self) -> None:
        self.producer = FakeProducer()
        self.registry = CollectorRegistry()
        outbox = Outbox(lambda: self.producer, "p.", [].append)
        self.role = Experiment(Connection("127.0.0.1:1", "p."), outbox, ExperimentMetrics(self.registry))
        self.consumer = self.role.consumer = FakeConsumer()
        self.role._held = {HERE: Held(ExperimentState(3))}

    async def take(self, *values: bytes) -> None:
        records = [telemetry(HERE, at, value, BEGIN_MS + at) for at, value in enumerate(values)]
        await self.role.take(Chunk(HERE, records))


@pytest.fixture
async def rig():
    return Rig()


async def test_sums_are_written_when_they_have_changed_and_not_again(rig):
    rig.producer.answers_at_once = 1
    await rig.take(encoded(saw(1, "on")), encoded(did(1, "paid", 2.5)))
    await rig.role.tell()
    await rig.role.tell()
    (sent,) = rig.producer.of("p.experiments")
    record = sums_of(sent.value)
    assert (sent.key, record.offset, record.arms["on"].metrics[1].total) == (b"checkout/3", 2, 2.5)
    assert told(rig.registry, "tidegate_experiment_records_total", outcome="outcomes") == 1
    assert told(rig.registry, "tidegate_experiment_users", partition="3") == 1


async def test_sums_are_durable_before_the_checkpoint_and_the_checkpoint_before_the_floor(rig):
    await rig.take(encoded(saw(1, "on")))
    saving = asyncio.create_task(rig.role.settle())
    while not rig.producer.sent:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    assert rig.producer.of("p.checkpoints") == []
    await rig.producer.answer(rig.producer.of("p.experiments"))
    while not rig.producer.of("p.checkpoints"):  # noqa: ASYNC110 - likewise
        await asyncio.sleep(0)
    (saved,) = rig.producer.of("p.checkpoints")
    assert (saved.key, rig.consumer.floor) == (b"experiment/3", {})
    await rig.producer.answer([saved])
    await saving
    assert rig.consumer.floor == {HERE: 1}
    again = restore(checkpoints.unpack(checkpoints.decode(saved.value)), 3)
    assert (again.users, again.changed) == (1, {"checkout"})


async def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_next_one_is_folded(rig):
    await rig.take(b"{", encoded(saw(1, "on")))
    (letter,) = rig.producer.of("p.deadletters")
    assert dict(letter.headers)["origin-topic"] == b"exposures"
    assert rig.role._held[HERE].state.users == 1
