"""How one waits for a broker: for ever, and saying why."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from tidegate.broker.connection import (
    RETRY_FIRST_S,
    RETRY_MOST_S,
    UNANSWERED,
    Backoff,
    BrokerSilent,
    Connection,
    TopicsMissing,
    denied,
)
from tidegate.broker.knock import knock
from tidegate.broker.permits import permits
from tidegate.runtime.problem import Problem

T = TypeVar("T")

LOOK_EVERY_S = 30.0
"""So often the broker is asked anew why it does not answer: one that was away may be back, and refuse."""

# Where nobody has set structlog up, as in a service that uses the SDK, lines go to the standard library's logging, not to stdout.
log = structlog.wrap_logger(logging.getLogger("tidegate.broker"))


async def patiently(what: str, connection: Connection, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what ``attempt`` returns, trying for ever, at most ``RETRY_MOST_S`` apart.

    One warning says that the broker does not answer, refuses, or has no such topics, another one that this has changed; one line
    says that it answers again.
    """
    backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
    since_s = time.monotonic()
    looked_s, said = -math.inf, ""
    while True:
        try:
            found = await attempt()
        except (*UNANSWERED, TopicsMissing, Problem) as error:
            if time.monotonic() - looked_s >= LOOK_EVERY_S:
                event, remedy = await _why(error, connection)
                looked_s = time.monotonic()
                if event != said:
                    log.warning(
                        event,
                        bootstrap=connection.bootstrap,
                        during=what,
                        error=str(error) or type(error).__name__,
                        retrying=f"for ever, at most {RETRY_MOST_S:.0f} s apart",
                        **({"remedy": remedy} if remedy else {}),
                    )
                said = event
        else:
            if said:
                log.info(
                    "broker answers", bootstrap=connection.bootstrap, during=what, after_s=round(time.monotonic() - since_s, 1)
                )
            return found
        await asyncio.sleep(backoff.grow())


async def _why(error: Exception, connection: Connection) -> tuple[str, str]:
    """Return what keeps us out, as the broker says it to one who asks, and what to do."""
    with contextlib.suppress(*UNANSWERED):  # it may go away meanwhile
        match error:
            case TopicsMissing():
                found = await permits(connection, error.names)
                hidden = [name for name, may in found.items() if may is not None]
                if not hidden:
                    return "topics are missing; make them with: tidegate topics create", ""
                problem: Problem | None = denied(connection, "see", *hidden)
            case Problem():
                problem = error
            case _:
                problem = await knock(connection)
        if problem is not None and not isinstance(problem, BrokerSilent):
            return problem.what, problem.remedy
    return "broker does not answer", ""
