"""Each row once (A1): a high-water mark and the holes below it for each (node, service, boot)."""

from msgspec import Struct

FORGET_AFTER_MS = 60_000
HOLES_MAX = 600
"""Holes remembered below the mark: ten minutes of rows at one a second; a row older than that would be late anyway."""

Key = tuple[str, str, str]
"""(node, service, boot)."""


class Seen(Struct, array_like=True):
    """What was seen of one boot. Mutable: it changes with every row."""

    high: int
    holes: set[int]
    last_ms: int


class Dedupe(Struct):
    """All boots that have spoken within the last minute of judge clock."""

    boots: dict[Key, Seen] = {}

    def admit(self, key: Key, seq: int, clock_ms: int) -> bool:
        """Return whether this row is new, and remember it. Shuffled rows are new once, whatever their order."""
        seen = self.boots.get(key)
        if seen is None:
            self.boots[key] = Seen(seq, set(range(max(1, seq - HOLES_MAX), seq)), clock_ms)
            return True
        if seq == seen.high + 1:
            seen.high = seq
        elif seq > seen.high:
            seen.holes.update(range(max(seen.high + 1, seq - HOLES_MAX), seq))
            seen.high = seq
            if len(seen.holes) > HOLES_MAX:
                seen.holes = set(sorted(seen.holes)[-HOLES_MAX:])
        elif seq in seen.holes:
            seen.holes.discard(seq)
        else:
            return False
        seen.last_ms = clock_ms
        return True

    def forget(self, clock_ms: int) -> None:
        """Drop boots that have been silent for a minute of judge clock."""
        gone = [key for key, seen in self.boots.items() if clock_ms - seen.last_ms > FORGET_AFTER_MS]
        for key in gone:
            del self.boots[key]
