"""judge without a broker: outputs before the checkpoint, the checkpoint before the floor."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry
from tests.worker.fakes import FakeConsumer, FakeProducer, telemetry, told

from tidegate.broker import Connection
from tidegate.judge import JudgeState, restore, snapshot, step
from tidegate.kpi.columns import RowWriter
from tidegate.wire import nodeseconds
from tidegate.wire.codec import encode
from tidegate.wire.judgement import Alarm, AlarmState, Score, Severity
from tidegate.wire.nodeseconds import NodeSeconds
from tidegate.wire.telemetry import Histogram, Telemetry
from tidegate.worker import checkpoints, judge
from tidegate.worker.checkpoints import Checkpoint
from tidegate.worker.judge import Judge
from tidegate.worker.keeper import Held
from tidegate.worker.metrics import JudgeMetrics
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Chunk

HERE = TP("p.nodeseconds", 3)
BEGIN_MS = 1_000_000


class Rig:
    def __init__(self) -> None:
        self.producer = FakeProducer()
        self.registry = CollectorRegistry()
        outbox = Outbox(lambda: self.producer, "p.", [].append)
        self.judge = Judge(Connection("127.0.0.1:1", "p."), outbox, JudgeMetrics(self.registry))
        self.consumer = self.judge.consumer = FakeConsumer()
        self.judge._held = {HERE: Held(JudgeState())}

    async def take(self, *values: bytes, first: int = 0) -> None:
        records = [telemetry(HERE, first + at, value, BEGIN_MS + 60_000) for at, value in enumerate(values)]
        await self.judge.take(Chunk(HERE, records))


@pytest.fixture
async def rig():
    return Rig()


def rows(number: int) -> bytes:
    writer = RowWriter()
    for at in range(number):
        row = Telemetry(
            node=f"n{at}",
            service="shop",
            boot="b",
            seq=1,
            version="v1",
            start_ms=BEGIN_MS,
            requests=2,
            latency=Histogram(-20, [2]),
        )
        writer.add(row, BEGIN_MS + 1_005)
    return nodeseconds.encode(writer.flush({}))


def marks(time_ms: int) -> bytes:
    return nodeseconds.encode(NodeSeconds(marks=dict.fromkeys(range(12), time_ms)))


async def test_a_closed_second_comes_out_as_a_flat_kpi_keyed_by_its_service(rig):
    await rig.take(rows(3), marks(BEGIN_MS + 2_000))
    (sent,) = rig.producer.of("p.kpis")
    kpi = msgspec.json.decode(sent.value)
    assert sent.key == b"shop"
    assert (kpi["id"], kpi["requests"], kpi["nodes"]) == (f"shop/rest/1/{BEGIN_MS + 1_000}", 6, 3)
    assert not any(isinstance(value, list | dict) for value in kpi.values())
    assert told(rig.registry, "tidegate_judge_rows_total", outcome="accepted") == 3
    assert told(rig.registry, "tidegate_judge_panes_closed_total") == 1


async def test_the_same_rows_again_are_counted_as_duplicates(rig):
    await rig.take(rows(3), rows(3))
    assert told(rig.registry, "tidegate_judge_rows_total", outcome="accepted") == 3
    assert told(rig.registry, "tidegate_judge_rows_total", outcome="duplicate") == 3


async def test_kpis_are_durable_before_the_checkpoint_and_the_checkpoint_before_the_floor(rig):
    await rig.take(rows(1), marks(BEGIN_MS + 2_000))
    outputs = list(rig.producer.sent)
    assert outputs
    saving = asyncio.create_task(rig.judge.settle())
    await asyncio.sleep(0)
    assert rig.producer.of("p.checkpoints") == []
    await rig.producer.answer(outputs)
    while not rig.producer.of("p.checkpoints"):  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    (saved,) = rig.producer.of("p.checkpoints")
    assert (saved.key, saved.partition) == (b"judge/3", 3)
    assert rig.consumer.floor == {}
    await rig.producer.answer([saved])
    await saving
    assert rig.consumer.floor == {HERE: 2}
    checkpoint = checkpoints.decode(saved.value)
    assert checkpoint.offset == 2
    assert restore(checkpoints.unpack(checkpoint)).tally.accepted == 1


async def test_a_partition_that_has_not_moved_is_not_saved_again(rig):
    rig.producer.answers_at_once = 1
    await rig.take(rows(1))
    await rig.judge.settle()
    await rig.judge.settle()
    assert len(rig.producer.of("p.checkpoints")) == 1


async def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_next_one_is_folded(rig):
    torn = nodeseconds.encode(NodeSeconds(service=b"\x00\x00"))
    await rig.take(b"\xc1", torn, rows(1))
    letters = rig.producer.of("p.deadletters")
    assert [letter.value for letter in letters] == [b"\xc1", torn]
    assert dict(letters[1].headers)["origin-topic"] == b"nodeseconds"
    assert told(rig.registry, "tidegate_deadletters_total", source="nodeseconds", field="message") == 2
    assert told(rig.registry, "tidegate_judge_rows_total", outcome="accepted") == 1


async def test_a_state_that_a_fault_has_half_changed_is_never_saved(rig):
    rig.judge._held[HERE].state.clock = None
    with pytest.raises(AttributeError):
        await rig.take(rows(1))
    await rig.judge.settle()
    assert rig.producer.of("p.checkpoints") == []


async def test_an_output_that_is_no_number_is_told_and_passed_over(rig):
    score = Score(service="shop", cohort="rest", metric="rate", end_ms=1, value=1.0, score=float("nan"))
    await rig.judge._write("scores", "shop", score)
    assert rig.producer.sent == []
    assert told(rig.registry, "tidegate_judge_unwritable_total", topic="scores") == 1


async def test_a_checkpoint_that_is_too_large_is_not_written_and_the_floor_stays(rig, monkeypatch):
    monkeypatch.setattr(checkpoints, "BYTES_MAX", 10)
    rig.producer.answers_at_once = 1
    await rig.take(rows(1))
    await rig.judge.settle()
    assert rig.producer.of("p.checkpoints") == []
    assert rig.consumer.floor == {}
    assert told(rig.registry, "tidegate_judge_checkpoints_too_large_total") == 1


def saved(offset: int, *records: bytes) -> Checkpoint:
    state = JudgeState(3)
    for record in records:
        step(state, nodeseconds.decode(record), BEGIN_MS + 60_000)
    return checkpoints.pack(offset, snapshot(state))


async def assigned(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, *found: Checkpoint, begin: int = 9, alarms: Sequence[Alarm] = ()
) -> dict[TP, int]:
    async def load(*_: object, bridged: bool) -> dict[int, list[Checkpoint]]:
        return {3: [*found]} if found else {}

    async def standing(_: Connection) -> Sequence[Alarm]:
        return alarms

    monkeypatch.setattr(checkpoints, "load", load)
    monkeypatch.setattr(judge, "standing", standing)
    starts = dict(await rig.judge.on_assigned({HERE}))
    rig.judge.on_positions({HERE: starts.get(HERE, begin)})
    return starts


async def test_the_next_older_checkpoint_is_taken_where_the_newest_cannot_be_read(rig, monkeypatch):
    older = saved(5, rows(2))
    starts = await assigned(rig, monkeypatch, Checkpoint(8, b"\x28\xb5\x2f\xfd torn"), Checkpoint(7, b"\xc1"), older)
    assert starts == {HERE: 5}
    assert rig.judge._held[HERE].state.tally.accepted == 2
    assert not rig.judge._held[HERE].state.lost
    assert told(rig.registry, "tidegate_judge_checkpoints_unreadable_total") == 2


@pytest.mark.parametrize("found", [[], [Checkpoint(8, b"\xc1")]], ids=["missing", "none can be read"])
async def test_without_a_checkpoint_in_the_middle_of_the_log_the_state_is_lost(rig, monkeypatch, found):
    assert await assigned(rig, monkeypatch, *found) == {}
    assert rig.judge._held[HERE].state.lost
    assert told(rig.registry, "tidegate_judge_states_lost_total") == 1


async def test_at_the_beginning_of_the_log_nothing_is_lost(rig, monkeypatch):
    await assigned(rig, monkeypatch, begin=0)
    assert not rig.judge._held[HERE].state.lost


async def test_records_that_retention_removed_behind_a_checkpoint_are_told_as_lost(rig, monkeypatch):
    """Where it began is known before the first record: of a partition with nothing left in it none may come."""
    await assigned(rig, monkeypatch, saved(5, rows(2)))
    assert not rig.judge._held[HERE].state.lost
    rig.judge.on_positions({HERE: 8})
    assert rig.judge._held[HERE].state.lost
    assert rig.judge.positions() == {HERE: 8}


async def test_alarms_of_a_judge_that_lost_its_state_are_ended_by_the_next_one(rig, monkeypatch):
    metric = "partition-3"
    left = Alarm(
        id=f"telemetry_down/{metric}",
        writer="judge",
        name="telemetry_down",
        state=AlarmState.FIRING,
        severity=Severity.CRITICAL,
        start_ms=BEGIN_MS,
        labels={"metric": metric},
    )
    await assigned(rig, monkeypatch, alarms=[left])
    await rig.take(marks(BEGIN_MS + 59_000), first=9)
    assert rig.producer.of("p.alarms") == []
    rig.producer.sent.clear()
    await rig.judge.take(Chunk(HERE, [telemetry(HERE, 10, marks(BEGIN_MS + 63_000), BEGIN_MS + 63_000)]))
    (edge,) = rig.producer.of("p.alarms")
    told_edge = msgspec.json.decode(edge.value, type=Alarm)
    assert (edge.key, told_edge.state, told_edge.start_ms) == (b"judge/" + left.id.encode(), AlarmState.RESOLVED, BEGIN_MS)


@pytest.mark.kafka
async def test_what_stands_on_the_topic_is_the_last_word_of_each_alarm(connection, log):
    assert await judge.standing(connection) == []
    alarm = Alarm(id="a", writer="judge", name="a", state=AlarmState.FIRING, severity=Severity.INFO, start_ms=1)
    over = msgspec.structs.replace(alarm, state=AlarmState.RESOLVED, end_ms=2)
    other = msgspec.structs.replace(alarm, id="b")
    for one in (alarm, other, over):
        await log.append("alarms", one.key, encode(one))
    await log.append("alarms", "judge/c", b"{")
    await log.append("alarms", "judge/d", None)
    assert await judge.standing(connection) == [over, other]
