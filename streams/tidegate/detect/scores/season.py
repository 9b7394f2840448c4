"""What is usual at this time of day: the steps that a series takes daily, learned by slot.

Slow daily change is followed by ``level`` in any case; what it cannot follow is a step: the batch at two, the opening at nine. So
the usual value of each slot of the day (UTC) is kept, and in a slot whose usual value lies far from that of the slot before, two
levels are usual: the one of a moment ago and that one with the daily step. A value is measured from the nearer. So a day without
the step (a weekend) is no anomaly either; that a step is missing is not seen here.

No null hypothesis and no guarantee: this only changes what ``level`` calls usual, and ``rank`` ranks what comes of it. Time is
the pane's own; there is no clock. A job by local time is unknown again for two days after the clocks change.
"""

import struct

from msgspec import Struct, field

DAY_MS = 86_400_000
SLOT_MS = 900_000
"""15 minutes: jobs and openings begin at quarters of an hour, and 96 numbers of 4 bytes are what a series may cost."""
SLOTS = DAY_MS // SLOT_MS
DAYS_LEAST = 2
"""Days of history before a step is believed: what came once is an incident, not a habit."""
DAYS_MEMORY = 7
"""Days over which a slot's usual value is averaged: a week, so that a weekend does not become the rule."""
VALUES_LEAST = 60
"""Seconds of a slot that must have been seen for its mean to count: less may be a burst."""
STEP_LEAST = 4.0
"""Standard deviations; what ``level`` may learn from one value. Smaller steps it follows by itself, and two levels closer
together than that would cut the spread in half."""
_UNKNOWN = struct.pack("<f", float("nan"))


class Season(Struct, array_like=True):
    """Plain data, changed in place: the slot under way, the step that is usual in it, and the usual value of every slot."""

    since_ms: int = 0
    slot: int = -1
    """Number of the slot since the epoch."""
    total: float = 0.0
    values: int = 0
    step: float = 0.0
    """From the level that is followed to the other one that is usual; 0.0: there is none."""
    usual: bytearray = field(default_factory=bytearray)
    """Little-endian 4-byte floats, NaN: unknown. Empty before the first slot is over."""

    def take(self, value: float, end_ms: int) -> None:
        """Note a value of the pane that ends then; the first of a slot sets the step."""
        slot = (end_ms - 1) // SLOT_MS
        if slot != self.slot:
            self._turn(slot, end_ms)
        self.total += value
        self.values += 1

    def _turn(self, slot: int, end_ms: int) -> None:
        self.since_ms = self.since_ms or end_ms
        days = (end_ms - self.since_ms) // DAY_MS
        if self.values >= VALUES_LEAST:
            self.usual = self.usual or bytearray(_UNKNOWN * SLOTS)
            mean, known = self.total / self.values, self._usual(self.slot)
            # NaN is unequal to itself: the first mean is taken as it is.
            learned = known + (mean - known) / min(DAYS_MEMORY, days + 1) if known == known else mean  # noqa: PLR0124
            struct.pack_into("<f", self.usual, self.slot % SLOTS * 4, learned)
        self.step = 0.0
        if self.usual and slot == self.slot + 1 and days >= DAYS_LEAST:
            step = self._usual(slot) - self._usual(self.slot)
            self.step = step if step == step else 0.0  # noqa: PLR0124
        self.slot, self.total, self.values = slot, 0.0, 0

    def _usual(self, slot: int) -> float:
        return float(struct.unpack_from("<f", self.usual, slot % SLOTS * 4)[0])


def nearer(season: Season, value: float, mean: float, spread: float) -> float:
    """Return which of the levels usual now lies nearer to a value; it is the one that is followed from here."""
    step = season.step
    if abs(step) >= STEP_LEAST * spread and abs(value - mean - step) < abs(value - mean):
        season.step = -step
        return mean + step
    return mean
