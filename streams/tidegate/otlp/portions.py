"""What was counted between two points, dealt out to the seconds that follow, one second's share at a time.

An export tells of an interval that is over, and panes close a second after their end (A3): given to the seconds in which it
happened, most of it would be late. So the counts of an interval of n seconds go into the n seconds that begin with the export:
nothing is late, each second holds what a second of the interval held, and a node of long intervals is not silent in between.

Counts are dealt like cards, slot after slot: no second gets two more than another, none of a count is lost or doubled, and each
second's latencies look like those of the interval.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

NO_LATENCY = -1
"""The slot of requests of which only the number is known."""

Slots = Mapping[int, int]
"""Count by slot of our histogram."""
Dealt = Iterator[tuple[int, int]]


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

    def share(self, second: int) -> tuple[Dealt, Dealt]:
        """Return (slot, count) of one second: of what went well, and of what failed."""
        at = second - self.first_s
        return _dealt(self.good, at, self.seconds, 0), _dealt(self.failed, at, self.seconds, sum(self.good.values()))


def _dealt(slots: Slots, at: int, seconds: int, dealt: int) -> Dealt:
    """Yield what the second ``at`` gets of each slot, when so many have been dealt before."""
    for slot, count in slots.items():
        got = (dealt + count - at - 1) // seconds - (dealt - at - 1) // seconds
        dealt += count
        if got:
            yield slot, got
