"""Which checkpoint a new owner begins from."""

import pytest
from tests.worker.fakes import removed

from tidegate.judge import JudgeState, snapshot
from tidegate.wire.codec import Malformed
from tidegate.worker import checkpoints
from tidegate.worker.checkpoints import Checkpoint, key_of


def test_a_checkpoint_comes_back_as_it_went_and_is_small():
    state = snapshot(JudgeState()) + bytes(100_000)
    data = checkpoints.encode(checkpoints.pack(7, state))
    checkpoint = checkpoints.decode(data)
    assert (checkpoint.offset, checkpoints.unpack(checkpoint)) == (7, state)
    assert len(data) < 1_000


def test_a_state_of_code_that_did_not_compress_is_read():
    state = snapshot(JudgeState())
    assert checkpoints.unpack(Checkpoint(7, state)) == state


def test_a_torn_state_is_refused():
    torn = checkpoints.pack(7, snapshot(JudgeState())).state[:-5]
    with pytest.raises(Malformed):
        checkpoints.unpack(Checkpoint(7, torn))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"{}", checkpoints.encode(Checkpoint(7, b"state"))[:-1]])
def test_what_is_no_checkpoint_is_refused(data):
    with pytest.raises(Malformed):
        checkpoints.decode(data)


class Rig:
    def __init__(self, connection, log) -> None:
        self.connection = connection
        self.log = log

    async def source(self, records: int) -> None:
        for number in range(records):
            await self.log.append("nodeseconds", None, b"%d" % number, partition=3)

    async def write(self, offset: int, state: bytes = b"s", role: str = "judge") -> None:
        await self.put(checkpoints.encode(Checkpoint(offset, state)), role)

    async def put(self, value: bytes | None, role: str = "judge") -> None:
        await self.log.append("checkpoints", key_of(role, 3), value, partition=3)

    async def load(self, *partitions: int, bridged: bool = True) -> dict[int, list[Checkpoint]]:
        return await checkpoints.load(self.connection, "judge", "nodeseconds", set(partitions), bridged=bridged)

    async def remove(self, before: int) -> None:
        await removed(self.connection, "nodeseconds", 3, before)


@pytest.fixture
async def rig(connection, log):
    return Rig(connection, log)


@pytest.mark.kafka
async def test_without_checkpoints_there_is_none(rig):
    assert await rig.load(2, 3) == {}
    assert await rig.load() == {}


@pytest.mark.kafka
async def test_the_highest_offset_wins_over_a_late_write_of_a_paused_owner(rig):
    await rig.source(9)
    await rig.write(3)
    await rig.write(8, b"new owner")
    await rig.write(5, b"paused owner")
    assert await rig.load(2, 3) == {3: [Checkpoint(8, b"new owner"), Checkpoint(5, b"paused owner"), Checkpoint(3, b"s")]}


@pytest.mark.kafka
async def test_one_that_stands_behind_many_of_another_role_is_found(rig):
    await rig.source(9)
    await rig.write(4)
    for _ in range(checkpoints.LOOK_BACK + 3):
        await rig.write(1, role="experiment")
    assert await rig.load(3) == {3: [Checkpoint(4, b"s")]}


@pytest.mark.kafka
async def test_one_that_covers_more_than_its_topic_holds_is_of_another_life(rig):
    await rig.source(2)
    await rig.write(2, b"this life")
    await rig.write(3, b"another life")
    assert await rig.load(3) == {3: [Checkpoint(2, b"this life")]}


@pytest.mark.kafka
async def test_one_with_a_gap_behind_it_counts_only_where_that_is_bridged(rig):
    await rig.source(9)
    for offset in (3, 5, 7):
        await rig.write(offset)
    await rig.remove(5)
    assert await rig.load(3, bridged=False) == {3: [Checkpoint(7, b"s"), Checkpoint(5, b"s")]}
    await rig.remove(9)
    assert await rig.load(3, bridged=False) == {}
    assert [one.offset for one in (await rig.load(3))[3]] == [7, 5, 3]


@pytest.mark.kafka
async def test_one_that_cannot_be_read_is_passed_over(rig):
    await rig.source(2)
    await rig.write(1)
    await rig.put(b"\xc1 torn")
    await rig.put(None)
    assert await rig.load(3) == {3: [Checkpoint(1, b"s")]}
