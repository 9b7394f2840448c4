"""A clock that a test puts on: tokens are looked at by it, so that nobody has to wait for a second or for their end."""

from tidegate.ports import Clock


class Ahead:
    """``tidegate.ports.Clock``: another one, and what a test adds. The wall clock may be set apart from what passes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._passed_s = 0.0
        self._wall_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self._wall_ms

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s() + self._passed_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def elapse(self, seconds: float) -> None:
        """Let so much time pass."""
        self._passed_s += seconds
        self._wall_ms += round(seconds * 1_000)

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back where it is less than 0; no time passes."""
        self._wall_ms += round(seconds * 1_000)
