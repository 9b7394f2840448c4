import asyncio
import os

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from tidegate.broker import Connection, KafkaLog, create_topics
from tidegate.ports import SendUnknown

pytestmark = pytest.mark.kafka


async def test_records_stand_in_the_order_of_the_calls(log):
    sent = await asyncio.gather(*(log.append("plans", None, b"%d" % number) for number in range(200)))
    reader = await log.reader(["plans"])
    assert [int(record.value) for record in await reader.read_to_end()] == list(range(200))
    assert [appended.offset for appended in sent] == list(range(200))
    await reader.close()


async def test_the_append_time_is_the_brokers_where_the_table_says_so_else_the_writers(log):
    assert (await log.append("plans", None, b"", time_ms=1_000)).time_ms > 1_600_000_000_000
    reader = await log.reader(["kpis"], start="latest")
    await log.append("kpis", "shop", b"", time_ms=1_700_000_000_000)
    (record,) = await reader.poll(5)
    assert record.time_ms == 1_700_000_000_000
    await reader.close()


async def test_a_record_too_large_for_its_topic_is_refused_and_the_next_one_passes(log):
    for size in (17 << 20, 9 << 20):  # above what is ever sent; above what the topic takes
        with pytest.raises(ValueError, match="too large for plans"):
            await log.append("plans", None, os.urandom(size))
    assert (await log.append("plans", None, b"small")).offset == 0


async def test_a_producer_that_has_died_is_replaced(log):
    """Out of order is final for a producer: every later send of it fails."""
    await log.append("plans", None, b"1")
    dead = log._producer
    dead._txn_manager.increment_sequence_number(TopicPartition(f"{log.connection.prefix}plans", 0), 7)
    with pytest.raises(SendUnknown, match="plans: OutOfOrderSequence"):
        await log.append("plans", None, b"2")
    assert (await log.append("plans", None, b"3")).offset == 1
    assert log._producer is not dead


async def test_a_topic_that_is_not_there_is_a_send_without_answer(bare_connection):
    log = KafkaLog(bare_connection, client_id="test", send_timeout_s=0.5)
    with pytest.raises(SendUnknown, match="plans"):
        await log.append("plans", None, b"")
    await log.close()
    await log.close()


async def test_what_was_acknowledged_survives_kill_9_of_the_broker_and_what_was_not_is_unknown(private_kafka):
    connection = Connection(private_kafka.bootstrap)
    await create_topics(connection, names=frozenset({"decisions"}))
    log = KafkaLog(connection, client_id="test", send_timeout_s=1.5)
    await log.start()
    reader = await log.reader(["decisions"])
    acknowledged: list[int] = []
    unknown: list[int] = []

    async def write() -> None:
        number = 0
        while not unknown or len(acknowledged) < 200 or acknowledged[-1] < unknown[-1] + 50:
            try:
                await log.append("decisions", None, b"%d" % number)
                acknowledged.append(number)
            except SendUnknown:
                unknown.append(number)
            number += 1

    with capture_logs() as said:
        async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(write())
            while len(acknowledged) < 100:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await private_kafka.kill()
            while len(unknown) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await private_kafka.start()
            await writing
            read = [int(record.value) for record in await reader.read_to_end()]
    assert set(acknowledged) <= set(read) <= set(acknowledged) | set(unknown)
    assert read == sorted(set(read))
    assert [line["event"] for line in said if line["during"] == "producing" and line["log_level"] != "debug"] == [
        "broker does not answer",
        "broker answers",
    ]
    await reader.close()
    await log.close()


@pytest.mark.parametrize("one_of_many", [False, pytest.param(True, marks=pytest.mark.thorough)])
async def test_a_send_reported_unknown_does_not_land_an_hour_later(private_kafka, one_of_many):
    connection = Connection(private_kafka.bootstrap)
    await create_topics(connection, names=frozenset({"decisions"}))
    log = KafkaLog(connection, client_id="test", send_timeout_s=0.5, one_of_many=one_of_many)
    await log.append("decisions", None, b"before")
    await private_kafka.kill()
    sends = await asyncio.gather(*(log.append("decisions", None, b"lost") for _ in range(5)), return_exceptions=True)
    assert {type(send) for send in sends} == {SendUnknown}
    await private_kafka.start()
    after = KafkaLog(connection, client_id="after")
    await after.append("decisions", None, b"after")
    reader = await after.reader(["decisions"])
    assert [record.value for record in await reader.read_to_end()] == [b"before", b"after"]
    for each in (reader, after, log):
        await each.close()
