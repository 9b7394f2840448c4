"""``tidegate`` as an operator types it, on a machine whose wall clock a test sets: ms in the file that CLOCK names.

The product's own clock reads ``time``, and so do its libraries: all of them live on the machine whose clock is wrong. Monotonic
time goes on as it is, as it does where a machine's clock is set.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

FILE = "TEST_CLOCK"


def off_by(path: Path, seconds: Callable[[], float], nanoseconds: Callable[[], int]) -> None:
    """Let this process's wall clock differ by what stands in a file at each look; nothing there: by nothing."""

    def ms() -> int:
        try:
            return int(path.read_text() or 0)
        except FileNotFoundError:
            return 0

    time.time = lambda: seconds() + ms() / 1_000
    time.time_ns = lambda: nanoseconds() + ms() * 1_000_000


if __name__ == "__main__":
    off_by(Path(os.environ[FILE]), time.time, time.time_ns)
    from tidegate.cli.main import main

    main()
