"""The judge's clock (A2, A3): the minimum of the watermarks over all telemetry partitions. No worker's own clock is used."""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.wire.topics import TELEMETRY_PARTITIONS

GRACE_MS = 1_000
DOWN_SPREAD_MS = 5_000
QUIET_MS = 2_000
"""A fleet appends rows all the time. None for so long: the broker was away (or everyone who sends)."""
SELDOM_MS = 60_000
"""Quiet again within so long, and not much longer than before: those who send here speak seldom, and nobody was away."""
CATCH_UP_MS = 5_000
"""So long nothing is closed after an outage: rows wait in their senders, and come as these find the broker again."""


class Clock(Struct):
    """Watermarks as folded from one partition of ``nodeseconds``."""

    marks: dict[int, int] = {}
    row_ms: int = 0
    """Append time of the newest row; 0: there was none."""
    resumed_ms: int = 0
    """End of the last outage; 0: there was none."""
    quiet_ms: int = 0
    """Length of the last quiet time, whether it was an outage or not."""
    quiet_until_ms: int = 0

    def rows(self, append_ms: NDArray[np.int64]) -> None:
        """Take the append times of rows. Where they come again after a quiet time, an outage ends with the first of them."""
        newest_ms = int(append_ms.max())
        if self.row_ms and newest_ms - self.row_ms > QUIET_MS:
            times_ms = np.unique(append_ms[append_ms > self.row_ms])
            gaps_ms = np.diff(times_ms, prepend=self.row_ms)
            for at in np.flatnonzero(gaps_ms > QUIET_MS).tolist():
                self._quiet(int(gaps_ms[at]), int(times_ms[at]))
        self.row_ms = max(self.row_ms, newest_ms)

    def fold(self, marks: Mapping[int, int], append_ms: int) -> None:
        """Take marks; one never goes back, and none lies beyond the append time of the record that brought it.

        Marks come at most 200 ms apart. Where the clock jumps and no row was appended meanwhile, that was an outage too: rows may
        still be on their way. Where rows were appended, only intake was away, and they are all here.
        """
        before_ms = self.now_ms
        for partition, mark_ms in marks.items():
            if 0 <= partition < TELEMETRY_PARTITIONS:
                self.marks[partition] = max(self.marks.get(partition, 0), min(mark_ms, append_ms))
        now_ms = self.now_ms
        if before_ms is not None and now_ms is not None and now_ms - max(before_ms, self.row_ms) > QUIET_MS:
            self.resumed_ms = now_ms

    def _quiet(self, length_ms: int, until_ms: int) -> None:
        """Take a time without rows: an outage, unless it is usual here, or panes of who sends every 3 s would never close."""
        if length_ms > 2 * self.quiet_ms or until_ms - self.quiet_until_ms > SELDOM_MS:
            self.resumed_ms = until_ms
        self.quiet_ms, self.quiet_until_ms = length_ms, until_ms

    @property
    def now_ms(self) -> int | None:
        """The clock; None while a partition has not spoken yet."""
        return min(self.marks.values()) if len(self.marks) == TELEMETRY_PARTITIONS else None

    @property
    def catching_up(self) -> bool:
        """Whether an outage ended so short a time ago that rows of it may still come."""
        return self.resumed_ms > 0 and (self.now_ms or 0) < self.resumed_ms + CATCH_UP_MS

    @property
    def telemetry_down(self) -> bool:
        """Whether some partitions have stopped while others go on."""
        return bool(self.marks) and max(self.marks.values()) - min(self.marks.values()) > DOWN_SPREAD_MS
