import asyncio
import os

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from tidegate.broker import Connection, KafkaLog, create_topics
from tidegate.broker import reader as reading
from tidegate.ports import Record

pytestmark = pytest.mark.kafka


async def test_a_reader_reads_to_the_end_of_now_then_follows(log):
    for number in range(5):
        await log.append("desired", "svc/shop", b"%d" % number, headers={"ce_id": b"x"})
    reader = await log.reader(["desired", "plans"])
    records = await reader.read_to_end()
    assert [(record.offset, record.value, record.headers["ce_id"]) for record in records] == [
        (number, b"%d" % number, b"x") for number in range(5)
    ]
    assert await reader.poll(0.1) == []
    await log.append("plans", "svc/shop", b"plan")
    (record,) = await reader.poll(5)
    assert (record.topic, record.key, record.value, record.offset) == ("plans", "svc/shop", b"plan", 0)
    assert reader.positions() == {("desired", 0): 5, ("plans", 0): 1}
    await reader.close()


async def test_to_the_end_means_the_end_captured_at_the_call_also_while_others_write(log):
    async def write() -> None:
        number = 0
        while True:
            await log.append("plans", None, b"%d" % number)
            number += 1

    writing = asyncio.create_task(write())
    reader = await log.reader(["plans"])
    seen = []
    async with asyncio.timeout(20):
        while len(seen) < 100:
            seen += await reader.read_to_end()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert [record.offset for record in seen] == list(range(len(seen)))
    await reader.close()


async def test_a_reader_from_latest_sees_only_what_comes(log):
    await log.append("desired", "svc/shop", b"old")
    reader = await log.reader(["desired"], start="latest")
    assert await reader.read_to_end() == []
    await log.append("desired", "svc/shop", b"new")
    assert [record.value for record in await reader.poll(5)] == [b"new"]
    await reader.close()


async def test_a_reader_of_what_is_recent_begins_so_many_records_before_each_end(log, monkeypatch):
    monkeypatch.setattr(reading, "RECENT_RECORDS", 2)
    for number in range(5):
        await log.append("reports", "n1", b"%d" % number, partition=1)
    await log.append("reports", "n1", b"only", partition=2)
    reader = await log.reader(["reports"], start="recent")
    assert sorted(record.value for record in await reader.read_to_end()) == [b"3", b"4", b"only"]
    await reader.close()


async def test_a_reader_of_some_partitions_sees_no_other(log):
    for partition in range(4):
        await log.append("reports", "n1", b"%d" % partition, partition=partition)
    reader = await log.reader(["reports"], partitions=[1, 3])
    assert sorted(record.value for record in await reader.read_to_end()) == [b"1", b"3"]
    await reader.close()


async def test_a_tombstone_has_a_key_and_no_value(log):
    await log.append("flags", "web/dark", None)
    reader = await log.reader(["flags"])
    (record,) = await reader.read_to_end()
    assert (record.key, record.value) == ("web/dark", None)
    await reader.close()


async def test_an_end_that_holds_no_record_is_an_end(log):
    """The end offset counts markers of transactions, and records that compaction or retention took."""
    await log.append("plans", None, b"1")
    other = AIOKafkaProducer(bootstrap_servers=log.connection.bootstrap, transactional_id=f"{log.connection.prefix}other")
    await other.start()
    async with other.transaction():
        await other.send_and_wait(f"{log.connection.prefix}plans", b"2")
    await other.stop()
    reader = await log.reader(["plans"])
    async with asyncio.timeout(10):
        assert [record.value for record in await reader.read_to_end()] == [b"1", b"2"]
        while reader.positions() != {("plans", 0): 3}:  # the broker writes the marker after it has answered
            assert await reader.read_to_end() == []
    await reader.close()


async def test_a_reader_waits_for_topics_that_are_not_made_yet_and_says_what_to_do(bare_connection):
    log = KafkaLog(bare_connection, client_id="early")
    with capture_logs() as said:
        opening = asyncio.create_task(log.reader(["plans"]))
        async with asyncio.timeout(20):
            while not said:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await create_topics(bare_connection, names=frozenset({"plans"}))
        reader = await opening
    assert [line["event"] for line in said if line["log_level"] == "warning"] == [
        "topics are missing; make them with: tidegate topics create"
    ]
    assert f"{bare_connection.prefix}plans" in said[0]["error"]
    assert await reader.read_to_end() == []
    await reader.close()
    await log.close()


async def test_a_reader_whose_client_has_fallen_silent_goes_on_where_it_was(log, monkeypatch):
    monkeypatch.setattr(reading, "SILENT_S", 0.1)
    reader = await log.reader(["plans"])
    await log.append("plans", None, b"1")
    assert [record.value for record in await reader.read_to_end()] == [b"1"]
    silent = reader._consumer
    silent._fetcher._fetch_task.cancel()
    await log.append("plans", None, b"2")
    found = []
    async with asyncio.timeout(20):
        while not found:
            found = await reader.poll(0.1)
    assert [record.value for record in found] == [b"2"]
    assert reader._consumer is not silent
    await reader.close()


async def test_a_client_that_is_replaced_may_raise_its_own_cancellation(log, monkeypatch):
    """A fetch that is cancelled before its first step says so out of ``stop``: it once ended the reader, and the node agent."""
    monkeypatch.setattr(reading, "SILENT_S", 0.1)
    reader = await log.reader(["plans"])
    silent = reader._consumer
    silent._fetcher._fetch_task.cancel()
    await log.append("plans", None, b"1")
    found = []
    async with asyncio.timeout(20):
        while not found:
            if reader._mending is not None and reader._mending.done():
                silent._fetcher._pending_tasks.add(asyncio.create_task(asyncio.sleep(60)))
            found = await reader.poll(0.1)
    assert [record.value for record in found] == [b"1"]
    assert reader._consumer is not silent
    await reader.close()


async def test_an_idle_reader_that_is_well_keeps_its_connection(log, monkeypatch):
    monkeypatch.setattr(reading, "SILENT_S", 0.05)
    reader = await log.reader(["plans"])
    consumer = reader._consumer
    for _ in range(10):
        assert await reader.poll(0.05) == []
    assert reader._consumer is consumer
    await reader.close()


async def test_without_a_broker_poll_keeps_its_time_and_afterwards_nothing_is_missing(private_kafka, monkeypatch):
    monkeypatch.setattr(reading, "SILENT_S", 0.2)
    connection = Connection(private_kafka.bootstrap)
    await create_topics(connection, names=frozenset({"plans"}))
    log = KafkaLog(connection, client_id="test")
    reader = await log.reader(["plans"])
    await log.append("plans", None, b"1")
    assert [record.value for record in await reader.read_to_end()] == [b"1"]
    await private_kafka.kill()
    loop = asyncio.get_running_loop()
    for _ in range(5):
        began_s = loop.time()
        assert await reader.poll(0.2) == []
        assert loop.time() - began_s < 2
    await private_kafka.start()
    second = KafkaLog(connection, client_id="second")
    await second.append("plans", None, b"2")
    found = []
    async with asyncio.timeout(30):
        while not found:
            found = await reader.poll(0.2)
    assert [(record.offset, record.value) for record in found] == [(1, b"2")]
    await reader.close()
    await second.close()
    await log.close()


async def test_the_largest_records_of_the_table_pass(log):
    checkpoint, plan = os.urandom(15 << 20), os.urandom(4_100_000)
    await log.append("checkpoints", "judge/3", checkpoint, partition=3)
    await log.append("desired", "plan/svc/shop", plan)
    reader = await log.reader(["checkpoints", "desired"])
    assert {record.value for record in await reader.read_to_end()} == {checkpoint, plan}
    await reader.close()


async def test_a_poll_that_is_cancelled_has_taken_nothing(log):
    """Also where what it waits for is already here, and at any other moment."""
    reader = await log.reader(["plans"])
    seen: list[int] = []

    async def cancelled(polling: "asyncio.Task[list[Record]]") -> None:
        polling.cancel()
        (taken,) = await asyncio.gather(polling, return_exceptions=True)
        if not isinstance(taken, BaseException):
            seen.extend(int(record.value or b"") for record in taken)

    polling = asyncio.create_task(reader.poll(20))
    await log.append("plans", None, b"0")
    async with asyncio.timeout(10):
        while not reader._consumer._fetcher._records:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await cancelled(polling)
    for number in range(1, 200):
        polling = asyncio.create_task(reader.poll(20))
        sending = asyncio.create_task(log.append("plans", None, b"%d" % number))
        for _ in range(number % 23):
            await asyncio.sleep(0)
        if number % 3:
            await sending
        await cancelled(polling)
        await sending
    seen += [int(record.value or b"") for record in await reader.read_to_end()]
    assert seen == list(range(200))
    await reader.close()
