"""What came lately, so that what a sender sends twice counts once.

Bounded by number, not by time: after an outage of the broker the repetition comes late, but little has come in between.
"""

import numpy as np

HALF = 1 << 16


class Recent:
    """Between the last 65,536 and 131,072 of what was seen, each as 64 bits."""

    def __init__(self, half: int = HALF) -> None:
        self._half = half
        self._now: set[int] = set()
        self._before: set[int] = set()

    def seen(self, digest: int) -> bool:
        """Return whether something came before, and remember it."""
        if digest in self._now or digest in self._before:
            return True
        if len(self._now) >= self._half:
            self._now, self._before = set(), self._now
        self._now.add(digest)
        return False

    def packed(self) -> tuple[bytes, bytes]:
        """Return what is remembered, newer and older."""
        now, before = (np.array(sorted(half), np.uint64).tobytes() for half in (self._now, self._before))
        return now, before

    @classmethod
    def of(cls, packed: tuple[bytes, bytes]) -> "Recent":
        """Return what was packed. ValueError where it is torn."""
        recent = cls()
        recent._now, recent._before = (set(np.frombuffer(half, np.uint64).tolist()) for half in packed)
        return recent
