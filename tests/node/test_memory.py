"""What a later life makes of what an earlier one had begun: what really runs decides (F1)."""

import pytest
from tests.node.kit import bare

from tidegate.node import FetchFailed, StartFailed, StopFailed
from tidegate.node.memory import Memory
from tidegate.reconcile.actions import Action, Kind, Running
from tidegate.reconcile.held import FailureKind
from tidegate.reconcile.ladder import is_left
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


RESTART = Action(kind=Kind.RESTART, service="shop", artifact=ONE, token="t2")
HAPPENED = {
    "it took place": (lambda memory: memory.done(RESTART), ("t2", "t2", 0)),
    "it failed, and is owed still": (lambda memory: memory.failed(RESTART, StartFailed("no space left"), 3), ("t1", "t1", 0)),
    "it was cancelled": (lambda memory: memory.undone(RESTART), ("t1", "t1", 0)),
    "what runs ended": (lambda memory: memory.exited("shop", 3), ("t2", "t1", 1)),
    "what runs was found": (lambda memory: memory.settle("shop", Running(artifact=ONE, token="t2")), ("t2", "t2", 0)),
}


@pytest.mark.parametrize(("happens", "held"), HAPPENED.values(), ids=HAPPENED)
def test_what_happens_while_the_disk_is_full_is_known_at_once_and_written_when_there_is_room(happens, held):
    """Found by the kill harness: a control whose restart failed on a full disk held its token as carried out, for ever."""
    disk = MemoryDisk()
    memory = life(disk)
    first = Action(kind=Kind.START, service="shop", artifact=ONE, token="t1")
    memory.begin(first, 1)
    memory.done(first)
    memory.begin(RESTART, 2)
    disk.full = True
    assert not happens(memory)
    assert known(memory) == held
    assert memory.trouble
    disk.full = False
    assert memory.retry()
    assert known(life(disk)) == held


def known(memory):
    held = memory.held("shop")
    return held.token, held.applied_token, held.exits


def test_what_is_to_be_done_is_not_known_before_the_disk_has_it():
    disk = MemoryDisk()
    memory = life(disk)
    disk.full = True
    assert not memory.begin(RESTART, 1)
    assert memory.held("shop").undertaking is None


@pytest.mark.parametrize("kind", [Kind.SWAP, Kind.START, Kind.PROBE])
def test_a_file_that_was_spoilt_since_it_was_fetched_says_nothing_against_its_version(kind):
    """It counted as a version that did not start, and was never tried again in its rollout."""
    memory = life(MemoryDisk())
    memory.failed(Action(kind=kind, service="shop", artifact=TWO), FetchFailed("gone or altered"), 5)
    assert memory.held("shop").failure.kind is FailureKind.FETCH


def test_a_revival_that_fails_is_one_more_exit():
    memory = life(MemoryDisk())
    memory.failed(Action(kind=Kind.REVIVE, service="shop", artifact=ONE), StartFailed("no such table"), 5)
    assert memory.held("shop").exits_ms == (5,)


def test_what_a_person_left_stays_left_although_it_cannot_be_stopped():
    memory = life(MemoryDisk())
    memory.settle("shop", Running(artifact=ONE))
    memory.leave("shop", "it eats orders", 1)
    stop = Action(kind=Kind.STOP, service="shop", artifact=ONE, retreat=True)
    for now_ms in (2, 3, 4):
        memory.failed(stop, StopFailed("cyclic"), now_ms)
    held = memory.held("shop")
    assert (is_left(held, ONE), held.stuck.error) == (True, "cyclic")
    memory.done(stop)
    assert memory.held("shop").stuck is None


def test_what_is_held_as_it_was_is_not_written_again_and_the_agent_looks_all_the_same():
    """A fetch that went well leaves nothing to remember, and is news for the report."""
    disk, news = MemoryDisk(), []
    memory = Memory(disk, NOTHING, lambda: news.append(1))
    memory.exited("shop", 1)
    serial = memory.state.serial
    memory.done(Action(kind=Kind.FETCH, service="shop", artifact=TWO))
    assert (memory.state.serial, len(news)) == (serial, 2)
