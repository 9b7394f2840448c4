"""Each departure from stock Faust, told by a test that stock fails. An upgrade of Faust that mends one shows up here."""

import asyncio

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st
from tests.worker.faust_parts import HERE, Bench, record

from tidegate.worker.transport import Chunk, Limits, _in_turn, broker_url

OURS_ONLY = ["tidegate", pytest.param("stock", marks=pytest.mark.xfail(strict=True, raises=AssertionError))]


@pytest.fixture(params=OURS_ONLY)
async def bench(request):
    return Bench(request.param)


@pytest.fixture
async def ours():
    return Bench("tidegate")


async def committed(bench):
    if bench.ours:
        await bench.host.settle()
    await bench.consumer.commit()
    return bench.thread.committed.get(HERE)


async def test_a_revoke_commits_before_it_forgets(bench):
    bench.handle(0)
    bench.handle(1)
    await bench.consumer.on_partitions_revoked({HERE})
    assert bench.thread.committed == {HERE: 2}


async def test_missing_offsets_do_not_hold_the_commit_back(bench):
    await bench.drain([record(0), record(1), record(4), record(7)], [record(10), record(12)])
    assert await committed(bench) == 13


async def test_a_commit_during_a_commit_commits_what_has_come_since(bench):
    bench.thread.may_commit.clear()
    bench.handle(0)
    await bench.host.settle() if bench.ours else None
    first = asyncio.create_task(bench.consumer.commit())
    await bench.thread.committing.wait()
    bench.handle(1)
    await bench.host.settle() if bench.ours else None
    second = asyncio.create_task(bench.consumer.commit())
    await asyncio.sleep(0)
    bench.thread.may_commit.set()
    await asyncio.gather(first, second)
    assert bench.thread.committed == {HERE: 2}


async def test_flow_is_stopped_from_assignment_until_positions_are_right(bench):
    # A member without partitions was never revoked, so its flow is on.
    await bench.consumer.on_partitions_assigned({HERE}, 1)
    assert bench.flow == [False]


async def test_a_full_buffer_does_not_cost_a_second(bench):
    bench.consumer.on_buffer_full(HERE)
    begin_s = asyncio.get_running_loop().time()
    await bench.consumer._wait_next_records(1.0)
    assert asyncio.get_running_loop().time() - begin_s < 0.5


async def test_a_poll_that_ends_during_a_revoke_does_not_seek(bench):
    polling = asyncio.create_task(anext(bench.consumer.getmany(1.0), None))
    await bench.thread.polling.wait()
    bench.consumer.stop_flow()
    bench.thread.polls.put_nowait({HERE: [record(0)]})
    assert await polling is None
    assert bench.thread.seeks == 0


async def test_one_event_holds_a_chunk(bench):
    await bench.drain([record(offset) for offset in range(500)])
    assert len(bench.delivered) == 1


async def test_what_an_agent_has_touched_is_not_committed(bench):
    bench.handle(0)
    await bench.consumer.commit()
    assert bench.thread.committed == {}


async def test_a_floor_never_falls_and_is_committed_once(ours):
    ours.consumer.raise_floor(HERE, 7)
    ours.consumer.raise_floor(HERE, 5)
    assert await ours.consumer.commit()
    assert ours.thread.committed == {HERE: 7}
    assert not await ours.consumer.commit()


async def test_the_floor_of_a_partition_that_is_gone_is_not_committed(ours):
    ours.consumer.raise_floor(TP("t", 9), 7)
    assert not await ours.consumer.commit()
    assert ours.thread.committed == {}


async def test_a_seek_waits_for_the_poll_under_way_whose_records_are_void(ours):
    polling = asyncio.create_task(ours.consumer._getmany({HERE}, 1.0))
    await ours.thread.polling.wait()
    ours.consumer.stop_flow()
    seeking = asyncio.create_task(ours.consumer.perform_seek())
    await asyncio.sleep(0)
    assert ours.thread.seeks == 0
    ours.thread.polls.put_nowait({HERE: [record(3)]})
    assert await polling == {}
    await seeking
    assert ours.thread.seeks == 1


async def test_a_role_begins_where_it_says(ours):
    ours.host.starts = {HERE: 41}
    await ours.consumer.on_partitions_assigned({HERE}, 1)
    await ours.consumer.perform_seek()
    assert ours.thread.seeks == 2
    assert ours.host.positions == {HERE: 0}


async def test_a_role_that_cannot_load_its_state_ends_the_process(ours):
    async def broken(assigned):
        raise ValueError("torn")

    ours.host.on_assigned = broken
    with pytest.raises(ValueError, match="torn"):
        await ours.consumer.on_partitions_assigned({HERE}, 1)
    assert ours.consumer.crashed


partitions = st.dictionaries(
    st.integers(0, 3).map(lambda number: TP("t", number)),
    st.lists(st.integers(0, 50), max_size=20).map(lambda sizes: [record(at, size) for at, size in enumerate(sizes)]),
    max_size=4,
)


@given(partitions, st.integers(1, 5), st.integers(1, 100))
def test_chunks_keep_order_lose_nothing_and_keep_their_bounds(records, chunk_records, chunk_bytes):
    limits = Limits(pace_s=0, chunk_records=chunk_records, chunk_bytes=chunk_bytes)
    chunks: list[Chunk] = list(_in_turn(records, limits))
    for tp, found in records.items():
        assert [item for chunk in chunks if chunk.tp == tp for item in chunk.records] == found
    for chunk in chunks:
        assert 1 <= len(chunk.records) <= chunk_records
        assert sum(len(item.value) for item in chunk.records[:-1]) < chunk_bytes


def test_partitions_take_turns():
    limits = Limits(pace_s=0, chunk_records=1, chunk_bytes=1 << 20)
    a, b = TP("t", 0), TP("t", 1)
    chunks = list(_in_turn({a: [record(0), record(1), record(2)], b: [record(0)]}, limits))
    assert [chunk.tp for chunk in chunks] == [a, b, a, a]


def test_an_address_names_every_broker():
    assert broker_url("a:1, b:2") == "tidegate://a:1;tidegate://b:2"
