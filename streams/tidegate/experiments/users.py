"""The users of one experiment: a hash table of 64 bits of each user's hash, the variant, and what the user did.

Open addressing in plain arrays: 9 bytes a slot and 8 more for each metric. That two of five million users have the same 64 bits
is less probable than one in a million; they would count as one.
"""

import math
from array import array
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

FREE, DOUBLE = 0, 255
"""In place of a variant's number, which is 1 and up: nobody, and who saw two."""
SLOTS_MIN = 1 << 10
FULL_AT = 0.8
"""Of the slots: 416,666 users then fit into half a million of them."""


class Columns(Struct, frozen=True):
    """Users in the order of their hashes, as bytes: u64, u8, and f64 for each metric with NaN for who did nothing."""

    keys: bytes
    variants: bytes
    totals: tuple[bytes, ...]


class Users:
    """Hash to variant and totals."""

    def __init__(self, metrics: int, slots: int = SLOTS_MIN) -> None:
        self._mask = slots - 1
        self._keys = array("Q", bytes(8 * slots))
        self._variants = bytearray(slots)
        self._totals = [array("d", [math.nan]) * slots for _ in range(metrics)]
        self.count = 0

    def variant(self, key: int) -> int:
        """Return the number of the variant of a user: FREE where the user is not known."""
        return self._variants[self._slot(key)]

    def put(self, key: int, variant: int) -> None:
        """Admit a user, or give a known one another variant."""
        slot = self._slot(key)
        if not self._variants[slot]:
            if self.count >= FULL_AT * len(self._variants):
                self._grow()
                slot = self._slot(key)
            self._keys[slot] = key
            self.count += 1
        self._variants[slot] = variant

    def total(self, key: int, metric: int) -> float:
        """Return what a known user did so far; NaN for nothing."""
        return self._totals[metric][self._slot(key)]

    def tell(self, key: int, metric: int, total: float) -> None:
        """Remember what a known user did."""
        self._totals[metric][self._slot(key)] = total

    @property
    def size_bytes(self) -> int:
        """Return what the tables take."""
        return len(self._variants) * (9 + 8 * len(self._totals))

    def columns(self) -> Columns:
        """Return everyone, as bytes that depend on nothing but who is known."""
        variants, keys = np.frombuffer(self._variants, np.uint8), np.frombuffer(self._keys, np.uint64)
        known = np.flatnonzero(variants)
        known = known[np.argsort(keys[known])]
        totals = tuple(np.frombuffer(one, np.float64)[known].tobytes() for one in self._totals)
        return Columns(keys[known].tobytes(), variants[known].tobytes(), totals)

    @classmethod
    def of(cls, columns: Columns) -> "Users":
        """Return the users that columns hold. ValueError where their lengths do not fit."""
        count = len(columns.variants)
        totals = [np.frombuffer(one, np.float64) for one in columns.totals]
        keys: Sequence[int] = np.frombuffer(columns.keys, np.uint64).tolist()
        if len(keys) != count or any(len(one) != count for one in totals):
            raise ValueError("columns of users have different lengths")
        slots = SLOTS_MIN
        while count >= FULL_AT * slots:
            slots *= 2
        users = cls(len(totals), slots)
        places = np.empty(count, np.int64)
        for number, key in enumerate(keys):
            places[number] = slot = users._slot(key)
            users._keys[slot] = key
            users._variants[slot] = columns.variants[number]
        for column, values in zip(users._totals, totals, strict=True):
            np.frombuffer(column, np.float64)[places] = values
        users.count = count
        return users

    def _slot(self, key: int) -> int:
        """Return where a user stands, or would stand."""
        keys, variants, mask = self._keys, self._variants, self._mask
        slot = key & mask
        while variants[slot] and keys[slot] != key:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        vars(self).update(vars(Users.of(self.columns())))


__all__ = ["DOUBLE", "FREE", "Columns", "Users"]
