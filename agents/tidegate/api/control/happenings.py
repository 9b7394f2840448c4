"""What happened, in the order in which this process read it: a bounded window from which streams are served and resumed.

The id of an event is a position in every topic that events come from: the offsets below which its reader has seen all. So a
stream is resumed by its last id in any process, whatever the order in which that one read the topics.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from tidegate.ports import Record
from tidegate.wire.topics import BY_NAME

PARTS: tuple[tuple[str, int], ...] = tuple(
    (topic, partition)
    for topic in ("decisions", "verdicts", "alarms", "reports")
    for partition in range(BY_NAME[topic].partitions)
)
"""Where events come from; an id names an offset of each, in this order."""
KEPT = 4_096
_AT = {part: index for index, part in enumerate(PARTS)}

Position = tuple[int, ...]
"""The next offset of each part."""


class Kind(StrEnum):
    """What an event is about."""

    DECISION = "decision"
    FLAG = "flag"
    VERDICT = "verdict"
    ALARM = "alarm"
    REPORT = "report"
    KPI = "kpi"
    """A new second of one cohort. It stands in no window: many come each second, and the series has them."""


class Happening(Struct, frozen=True):
    """One event. ``about``: what the record holds, decoded; subjects: whom it concerns (none: the fleet)."""

    kind: Kind
    part: int
    offset: int
    after: Position
    at_ms: int
    subjects: tuple[str, ...]
    about: Struct


class Window:
    """The newest happenings. ``number`` counts all there ever were: a reader keeps the number it is at."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Happening] = deque()
        self._bound = kept
        self._next = [0] * len(PARTS)
        self._gone = [0] * len(PARTS)
        """Below these offsets something is not kept any more."""
        self._bell = asyncio.Event()
        self.number = 0

    def passed(self, record: Record) -> None:
        """Take note that a record was read, whether anything comes of it or not."""
        part = _AT.get((record.topic, record.partition))
        if part is not None:
            self._next[part] = record.offset + 1

    def add(self, kind: Kind, record: Record, subjects: tuple[str, ...], about: Struct) -> None:
        """Keep what a record that was passed means; the oldest goes where there are too many."""
        part = _AT[record.topic, record.partition]
        self._kept.append(Happening(kind, part, record.offset, tuple(self._next), record.time_ms, subjects, about))
        self.number += 1
        if len(self._kept) > self._bound:
            oldest = self._kept.popleft()
            self._gone[oldest.part] = oldest.offset + 1

    def ring(self) -> None:
        """Wake who waits."""
        self._bell.set()
        self._bell = asyncio.Event()

    @property
    def position(self) -> Position:
        """Behind everything that was read."""
        return tuple(self._next)

    @property
    def first(self) -> int:
        """Number of the oldest that is kept."""
        return self.number - len(self._kept)

    def holds(self, position: Position) -> bool:
        """Return whether everything since a position is kept, and it is one of this log."""
        return all(gone <= at <= end for gone, at, end in zip(self._gone, position, self._next, strict=True))

    def since(self, number: int) -> list[Happening]:
        """Return what is kept from a number on."""
        skip = number - self.first
        return [one for index, one in enumerate(self._kept) if index >= skip] if skip < len(self._kept) else []

    async def more(self, number: int) -> None:
        """Wait until there is something from a number on."""
        while self.number <= number:
            await self._bell.wait()


def told(position: Sequence[int]) -> str:
    """Return a position as the id of an event.

    >>> told((12, 34, 5, 1, 2, 3, 4))
    '12.34.5.1.2.3.4'
    """
    return ".".join(map(str, position))


def position_of(text: str) -> Position | None:
    """Return the position that an id is; None where it is none.

    >>> position_of("12.34"), position_of("1.2.3.4.5.6.7")
    (None, (1, 2, 3, 4, 5, 6, 7))
    """
    parts = text.split(".")
    if len(parts) != len(PARTS) or not all(one.isascii() and one.isdigit() and len(one) < 18 for one in parts):
        return None
    return tuple(map(int, parts))


__all__ = ["PARTS", "Happening", "Kind", "Position", "Window", "position_of", "told"]
