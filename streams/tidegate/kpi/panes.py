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


class Part(Struct, frozen=True):
    """Some rows of one record, all of one second."""

    columns: Columns
    rows: NDArray[np.int64]


class OpenPanes:
    """Rows by start of their second in ms. Mutable; bounded by what the grace and ``AHEAD_MAX_MS`` let wait."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[Part]] = {}

    def add(self, columns: Columns, rows: NDArray[np.int64], second_ms: NDArray[np.int64]) -> None:
        """Take rows; ``second_ms`` has the start of the second of each of them."""
        for start_ms in np.unique(second_ms).tolist():
            self.seconds.setdefault(start_ms, []).append(Part(columns, rows[second_ms == start_ms]))

    def take(self, start_ms: int) -> list[Part]:
        """Remove and return one second's rows."""
        return self.seconds.pop(start_ms, [])


def second_of(end_ms: NDArray[np.int64], length_ms: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the start of the second to which each row belongs, in ms: the one in which the middle of its window lies.

    Windows are seldom cut exactly at a full second; the middle is not moved to the next pane by a few ms.
    """
    middle_ms: NDArray[np.int64] = end_ms - np.minimum(length_ms, LAST_MS) // 2
    return middle_ms - middle_ms % PANE_MS
