"""The node's memory: two copies, of which a crash or a flipped bit costs at most the newest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.node.memory import TORN, Memory
from tidegate.node.state import SLOTS, StateFile, pack, unpack
from tidegate.ports import SystemDisk
from tidegate.reconcile.held import Held, NodeState
from tidegate.wire.codec import Malformed


class Blobs:
    """A disk in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.full = False

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.files[name] = data

    def free_bytes(self) -> int:
        return 1 << 40


def written(disk: Blobs, times: int) -> None:
    file = StateFile(disk)
    state = file.load()
    for number in range(times):
        state = file.save(NodeState(serial=state.serial, services={"shop": Held(token=f"t{number}")}))


def token(disk) -> str | None:
    state = StateFile(disk).load()
    return None if state is None else state.services["shop"].token


def test_a_node_that_never_wrote_starts_empty():
    assert StateFile(Blobs()).load() == NodeState()


def test_the_newest_copy_counts():
    disk = Blobs()
    written(disk, 5)
    assert token(disk) == "t4"
    written(disk, 1)
    assert token(disk) == "t0", "a later life goes on counting"


@given(times=st.integers(2, 5), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_newest_copy_leaves_the_one_before(times, at, bit):
    disk = Blobs()
    written(disk, times)
    newest = max(SLOTS, key=lambda slot: unpack(disk.files[slot]).serial)
    data = bytearray(disk.files[newest])
    data[at % len(data)] ^= 1 << bit
    disk.files[newest] = bytes(data)
    assert token(disk) == f"t{times - 2}"


@given(cut=st.integers(0, 400))
def test_any_torn_copy_is_seen(cut):
    whole = pack(NodeState(services={"shop": Held(token="t")}))
    with pytest.raises(Malformed):
        unpack(whole[: min(cut, len(whole) - 1)])


def test_two_damaged_copies_freeze_every_service_instead_of_forgetting():
    disk = Blobs()
    written(disk, 3)
    disk.files = dict.fromkeys(SLOTS, b"12|torn")
    memory = Memory(disk, frozenset({"shop"}), lambda: None)
    assert memory.held("shop").freeze.why == TORN


def test_a_full_disk_is_said_and_nothing_is_forgotten():
    disk = Blobs()
    memory = Memory(disk, frozenset({"shop"}), lambda: None)
    assert memory.exited("shop", 1)
    disk.full = True
    assert not memory.exited("shop", 2)
    assert "No space left" in memory.trouble
    assert memory.held("shop").exits == 2
    disk.full = False
    assert memory.retry()
    assert memory.trouble == ""
    assert StateFile(disk).load().services["shop"].exits == 2


def test_on_a_real_disk_a_copy_survives_the_process(tmp_path):
    StateFile(SystemDisk(tmp_path)).save(NodeState(root="r"))
    assert StateFile(SystemDisk(tmp_path)).load().root == "r"
