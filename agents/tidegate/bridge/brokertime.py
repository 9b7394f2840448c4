"""The broker's time, between its answers: they say when something was appended, and a clock that never jumps what passed since.

The date of this machine may be set while a bridge runs, and a jump of it would put rows into seconds that are over; so it is not
asked at all.
"""

from collections import deque
from collections.abc import Iterable

from tidegate.ports import Clock

TICKS_KEPT = 10


class BrokerTime:
    """Never ahead of the broker by more than both clocks drift within ten ticks; behind by what an answer takes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms: deque[int] = deque(maxlen=TICKS_KEPT)
        """The broker's clock minus ours, as the last ticks saw it; an answer that is late makes it less, so the most is right."""

    def now_ms(self) -> int:
        """Return the broker's time in ms since the epoch; long past before its first word."""
        return self._monotonic_ms() + max(self._ahead_ms, default=0)

    def ahead_ms(self, time_ms: int) -> int:
        """Return by how much the broker's clock is ahead of ours, where it has just said this."""
        return time_ms - self._monotonic_ms()

    def answered(self, ahead_ms: Iterable[int]) -> None:
        """Take the answers of one tick, each with what ``ahead_ms`` made of it as it came."""
        self._ahead_ms.extend(sorted(ahead_ms)[-1:])

    def appended(self, time_ms: int) -> None:
        """Take the time of a record that was read: it is no earlier now. Of use where our clock stood still, as that of a machine
        that slept does: until rows go out again, nothing is answered.
        """
        if time_ms > self.now_ms():
            self._ahead_ms.append(self.ahead_ms(time_ms))

    def _monotonic_ms(self) -> int:
        return round(self._clock.monotonic_s() * 1_000)


__all__ = ["TICKS_KEPT", "BrokerTime"]
