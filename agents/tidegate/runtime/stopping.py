"""SIGTERM and SIGINT as an event, and work that ends when it is set."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

END_WITHIN_S = 15.0

log = structlog.get_logger("runtime")
T = TypeVar("T")


def stop_signals() -> asyncio.Event:
    """Return an event that the next SIGTERM or SIGINT sets. Call it inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


class Stopped(Exception):
    """A signal came while something was being started."""


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns. Where ``stop`` is set first, work is cancelled, given time to tidy up, and Stopped raised."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Stopped
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def run_until(
    stop: asyncio.Event, work: Coroutine[Any, Any, None], end: Callable[[], Awaitable[None]], within_s: float = END_WITHIN_S
) -> None:
    """Run ``work`` until it ends or ``stop`` is set; then ``end`` is called and work may come to its own end.

    What has not ended after ``within_s`` is cancelled. Raises what ``work`` raised.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    tasks: list[asyncio.Future[Any]] = [working, stopping]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            ending = asyncio.ensure_future(end())
            tasks.append(ending)
            _, late = await asyncio.wait([working, ending], timeout=within_s)
            if late:
                log.warning("given up", problem=f"it did not end within {within_s:g} s")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not working.cancelled():
        working.result()
