"""intake without a broker: what is sent, and when the floor rises."""

import asyncio

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry
from tests.worker.fakes import FakeConsumer, FakeProducer, telemetry, told

from tidegate.kpi.columns import read
from tidegate.wire import nodeseconds
from tidegate.wire.partition import partition_of
from tidegate.wire.telemetry import Telemetry, encode_json, encode_msgpack
from tidegate.worker.intake import Intake
from tidegate.worker.metrics import IntakeMetrics
from tidegate.worker.outbox import Outbox
from tidegate.worker.transport import Chunk

A, B = TP("p.telemetry", 0), TP("p.telemetry", 1)
ROW = Telemetry(node="n1", service="shop", boot="b", seq=1, version="v1", start_ms=1_000, requests=3)


BEGIN_MS = 1_700_000_000_000


class Rig:
    def __init__(self) -> None:
        self.producer = FakeProducer()
        self.failures: list[Exception] = []
        self.registry = CollectorRegistry()
        self.intake = Intake(Outbox(lambda: self.producer, "p.", self.failures.append), IntakeMetrics(self.registry))
        self.consumer = self.intake.consumer = FakeConsumer()

    async def take(self, tp: TP, *values: bytes | None, first: int = 0, time_ms: int = 5_000) -> None:
        await self.intake.take(Chunk(tp, [telemetry(tp, first + at, value, time_ms + at) for at, value in enumerate(values)]))

    def records(self) -> list[tuple[int, nodeseconds.NodeSeconds]]:
        return [(sent.partition, nodeseconds.decode(sent.value)) for sent in self.producer.of("p.nodeseconds")]


@pytest.fixture
async def rig():
    return Rig()


async def test_rows_of_both_encodings_go_to_the_partition_of_their_service_and_marks_to_every_one(rig):
    await rig.take(A, encode_json(ROW), time_ms=5_000)
    await rig.take(B, encode_msgpack(ROW), time_ms=6_000)
    await rig.intake.flush()
    records = dict(rig.records())
    assert sorted(records) == list(range(12))
    assert {tuple(record.marks.items()) for record in records.values()} == {((0, 5_000), (1, 6_000))}
    assert {at for at, record in records.items() if record.services} == {partition_of("shop", 12)}
    columns = read(records[partition_of("shop", 12)])
    assert columns.append_ms.tolist() == [5_000, 6_000]


async def test_a_flush_without_anything_new_sends_nothing(rig):
    await rig.take(A, encode_json(ROW))
    await rig.intake.flush()
    rig.producer.sent.clear()
    await rig.intake.flush()
    assert rig.producer.sent == []


async def test_the_floor_rises_in_the_order_of_flushes_however_answers_come(rig):
    for number in range(3):
        await rig.take(A, encode_json(ROW), first=number * 10)
        await rig.intake.flush()
    first, second, third = rig.producer.sent[:12], rig.producer.sent[12:24], rig.producer.sent[24:]
    await rig.producer.answer(third)
    await rig.producer.answer(first[1:])
    assert rig.consumer.floor == {}
    await rig.producer.answer(first[:1])
    assert rig.consumer.floor == {A: 1}
    await rig.producer.answer(second)
    assert rig.consumer.floor == {A: 21}


async def test_a_message_that_is_refused_holds_the_floor_for_good_and_is_told_once_with_its_topic(rig):
    await rig.take(A, encode_json(ROW))
    await rig.intake.flush()
    await rig.take(A, encode_json(ROW), first=1)
    await rig.intake.flush()
    await rig.producer.refuse(rig.producer.sent[0])
    await rig.producer.answer(rig.producer.sent[1:])
    assert rig.consumer.floor == {}
    (failure,) = rig.failures
    assert str(failure).startswith("nodeseconds: ")


async def test_read_is_accepted_plus_dead_letters_which_keep_the_bytes_and_say_where_from_and_why(rig):
    bad = encode_json(ROW).replace(b'"requests":3', b'"requests":-3')
    await rig.take(A, encode_json(ROW), bad, b"\xff\xfe", None, first=7)
    await rig.intake.flush()
    letters = rig.producer.of("p.deadletters")
    assert [letter.value for letter in letters] == [bad, b"\xff\xfe", None]
    assert {letter.key for letter in letters} == {b"telemetry"}
    headers = dict(letters[0].headers)
    assert (headers["origin-topic"], headers["origin-partition"], headers["origin-offset"]) == (b"telemetry", b"0", b"8")
    assert headers["path"] == b"requests"
    assert told(rig.registry, "tidegate_intake_messages_read_total") == 4
    assert told(rig.registry, "tidegate_intake_rows_accepted_total") == 1
    assert told(rig.registry, "tidegate_deadletters_total", source="telemetry", field="requests") == 1
    assert told(rig.registry, "tidegate_deadletters_total", source="telemetry", field="message") == 2


async def test_dead_letters_hold_the_floor_like_rows(rig):
    await rig.take(A, b"nonsense")
    await rig.intake.flush()
    await rig.producer.answer(rig.producer.of("p.nodeseconds"))
    assert rig.consumer.floor == {}
    await rig.producer.answer(rig.producer.of("p.deadletters"))
    assert rig.consumer.floor == {A: 1}


async def test_a_full_message_is_cut_so_that_its_letter_fits_the_topic(rig):
    await rig.take(A, bytes(1 << 20))
    await rig.intake.flush()
    (letter,) = rig.producer.of("p.deadletters")
    assert len(letter.value) < (1 << 20) - 8_000
    assert dict(letter.headers)["origin-bytes"] == b"1048576"


async def test_much_input_is_flushed_before_the_next_tick(rig):
    large = encode_json(Telemetry(node="n", service="s", boot="b", seq=1, version="v", start_ms=0, labels={"a": "x" * 200}))
    for number in range(8):
        await rig.take(A, *[large] * 1_000, first=number * 1_000)
    assert len(rig.producer.of("p.nodeseconds")) == 12


async def test_a_partition_at_its_end_is_marked_with_the_append_time_of_the_last_acknowledged_flush(rig):
    rig.producer.answers_at_once = BEGIN_MS + 9_000
    rig.intake.on_positions({A: 4, B: 0})
    rig.consumer.ends = {A: 4, B: 2}
    await rig.intake._mark_ends()
    await rig.intake.flush()
    assert rig.records()[-1][1].marks == {0: BEGIN_MS + 9_000}


async def test_rows_that_stood_there_at_the_probe_are_awaited_and_marked_behind(rig):
    rig.producer.answers_at_once = BEGIN_MS + 9_000
    rig.intake.on_positions({A: 0})
    rig.consumer.ends = {A: 1}
    marking = asyncio.create_task(rig.intake._mark_ends())
    await rig.consumer.asked.wait()
    await rig.take(A, encode_json(ROW), time_ms=BEGIN_MS + 8_000)
    await marking
    await rig.intake.flush()
    rows = [record for _, record in rig.records() if record.services]
    assert [record.marks for record in rows] == [{0: BEGIN_MS + 9_000}]


async def test_a_partition_that_has_moved_beyond_the_probe_is_not_waited_for_and_keeps_its_mark(rig):
    rig.producer.answers_at_once = BEGIN_MS + 9_000
    rig.intake.on_positions({A: 0})
    rig.consumer.ends = {A: 100}
    marking = asyncio.create_task(rig.intake._mark_ends())
    await rig.consumer.asked.wait()
    await rig.take(A, encode_json(ROW), time_ms=BEGIN_MS + 9_001)
    await marking
    await rig.intake.flush()
    assert rig.records()[-1][1].marks == {0: BEGIN_MS + 9_001}


async def test_a_partition_with_rows_still_before_it_is_not_marked_with_the_probe(rig):
    rig.producer.answers_at_once = BEGIN_MS + 9_000
    rig.intake.on_positions({A: 0})
    await rig.take(A, encode_json(ROW), time_ms=BEGIN_MS + 5_000)
    rig.consumer.ends = {A: 2}
    await rig.intake._mark_ends()
    await rig.intake.flush()
    assert rig.records()[-1][1].marks == {0: BEGIN_MS + 5_000}


async def test_a_broker_that_tells_no_append_time_leaves_the_senders(rig):
    rig.producer.answers_at_once = 1_234
    rig.intake.on_positions({A: 0})
    rig.consumer.ends = {A: 0}
    await rig.intake._mark_ends()
    await rig.intake.flush()
    (mark_ms,) = rig.records()[-1][1].marks.values()
    assert mark_ms > BEGIN_MS


async def test_a_new_assignment_forgets_marks_and_positions(rig):
    await rig.take(A, encode_json(ROW))
    await rig.intake.flush()
    assert await rig.intake.on_assigned({B}) == {}
    await rig.take(B, encode_json(ROW), time_ms=7_000)
    await rig.intake.flush()
    assert rig.records()[-1][1].marks == {1: 7_000}


async def test_settling_waits_until_all_is_durable(rig):
    await rig.take(A, encode_json(ROW))
    settling = asyncio.create_task(rig.intake.settle())
    await rig.producer.full.wait()
    await rig.producer.answer(rig.producer.sent[1:])
    assert not settling.done()
    await rig.producer.answer(rig.producer.sent[:1])
    await settling
    assert rig.consumer.floor == {A: 1}
