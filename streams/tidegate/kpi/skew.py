"""How wrong a node's clock is (A4): the smallest (append time - own window end) of its last rows.

The smallest, because delays only ever add. Kept in two blocks of at least 30 rows, so that it covers about the last 30 to 60.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.kpi.slots import found_or_added

BLOCK_ROWS = 30
SHIFT_BEYOND_MS = 2_000
EXCLUDE_BEYOND_MS = 300_000
FORGET_AFTER_MS = 2 * EXCLUDE_BEYOND_MS
"""Longer than any delay that is not excluded: what a node sends late must not be taken for a wrong clock."""
NODES_MAX = 100_000
"""Nodes known at once in one partition; the rows of further ones are never shifted."""

NEVER = 1 << 62
UNKNOWN = 0
"""The slot of all nodes beyond the bound."""


class Offset(Struct, frozen=True, array_like=True):
    """Minima in ms of the block before and of this one, how many rows this one has, the clock when the last came."""

    before_ms: int
    current_ms: int
    rows: int
    last_ms: int


class Skews:
    """Offsets by node. Mutable: arrays by slot, slots by node; a node silent for ten minutes is forgotten."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._offsets = _empty(64)

    def __len__(self) -> int:
        return len(self._slots)

    def shifts_ms(
        self, nodes: Sequence[str], node: NDArray[np.integer], delay_ms: NDArray[np.int64], clock_ms: int
    ) -> NDArray[np.int64]:
        """Take the rows of one record; return by how much the times of each entry of ``nodes`` are to be shifted.

        ``node`` has the index into ``nodes`` of each row, ``delay_ms`` its (append - own window end). Nodes without rows are not
        remembered. The shift is 0 or the skew; beyond ``EXCLUDE_BEYOND_MS`` the rows of the node are to be left out.
        """
        lowest = np.full(len(nodes), NEVER, dtype=np.int64)
        np.minimum.at(lowest, node, delay_ms)
        rows = np.bincount(node, minlength=len(nodes))
        found = found_or_added(self._slots, nodes, lambda name, at: self._add(name) if rows[at] else UNKNOWN)
        slots = np.array(found, dtype=np.int64)
        before_ms, current_ms, kept, last_ms = self._offsets[:, slots]
        full = (kept >= BLOCK_ROWS) & (rows > 0)
        before_ms = np.where(full, current_ms, before_ms)
        current_ms = np.minimum(np.where(full, NEVER, current_ms), lowest)
        kept = np.where(full, 0, kept) + rows
        self._offsets[:, slots] = before_ms, current_ms, kept, np.where(rows > 0, clock_ms, last_ms)
        skew_ms = np.minimum(before_ms, current_ms)
        return np.where((np.abs(skew_ms) > SHIFT_BEYOND_MS) & (slots != UNKNOWN) & (rows > 0), skew_ms, 0)

    def forget(self, clock_ms: int) -> None:
        """Drop nodes that have been silent for ten minutes of judge clock."""
        last_ms = self._offsets[3]
        for name in [name for name, slot in self._slots.items() if clock_ms - last_ms[slot] > FORGET_AFTER_MS]:
            self._free.append(self._slots.pop(name))

    def known(self) -> Iterator[tuple[str, Offset]]:
        """Yield every node, for a checkpoint."""
        for name, slot in self._slots.items():
            yield name, Offset(*map(int, self._offsets[:, slot]))

    def recall(self, node: str, offset: Offset) -> None:
        """Take one node from a checkpoint."""
        slot = self._add(node)
        self._offsets[:, slot] = (offset.before_ms, offset.current_ms, offset.rows, offset.last_ms)

    def _add(self, node: str) -> int:
        """Return the slot of a new node; UNKNOWN where no more are taken."""
        if len(self._slots) >= NODES_MAX:
            return UNKNOWN
        slot = self._free.pop() if self._free else len(self._slots) + 1
        if slot == self._offsets.shape[1]:
            self._offsets = np.concatenate((self._offsets, _empty(slot)), axis=1)
        self._offsets[:, slot] = (NEVER, NEVER, 0, 0)
        self._slots[node] = slot
        return slot


def _empty(slots: int) -> NDArray[np.int64]:
    """Return int64[4, slots]: the fields of ``Offset``."""
    return np.zeros((4, slots), dtype=np.int64)
