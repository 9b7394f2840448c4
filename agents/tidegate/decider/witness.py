"""Whether this machine's clock is right: the broker's, which stamps what is appended, is an independent witness.

Who decides by a clock that is far ahead sees every node unreachable and rolls back, ends freezes and gates before their time, and
leaves a ledger in which time stands still for the next author, for it never goes back (D1). By one far behind, old passes look
fresh, nodes that have gone look alive, and advances come out expired. So nobody leads whose clock is more than 30 s off. If it is
the broker's that is wrong nobody leads at all: fewer change anything than should, and ``decide_silent`` calls a person.
"""

from tidegate.ports import Appended, Clock

OFF_MS = 30_000
"""A third of the time after which a node counts as unreachable (B5)."""
BELIEVED_S = 60.0
"""After this one must look again: it may have been the broker's clock that was set right."""


class Witness:
    """How far a clock is from the broker's, as the last append showed. Between two appends the monotonic clock goes on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen_s = 0.0
        self._bounds_ms: tuple[float, float] | None = None
        """The broker's time at the zero of the monotonic clock is between these."""

    def saw(self, sent_s: float, appended: Appended) -> None:
        """Take the answer to an append that was sent at a monotonic time: its stamp was made between then and now."""
        self._seen_s = self._clock.monotonic_s()
        self._bounds_ms = (appended.time_ms - self._seen_s * 1_000, appended.time_ms - sent_s * 1_000)

    @property
    def off_ms(self) -> int:
        """By how much this clock is ahead (negative: behind) at least; 0 where that is not known."""
        if self._bounds_ms is None or self._clock.monotonic_s() - self._seen_s > BELIEVED_S:
            return 0
        zero_ms, (least, most) = self._clock.now_ms() - self._clock.monotonic_s() * 1_000, self._bounds_ms
        return round(zero_ms - most if zero_ms > most else min(0.0, zero_ms - least))

    @property
    def wrong(self) -> bool:
        """Whether nobody may decide by this clock."""
        return abs(self.off_ms) > OFF_MS
