"""SIGTERM and SIGINT as an event to await."""

import asyncio
import signal
from collections.abc import Awaitable


def stop_signals() -> asyncio.Event:
    """Return an event that the next SIGTERM or SIGINT sets. Call it inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def until_stopped(work: Awaitable[None], stop: asyncio.Event) -> None:
    """Return when ``work`` ends or ``stop`` is set, whichever comes first; raise what ``work`` raised.

    Work that is still under way then is left running: its owner knows how it ends.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()
