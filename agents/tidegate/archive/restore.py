"""Restore: an archive written to a cluster that has none of it, so that a fleet goes on there as after an outage.

Keys, values, headers, times and order are those of the archive; offsets too, wherever compaction had left no holes. Times count:
whether a join token was still valid is asked of them (H3).

The order is the protection. ``decisions`` comes first, ``desired`` last: agents wait for a topic that is missing, so none begins
before all is there, and what is left by a crash in the middle is a target that is refused, and that agents wait before. Then
``decisions`` ends with a takeover of a new epoch (E3): it voids what older authors might still write, says in offsets of this
cluster what has been answered, and is ``LEAP`` epochs ahead. So commands of here stand before all that nodes have accepted over
there after the archive was made (E1).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from tidegate.archive.contents import Checked, as_it_goes_back, goes_back
from tidegate.archive.export import BACK
from tidegate.archive.file import Block, Damaged, Reader
from tidegate.ports import Record
from tidegate.runtime.problem import Problem
from tidegate.wire.cloudevents import event_headers
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.reasons import Reason

LEAP = 1_000
"""More authors than any fleet has between two archives."""
FIRST, LAST = BACK[0], BACK[-1]


class Target(Protocol):
    """A cluster to be written to. Topics are named as in ``tidegate.wire.topics``."""

    async def held(self) -> list[str]:
        """Return those of the archive's topics that hold records, or have held some."""
        ...

    async def leader(self) -> str:
        """Return the life of the decision agent that leads there now; empty: none does."""
        ...

    async def clear(self) -> None:
        """Remove the archive's topics, the last one first; return when nobody sees them any more."""
        ...

    async def make(self, topic: str) -> None:
        """Make a topic in which records keep the times that they are written with."""
        ...

    async def write(self, records: Sequence[Record]) -> None:
        """Append records of one partition, in order, until they are durable.

        Problem where another one writes there, or no answer comes.
        """
        ...

    async def finish(self, topics: Sequence[str]) -> None:
        """Let topics be as the table has them from now on."""
        ...


class Restored(Struct, frozen=True, kw_only=True):
    """What was written."""

    records: dict[str, int]
    """By topic, with the takeover."""
    epoch: int
    """The one that the takeover begins; the next agent leads in the one after it."""


async def restore(checked: Checked, target: Target, *, replace: bool, over: str = "", now_ms: int) -> Restored:
    """Write a checked archive.

    Problem where the target holds records and is not to be replaced, or where a decision agent leads there and is not the one
    named in ``over``: its nodes obey it. Damaged where the file has changed since it was checked: then ``desired`` is never made.
    """
    held = await target.held()
    if held and not replace:
        raise Problem(
            f"the target holds records: {', '.join(held)}",
            "name another prefix or cluster; if it is an unfinished restore, or nothing there is needed: --replace",
        )
    leader = await target.leader() if held else ""
    if leader and leader != over:
        raise Problem(
            f"the decision agent {leader} leads on the target: a fleet runs there",
            f"is it the right cluster and prefix? If so end that agent first, or name it: --over {leader}",
        )
    await target.clear()
    writing = _Writing(checked, target, now_ms)
    glasses: list[Record] = []
    for block in _as_checked(checked):
        records = [as_it_goes_back(one) for one in block.records() if goes_back(one)]
        if block.topic == LAST:
            glasses += records
        elif records:
            await writing.upto(block.topic)
            await writing.write(records)
    await writing.upto(BACK[-2])
    await target.finish(BACK[1:-1])
    # From here on agents begin to read.
    await writing.upto(LAST)
    await writing.write(glasses)
    await target.finish((LAST, FIRST))
    return Restored(records=writing.written, epoch=writing.epoch)


def _as_checked(checked: Checked) -> Iterator[Block]:
    reader, why = Reader(checked.path), ""
    try:
        yield from reader.blocks()
    except Damaged as error:
        why = f": {error.what}"
    if why or reader.sha256 != checked.sha256:
        raise Damaged(
            f"{checked.path} has changed since it was read first{why}",
            "the target is half written; put the file back, and run the same with --replace",
        )


class _Writing:
    """How far the target has been filled, topic by topic."""

    def __init__(self, checked: Checked, target: Target, now_ms: int) -> None:
        self._checked = checked
        self._target = target
        self._now_ms = now_ms
        self.epoch = checked.ledger.epoch + LEAP
        self.written: dict[str, int] = {}

    async def upto(self, topic: str) -> None:
        """Make the topics up to this one; the decisions are closed with the takeover before another begins."""
        for name in BACK[: BACK.index(topic) + 1]:
            if name in self.written:
                continue
            if name == BACK[1]:
                await self.write([self._takeover()])
            await self._target.make(name)
            self.written[name] = 0

    async def write(self, records: Sequence[Record]) -> None:
        if records:
            await self._target.write(records)
            self.written[records[0].topic] += len(records)

    def _takeover(self) -> Record:
        ledger, offset = self._checked.ledger, self.written[FIRST]
        # Later than all that the archive knows: what a person says from here on is told by its time.
        now_ms = max(self._now_ms, ledger.now_ms + 1)
        taken = Decision(
            seq=ledger.seq,
            prev=ledger.head,
            epoch=self.epoch,
            kind=DecisionKind.TAKEOVER,
            subject="",
            generation=0,
            now_ms=now_ms,
            reason=Reason.RESTORED,
            message=f"restored from an archive, sha256 {self._checked.sha256}; epoch {self.epoch} begins here",
            inputs=self._checked.inputs,
            cut=offset,
        )
        value = encode(taken)
        return Record(FIRST, 0, offset, now_ms, None, value, event_headers(FIRST, None, value, "restore"))
