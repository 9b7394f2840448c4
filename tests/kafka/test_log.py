import asyncio

import pytest

from tidegate.broker import Connection, KafkaLog, check_topics, create_topics
from tidegate.ports import SendUnknown
from tidegate.wire.topics import TOPICS

pytestmark = pytest.mark.kafka


async def test_topics_are_made_once_however_many_make_them_and_are_as_the_table_says(kafka):
    connection = Connection(kafka, "both.")
    made = await asyncio.gather(create_topics(connection), create_topics(connection))
    assert sorted(made[0] + made[1]) == sorted(f"both.{topic.name}" for topic in TOPICS)
    assert await create_topics(connection) == []
    assert await check_topics(connection) == []


async def test_a_missing_topic_is_told_with_the_remedy(kafka):
    connection = Connection(kafka, "few.")
    await create_topics(connection, names=frozenset({"plans"}))
    found = await check_topics(connection)
    assert len(found) == len(TOPICS) - 1
    assert "few.desired is missing; run: tidegate topics create" in found


async def test_a_reader_reads_to_the_end_of_now_then_follows(log):
    for number in range(5):
        await log.append("desired", "svc/shop", b"%d" % number, headers={"ce_id": b"x"})
    reader = await log.reader(["desired", "plans"])
    assert [record.value for record in await reader.read_to_end()] == [b"0", b"1", b"2", b"3", b"4"]
    assert await reader.poll(0.1) == []
    await log.append("plans", "svc/shop", b"plan")
    (record,) = await reader.poll(5)
    assert (record.topic, record.key, record.value, record.offset) == ("plans", "svc/shop", b"plan", 0)
    assert reader.positions() == {("desired", 0): 5, ("plans", 0): 1}
    await reader.close()


async def test_a_reader_from_latest_sees_only_what_comes(log):
    await log.append("desired", "svc/shop", b"old")
    reader = await log.reader(["desired"], start="latest")
    assert await reader.read_to_end() == []
    await log.append("desired", "svc/shop", b"new")
    assert [record.value for record in await reader.poll(5)] == [b"new"]
    await reader.close()


async def test_a_record_too_large_for_its_topic_is_refused_and_the_next_one_passes(log):
    with pytest.raises(ValueError, match="too large"):
        await log.append("plans", None, bytes(17 << 20))
    assert (await log.append("plans", None, b"small")).offset == 0


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
        while len(acknowledged) < 200 or not unknown or acknowledged[-1] < max(unknown) + 50:
            try:
                await log.append("decisions", None, b"%d" % number)
                acknowledged.append(number)
            except SendUnknown:
                unknown.append(number)
            number += 1

    writing = asyncio.create_task(write())
    while len(acknowledged) < 100:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await private_kafka.kill()
    while not unknown:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await private_kafka.start()
    await asyncio.wait_for(writing, 60)
    read = [int(record.value or b"") for record in await asyncio.wait_for(reader.read_to_end(), 30)]
    assert set(acknowledged) <= set(read) <= set(acknowledged) | set(unknown)
    assert read == sorted(read)
    await reader.close()
    await log.close()
