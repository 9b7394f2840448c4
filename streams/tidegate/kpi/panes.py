"""Open panes: rows wait here by second until the clock closes it. Taking rows is commutative."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.kpi.columns import Columns
from tidegate.kpi.pane import PANE_MS

AHEAD_MAX_MS = 60_000
"""A row whose window ends further ahead of its append time than this is not kept: it would stay open for that long."""
LAST_MS = 2_000
"""A row longer than this counts where its last two seconds lie, or it would always be late."""
ROWS_MAX = 1_000_000
"""Rows that wait in one partition, about 200 MB: those of 10,000 nodes of one service, and their agents', for 50 s."""


class Part(Struct, frozen=True):
    """Some rows of one record, all of one second."""

    columns: Columns
    rows: NDArray[np.int64]


class OpenPanes:
    """Rows by start of their second in ms. Mutable; while the clock stands, ``ROWS_MAX`` wait and those of later seconds do not.

    A second is kept whole or not at all: of one that is there in part, some nodes of a cohort would seem to be silent.
    """

    def __init__(self) -> None:
        self.seconds: dict[int, list[Part]] = {}
        self.void_ms = (0, 0)
        """Start of the first second that is not kept, and end of the last; those between are not kept either."""
        self._rows = 0

    def add(self, columns: Columns, rows: NDArray[np.int64], second_ms: NDArray[np.int64]) -> int:
        """Take rows; ``second_ms`` has the start of the second of each of them. Return how many, of all, there is no room for."""
        left_out = 0
        for start_ms in np.unique(second_ms).tolist():
            part = Part(columns, rows[second_ms == start_ms])
            if self.is_void(start_ms):
                left_out += len(part.rows)
            else:
                self.put(start_ms, part)
        while self._rows > ROWS_MAX:
            left_out += self._leave_out(max(self.seconds))
        return left_out

    def put(self, start_ms: int, part: Part) -> None:
        """Take rows of one second, whether there is room or not."""
        self.seconds.setdefault(start_ms, []).append(part)
        self._rows += len(part.rows)

    def take(self, start_ms: int) -> list[Part]:
        """Remove and return one second's rows."""
        parts = self.seconds.pop(start_ms, [])
        self._rows -= sum(len(part.rows) for part in parts)
        return parts

    def is_void(self, start_ms: int) -> bool:
        """Return whether a second is one of those that are not kept."""
        return self.void_ms[0] <= start_ms < self.void_ms[1]

    def closed(self, until_ms: int) -> None:
        """Forget which seconds were not kept, once all of them are closed."""
        if self.void_ms[1] <= until_ms:
            self.void_ms = (0, 0)

    def _leave_out(self, newest_ms: int) -> int:
        """Drop the newest second and whatever lies between it and others that are not kept; return how many rows that were."""
        before = self._rows
        self.void_ms = (min(newest_ms, self.void_ms[0] or newest_ms), max(newest_ms + PANE_MS, self.void_ms[1]))
        for start_ms in [start_ms for start_ms in self.seconds if self.is_void(start_ms)]:
            self.take(start_ms)
        return before - self._rows


def second_of(end_ms: NDArray[np.int64], length_ms: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the start of the second to which each row belongs, in ms: the one in which the middle of its window lies.

    Windows are seldom cut exactly at a full second; the middle is not moved to the next pane by a few ms.
    """
    middle_ms: NDArray[np.int64] = end_ms - np.minimum(length_ms, LAST_MS) // 2
    return middle_ms - middle_ms % PANE_MS
