"""What was counted between two points, dealt out to the seconds that follow, one second's share at a time.

An export tells of an interval that is over, and panes close a second after their end (A3): given to the seconds in which it
happened, most of it would be late. So the counts of an interval of n seconds go into the n seconds that begin with the export:
nothing is late, each second holds what a second of the interval held, and a node of long intervals is not silent in between.

Shares are whole numbers that add up to the count, never one more or less. Which second gets the odd one differs from slot to
slot, so that each second's latencies look like those of the interval.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from tidegate.scrape.spread import SHARES, phase_of

NO_LATENCY = -1
"""The slot of requests of which only the number is known."""

Slots = Mapping[int, int]
"""Count by slot of our histogram."""


class Portion(Struct, frozen=True):
    """Counts that belong to ``seconds`` seconds from ``first_s`` on."""

    first_s: int
    seconds: int
    good: Slots
    failed: Slots

    @property
    def last_s(self) -> int:
        """The last second that gets a share."""
        return self.first_s + self.seconds - 1

    def share(self, second: int) -> tuple[Iterator[tuple[int, int]], Iterator[tuple[int, int]]]:
        """Return the counts of one second by slot: of what went well, and of what failed."""
        at = second - self.first_s
        return _share(self.good, at, self.seconds, self.first_s), _share(self.failed, at, self.seconds, self.first_s + 1)


def _share(slots: Slots, at: int, seconds: int, salt: int) -> Iterator[tuple[int, int]]:
    if seconds == 1:
        yield from slots.items()
        return
    for slot, count in slots.items():
        phase = phase_of(slot + salt)
        upto, before = ((count * n * SHARES // seconds + phase) // SHARES for n in (at + 1, at))
        if upto > before:
            yield slot, upto - before
