"""A worker that reads no more though there is something to read, or commits no more what it has read: it ends, and its successor
reads on.

Consumers have been seen to die without an exception; the process looks healthy then and stalls every service whose marks or
rows it holds. A commit that is stuck shows later still: as hours that are read again after the next restart.
"""

from collections.abc import Mapping

from faust.types import TP
from msgspec import Struct

STALLED_AFTER_S = 30.0
STUCK_AFTER_S = 60.0
"""Of a commit. A judge's waits for its next checkpoint, 10 s."""


class Stalled(Exception):
    """Nothing was read from a partition for too long though it holds more, or nothing committed though more was read."""


class _Seen(Struct, frozen=True):
    """Where a partition stood, and since when."""

    position: int
    position_s: float
    committed: int
    committed_s: float
    position_then: int
    """The position when ``committed`` was first seen."""


class Watch:
    """Remembers when each partition last moved. Fed every few seconds with a clock that never goes back."""

    def __init__(self, now_s: float) -> None:
        self._seen: dict[TP, _Seen] = {}
        self._flowing_s = now_s

    def flowing(self, positions: Mapping[TP, int], ends: Mapping[TP, int], committed: Mapping[TP, int], now_s: float) -> None:
        """Look at a worker that holds partitions; a partition whose end is not known begins anew.

        Stalled where one has not moved for 30 s and is not at its end, or is read on with the same commit for 60 s.
        """
        self._flowing_s = now_s
        before, self._seen = self._seen, {}
        for tp, position in positions.items():
            if tp not in ends:
                continue
            seen = self._seen[tp] = _next(before.get(tp), position, ends[tp], committed.get(tp, 0), now_s)
            if now_s - seen.position_s > STALLED_AFTER_S:
                raise Stalled(f"{tp.topic}/{tp.partition} stands at {position} of {ends[tp]} for {now_s - seen.position_s:.0f} s")
            if now_s - seen.committed_s > STUCK_AFTER_S and position > seen.position_then:
                raise Stalled(
                    f"{tp.topic}/{tp.partition} is read up to {position}; its commit stands at {seen.committed} "
                    f"for {now_s - seen.committed_s:.0f} s"
                )

    def stopped(self, now_s: float) -> None:
        """Look at a worker that waits for partitions. Stalled where that lasts longer than a rebalance can."""
        self._seen = {}
        if now_s - self._flowing_s > 2 * STALLED_AFTER_S:
            raise Stalled(f"no partitions for {now_s - self._flowing_s:.0f} s")


def _next(last: _Seen | None, position: int, end: int, committed: int, now_s: float) -> _Seen:
    waits = last is not None and last.position == position < end
    stuck = last is not None and last.committed == committed < position
    return _Seen(
        position,
        last.position_s if last is not None and waits else now_s,
        committed,
        last.committed_s if last is not None and stuck else now_s,
        last.position_then if last is not None and stuck else position,
    )
