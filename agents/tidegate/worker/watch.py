"""A worker that reads no more though there is something to read: it ends, and its successor reads on.

Consumers have been seen to die without an exception; the process looks healthy then and stalls every service whose marks or
rows it holds.
"""

from collections.abc import Mapping

from faust.types import TP

STALLED_AFTER_S = 30.0


class Stalled(Exception):
    """Nothing was read from a partition for too long, though it holds more."""


class Watch:
    """Remembers when each partition last moved. Fed every few seconds with a clock that never goes back."""

    def __init__(self, now_s: float) -> None:
        self._moved: dict[TP, tuple[int, float]] = {}
        self._flowing_s = now_s

    def flowing(self, positions: Mapping[TP, int], ends: Mapping[TP, int], now_s: float) -> None:
        """Look at a worker that holds partitions. Stalled where one of them has not moved for 30 s and is not at its end."""
        self._flowing_s = now_s
        before, self._moved = self._moved, {}
        for tp, position in positions.items():
            last = before.get(tp)
            waits = position < ends.get(tp, position)
            since_s = last[1] if waits and last is not None and last[0] == position else now_s
            self._moved[tp] = (position, since_s)
            if now_s - since_s > STALLED_AFTER_S:
                raise Stalled(f"{tp.topic}/{tp.partition} stands at {position} of {ends[tp]} for {now_s - since_s:.0f} s")

    def stopped(self, now_s: float) -> None:
        """Look at a worker that waits for partitions. Stalled where that lasts longer than a rebalance can."""
        self._moved = {}
        if now_s - self._flowing_s > 2 * STALLED_AFTER_S:
            raise Stalled(f"no partitions for {now_s - self._flowing_s:.0f} s")
