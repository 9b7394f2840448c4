"""The clock: the only place from which a shell takes the time."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for documents, monotonic time for intervals, and waiting."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch; may jump."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
