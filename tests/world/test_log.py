import asyncio

import pytest

from tidegate.ports import SendUnknown
from tidegate.wire.partition import partition_of
from tidegate.world import MemoryLog, SimClock


@pytest.fixture
def clock():
    return SimClock()


@pytest.fixture
def log(clock):
    return MemoryLog(clock)


async def values(reader) -> list[bytes]:
    return [record.value for record in await reader.read_to_end()]


async def test_a_partition_is_read_whole_and_in_order_then_followed(log):
    for number in range(3):
        await log.append("decisions", None, b"%d" % number)
    reader = await log.reader(["decisions"])
    assert await values(reader) == [b"0", b"1", b"2"]
    following = asyncio.create_task(reader.poll(60))
    await log.append("decisions", None, b"3")
    assert [(record.offset, record.value) for record in await following] == [(3, b"3")]
    assert reader.positions() == {("decisions", 0): 4}


async def test_a_reader_from_the_latest_sees_only_what_comes_after(log):
    await log.append("decisions", None, b"old")
    reader = await log.reader(["decisions"], start="latest")
    await log.append("decisions", None, b"new")
    assert await values(reader) == [b"new"]


async def test_keys_choose_the_partition_as_kafka_does_and_records_have_the_time_of_their_appending(log, clock):
    await clock.advance(7)
    appended = await log.append("reports", "n1", b"", headers={"h": b"1"})
    assert appended == (partition_of("n1", 4), 0, clock.now_ms())
    assert log.topic("reports")[0].headers == {"h": b"1"}
    assert (await log.append("nodeseconds", None, b"", partition=7)).partition == 7


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_leaves_unknown_whether_the_record_landed(log, landed):
    log.lose_answers("decisions", landed)
    with pytest.raises(SendUnknown):
        await log.append("decisions", None, b"1")
    await log.append("decisions", None, b"2")
    assert [record.value for record in log.topic("decisions")] == ([b"1", b"2"] if landed else [b"2"])


async def test_while_the_broker_is_away_sends_are_unknown_and_readers_wait(log, clock):
    reader = await log.reader(["decisions"])
    log.reachable = False
    with pytest.raises(SendUnknown):
        await log.append("decisions", None, b"1")
    reading = asyncio.create_task(reader.read_to_end())
    polling = asyncio.create_task((await log.reader(["decisions"])).poll(1))
    await clock.advance(5)
    assert polling.result() == []
    assert not reading.done()
    log.reachable = True
    await log.append("decisions", None, b"2")
    await clock.advance(1)
    assert [record.value for record in reading.result()] == [b"2"]


async def test_a_poll_without_news_ends_at_its_time(log, clock):
    polling = asyncio.create_task((await log.reader(["decisions"])).poll(2))
    await clock.advance(1.9)
    assert not polling.done()
    await clock.advance(0.1)
    assert polling.result() == []


async def test_compaction_keeps_the_last_record_of_a_key_and_every_offset(log):
    for key, value in [("a", b"1"), ("b", b"2"), ("a", b"3")]:
        await log.append("desired", key, value)
    early = await log.reader(["desired"])
    log.compact("desired")
    assert (await log.append("desired", "c", b"4")).offset == 3
    records = await early.read_to_end()
    assert [(record.offset, record.key, record.value) for record in records] == [(1, "b", b"2"), (2, "a", b"3"), (3, "c", b"4")]
    with pytest.raises(ValueError, match="not compacted"):
        log.compact("decisions")


@pytest.mark.parametrize("turns", range(8))
async def test_a_poll_that_is_cancelled_at_any_moment_has_taken_nothing(log, turns):
    reader = await log.reader(["decisions"])
    polling = asyncio.create_task(reader.poll(60))
    sending = asyncio.create_task(log.append("decisions", None, b"1"))
    for _ in range(turns):
        await asyncio.sleep(0)
    polling.cancel()
    (taken,) = await asyncio.gather(polling, return_exceptions=True)
    await sending
    polled = [] if isinstance(taken, BaseException) else [record.value for record in taken]
    assert polled + await values(reader) == [b"1"]
