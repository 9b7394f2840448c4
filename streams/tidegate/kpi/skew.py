"""How wrong a node's clock is (A4): the smallest (append time - own window end) of its last rows.

The smallest, because delays only ever add. Kept in two blocks of at least 30 rows, so that it covers about the last 30 to 60.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

BLOCK_ROWS = 30
SHIFT_BEYOND_MS = 2_000
EXCLUDE_BEYOND_MS = 300_000
FORGET_AFTER_MS = 2 * EXCLUDE_BEYOND_MS
"""Longer than any delay that is not excluded: what a node sends late must not be taken for a wrong clock."""
NODES_MAX = 100_000
"""Nodes known at once in one partition; the rows of further ones are never shifted."""

NEVER = 1 << 62


class Offset(Struct, frozen=True, array_like=True):
    """Minima in ms of the block before and of this one, how many rows this one has, the clock when the last came."""

    before_ms: int
    current_ms: int
    rows: int
    last_ms: int


class Skews:
    """Offsets by node. Mutable; a node silent for ten minutes is forgotten."""

    def __init__(self) -> None:
        self._nodes: dict[str, Offset] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def shifts_ms(
        self, nodes: Sequence[str], node: NDArray[np.integer], delay_ms: NDArray[np.int64], clock_ms: int
    ) -> NDArray[np.int64]:
        """Take the rows of one record; return by how much the times of each entry of ``nodes`` are to be shifted.

        ``node`` has the index into ``nodes`` of each row, ``delay_ms`` its (append - own window end). The shift is 0 or the
        skew; beyond ``EXCLUDE_BEYOND_MS`` the rows of the node are to be left out.
        """
        lowest = np.full(len(nodes), NEVER, dtype=np.int64)
        np.minimum.at(lowest, node, delay_ms)
        rows = np.bincount(node, minlength=len(nodes))
        known = self._nodes
        skews: list[int] = []
        for name, low_ms, more in zip(nodes, lowest.tolist(), rows.tolist(), strict=True):
            old = known.get(name)
            if old is None and len(known) < NODES_MAX:
                old = Offset(NEVER, NEVER, 0, clock_ms)
            if old is None or not more:
                skews.append(0)
                continue
            if old.rows >= BLOCK_ROWS:
                old = Offset(old.current_ms, NEVER, 0, clock_ms)
            current_ms = min(old.current_ms, low_ms)
            known[name] = Offset(old.before_ms, current_ms, old.rows + more, clock_ms)
            skews.append(min(old.before_ms, current_ms))
        skew_ms = np.array(skews, dtype=np.int64)
        return np.where(np.abs(skew_ms) > SHIFT_BEYOND_MS, skew_ms, 0)

    def forget(self, clock_ms: int) -> None:
        """Drop nodes that have been silent for ten minutes of judge clock."""
        for name in [name for name, offset in self._nodes.items() if clock_ms - offset.last_ms > FORGET_AFTER_MS]:
            del self._nodes[name]

    def known(self) -> Iterator[tuple[str, Offset]]:
        """Yield every node, for a checkpoint."""
        return iter(self._nodes.items())

    def recall(self, node: str, offset: Offset) -> None:
        """Take one node from a checkpoint."""
        self._nodes[node] = offset
