"""Children that end with their parent, however that ends."""

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def tie(number: signal.Signals) -> Callable[[], None]:
    """Return what a new child does first (``preexec_fn``) so that the end of the thread that starts it sends it this signal."""
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl  # found before the fork: afterwards there may be no loading

    def tied() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the tie held
            os._exit(1)

    return tied
