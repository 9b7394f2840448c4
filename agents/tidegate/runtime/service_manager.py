"""What the service manager hears of a process that it started: that it is ready, that it lives, that it ends.

The convention is systemd's (sd_notify: ``Type=notify``, ``WatchdogSec``); node agents speak it to the services that they start,
too. Where nobody asks, nothing is said.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

BEAT_EVERY_S = 1.0
PATIENCE_S = 30
"""A process that waits, for its broker say, asks for so much more time with every beat: only one that hangs is given up."""


def tell(*lines: str) -> None:
    """Send assignments such as ``READY=1`` to whoever named ``NOTIFY_SOCKET``. OSError where it is there and cannot be told.

    Not where whoever asked is gone: a service runs on when its manager ends, and the next one does not know of the question.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        gone = (ConnectionRefusedError, FileNotFoundError)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, contextlib.suppress(*gone):
            client.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


async def keep_told(not_ready: Callable[[], str | None]) -> None:
    """Tell until cancelled: ``READY=1`` once nothing is missing, a sign of life with every beat, why it waits, that it ends.

    It runs in the event loop whose life it shows: a loop that hangs gives no sign, and is started again.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    ready, said = False, None
    try:
        while True:
            why = not_ready()
            if why is None and not ready:
                ready = True
                tell("READY=1")
            if (status := why or "ready") != said:
                said = status
                tell(f"STATUS={' '.join(status.split())}")
            tell("WATCHDOG=1" if ready else f"EXTEND_TIMEOUT_USEC={PATIENCE_S * 1_000_000}")
            await asyncio.sleep(BEAT_EVERY_S)
    finally:
        tell("STOPPING=1")
