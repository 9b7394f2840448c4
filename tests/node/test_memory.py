"""What a later life makes of what an earlier one had begun: what really runs decides (F1)."""

import pytest
from tests.node.kit import bare

from tidegate.node.memory import Memory
from tidegate.reconcile.actions import Action, Kind, Running
from tidegate.world import MemoryDisk

ONE, TWO = bare("1"), bare("2")
NOTHING = frozenset({"shop"})

BEGUN = {
    "it took place": (Running(artifact=TWO, token="t2"), "2", "t2"),
    "it did not: the old one runs, and its token was not carried out": (Running(artifact=ONE, token="t1"), "1", "t1"),
    "nothing runs any more": (None, "1", "t1"),
    "the version without its restart": (Running(artifact=TWO), "2", "t1"),
}


def life(disk: MemoryDisk) -> Memory:
    return Memory(disk, NOTHING, lambda: None)


@pytest.mark.parametrize(("running", "applied", "token"), BEGUN.values(), ids=BEGUN)
def test_what_was_begun_is_finished_or_undone_by_what_runs(running, applied, token):
    disk = MemoryDisk()
    before = life(disk)
    first = Action(kind=Kind.START, service="shop", artifact=ONE, token="t1")
    before.begin(first, 1)
    before.done(first)
    before.begin(Action(kind=Kind.SWAP, service="shop", artifact=TWO, token="t2"), 2)
    after = life(disk)
    after.settle("shop", running)
    held = life(disk).held("shop")
    assert held.undertaking is None
    assert (held.applied.version, held.token) == (applied, token)


def test_what_runs_without_being_remembered_is_taken_as_it_is():
    disk = MemoryDisk()
    memory = life(disk)
    memory.settle("shop", Running(artifact=ONE))
    assert life(disk).held("shop").applied == ONE


def test_a_change_resets_the_exits_and_a_revival_does_not():
    memory = life(MemoryDisk())
    memory.exited("shop", 1)
    memory.begin(Action(kind=Kind.REVIVE, service="shop", artifact=ONE), 2)
    assert (memory.held("shop").exits, memory.held("shop").changed_ms) == (1, 0)
    memory.begin(Action(kind=Kind.SWAP, service="shop", artifact=TWO), 3)
    assert (memory.held("shop").exits, memory.held("shop").changed_ms) == (0, 3)


def test_a_revival_that_fails_is_one_more_exit():
    memory = life(MemoryDisk())
    memory.failed(Action(kind=Kind.REVIVE, service="shop", artifact=ONE), "no such table", 5)
    assert memory.held("shop").exits_ms == (5,)
