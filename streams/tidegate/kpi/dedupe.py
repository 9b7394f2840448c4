"""Each row once (A1): a high-water mark and the holes below it for each (node, service, boot), whole records at a time."""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.kpi.caps import Key, Named, Places, Refusal
from tidegate.kpi.columns import Columns
from tidegate.kpi.slots import found_or_added

FORGET_AFTER_MS = 60_000
HOLES_MAX = 64
"""Gaps remembered of one boot; of more, the oldest are taken for filled, and their rows for repeats."""

Hole = tuple[int, int]
"""First and last sequence number that has not been seen."""
UNKNOWN = 0
"""The slot of all boots beyond a cap: nothing of it is remembered."""


class Seen(Struct, frozen=True, array_like=True):
    """What was seen of one boot, for a checkpoint."""

    key: Key
    high: int
    last_ms: int
    holes: list[Hole] = []


class Admission(Struct, frozen=True):
    """Which rows of a record are new, and which are of boots that a cap leaves no room for; the rest are repeats."""

    new: NDArray[np.bool_]
    beyond: NDArray[np.bool_]
    refusals: list[Refusal] = []
    """One for each boot without room, as often as it stands in the record."""


class Dedupe:
    """All boots that have spoken within the last minute of judge clock. Mutable: arrays by slot, slots by boot."""

    def __init__(self) -> None:
        self._places = Places()
        self._refusals: list[Refusal] = []
        self._named = Named()
        self._slots: dict[Key, int] = {}
        self._free: list[int] = []
        self._high = np.zeros(64, dtype=np.int64)
        self._last_ms = np.zeros(64, dtype=np.int64)
        self._holes: dict[int, list[Hole]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def admit(self, columns: Columns, clock_ms: int, named: Named) -> Admission:
        """Return which rows of a record are new, and remember them. Shuffled rows are new once, whatever their order."""
        self._refusals, self._named = [], named
        found = self._find(columns)
        slots = np.array(found, dtype=np.int64)
        self._last_ms[slots] = clock_ms
        if len({*found}) == len(found) and (columns.seq == self._high[slots] + 1).all():
            # One row of each boot, each the next one: the rule, and cheap.
            self._high[slots] = columns.seq
            new = np.not_equal(slots, UNKNOWN)
        else:
            new = self._admit_sorted(columns, slots)
        return Admission(new, np.equal(slots, UNKNOWN), self._refusals)

    def forget(self, clock_ms: int) -> None:
        """Drop boots that have been silent for a minute of judge clock."""
        for key, slot in [*self._slots.items()]:
            if clock_ms - self._last_ms[slot] > FORGET_AFTER_MS:
                del self._slots[key]
                self._places.remove(key)
                self._holes.pop(slot, None)
                self._free.append(slot)

    def known(self) -> Iterator[Seen]:
        """Yield every boot, for a checkpoint."""
        for key, slot in self._slots.items():
            yield Seen(key, int(self._high[slot]), int(self._last_ms[slot]), self._holes.get(slot, []))

    def recall(self, seen: Seen) -> None:
        """Take one boot from a checkpoint."""
        slot = self._take(seen.key)
        self._high[slot], self._last_ms[slot] = seen.high, seen.last_ms
        if seen.holes:
            self._holes[slot] = list(seen.holes)

    def _admit_sorted(self, columns: Columns, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        order = np.lexsort((columns.seq, slots))
        sorted_slots, seq = slots[order], columns.seq[order]
        begins = np.ones(len(seq), dtype=np.bool_)
        begins[1:] = sorted_slots[1:] != sorted_slots[:-1]
        expected = np.empty_like(seq)
        expected[1:] = seq[:-1] + 1
        expected[begins] = self._high[sorted_slots[begins]] + 1
        new: NDArray[np.bool_] = sorted_slots != UNKNOWN
        # Rows that follow on without a gap are the rule, and need no look at each.
        gaps = seq != expected
        if gaps.any():
            boots = np.cumsum(begins) - 1
            odd = np.bincount(boots, weights=gaps)[boots] > 0
            for at in np.flatnonzero(odd & new).tolist():
                new[at] = self._admit(int(sorted_slots[at]), int(seq[at]))
            new_rows = new & ~odd
        else:
            new_rows = new
        # Ascending within a boot: the last assignment is its highest.
        self._high[sorted_slots[new_rows]] = seq[new_rows]
        admitted = np.empty_like(new)
        admitted[order] = new
        return admitted

    def _find(self, columns: Columns) -> list[int]:
        record = columns.record
        keys = [
            *zip(
                map(record.nodes.__getitem__, columns.node.tolist()),
                map(record.services.__getitem__, columns.service.tolist()),
                map(record.boots.__getitem__, columns.boot.tolist()),
                strict=True,
            )
        ]
        return found_or_added(self._slots, keys, lambda key, _: self._add(key))

    def _add(self, key: Key) -> int:
        """Return the slot of a new boot; UNKNOWN where a cap leaves no room."""
        refusal = self._places.refusal(key, self._named)
        if refusal is not None:
            self._refusals.append(refusal)
            return UNKNOWN
        return self._take(key)

    def _take(self, key: Key) -> int:
        self._places.add(key)
        slot = self._free.pop() if self._free else len(self._slots) + 1
        if slot == len(self._high):
            self._high = np.concatenate((self._high, np.zeros_like(self._high)))
            self._last_ms = np.concatenate((self._last_ms, np.zeros_like(self._last_ms)))
        self._slots[key] = slot
        self._high[slot] = 0
        return slot

    def _admit(self, slot: int, seq: int) -> bool:
        high = int(self._high[slot])
        holes = self._holes.get(slot, [])
        if seq > high:
            if seq > high + 1:
                self._holes[slot] = [*holes[-HOLES_MAX + 1 :], (high + 1, seq - 1)]
            self._high[slot] = seq
            return True
        for at, (first, last) in enumerate(holes):
            if first <= seq <= last:
                rest = [hole for hole in ((first, seq - 1), (seq + 1, last)) if hole[0] <= hole[1]]
                holes = [*holes[:at], *rest, *holes[at + 1 :]][-HOLES_MAX:]
                if holes:
                    self._holes[slot] = holes
                else:
                    del self._holes[slot]
                return True
        return False
