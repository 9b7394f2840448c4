"""The judge's clock (A2, A3): the minimum of the watermarks over all telemetry partitions. No worker's own clock is used."""

from collections.abc import Mapping

from msgspec import Struct

from tidegate.wire.topics import TELEMETRY_PARTITIONS

GRACE_MS = 1_000
DOWN_SPREAD_MS = 5_000
STEP_MOST_MS = 2_000
"""Marks come at most 200 ms apart; where the clock jumps further, the broker or all of intake was away."""


class Clock(Struct):
    """Watermarks as folded from one partition of ``nodeseconds``."""

    marks: dict[int, int] = {}
    resumed_ms: int = 0
    """Where the clock went on after its last jump; 0: it never jumped."""

    def fold(self, marks: Mapping[int, int], append_ms: int) -> None:
        """Take marks; one never goes back, and none lies beyond the append time of the record that brought it."""
        before_ms = self.now_ms
        for partition, mark_ms in marks.items():
            if 0 <= partition < TELEMETRY_PARTITIONS:
                self.marks[partition] = max(self.marks.get(partition, 0), min(mark_ms, append_ms))
        if before_ms is not None and (self.now_ms or 0) - before_ms > STEP_MOST_MS:
            self.resumed_ms = self.now_ms or 0

    @property
    def now_ms(self) -> int | None:
        """The clock; None while a partition has not spoken yet."""
        return min(self.marks.values()) if len(self.marks) == TELEMETRY_PARTITIONS else None

    @property
    def telemetry_down(self) -> bool:
        """Whether some partitions have stopped while others go on."""
        return bool(self.marks) and max(self.marks.values()) - min(self.marks.values()) > DOWN_SPREAD_MS
