"""Where the broker is, and how one waits for it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiokafka.errors import KafkaError
from msgspec import Struct

from tidegate.runtime.problem import Problem

T = TypeVar("T")

RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0
"""``tidegate.detect.absence.RECONNECT_MS`` is twice this: who is slow to come back is not taken for dead."""
RETRY_GROWS = 1.5
"""So an outage of some seconds is not followed by as long a wait again."""
UNANSWERED = (KafkaError, OSError, TimeoutError)
"""What the client raises where a broker is away, refuses or stays silent."""

log = structlog.get_logger("tidegate.broker")


class BrokerProblem(Problem):
    """A broker that cannot be found, started or used."""


class DockerMissing(BrokerProblem):
    """There is no Docker to ask: no client, no daemon that answers, or none of this machine."""


class TopicsMissing(Exception):
    """The broker answers and does not show these topics: not made yet, or not allowed to be seen."""


class Connection(Struct, frozen=True):
    """A cluster and the prefix of every topic of one installation."""

    bootstrap: str
    prefix: str = "tidegate."


async def patiently(what: str, connection: Connection, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what ``attempt`` returns, trying for ever, at most 5 s apart.

    One warning says that the broker does not answer (or has no such topics), one line that it does again.
    """
    delay_s = RETRY_FIRST_S
    since_s = time.monotonic()
    failed = False
    while True:
        try:
            found = await attempt()
        except (*UNANSWERED, TopicsMissing) as error:
            missing = isinstance(error, TopicsMissing)
            say = log.debug if failed else log.warning
            say(
                "topics are missing; make them with: tidegate topics create" if missing else "broker does not answer",
                bootstrap=connection.bootstrap,
                during=what,
                error=str(error) or type(error).__name__,
                retrying=f"for ever, at most {RETRY_MOST_S:.0f} s apart",
            )
            failed = True
        else:
            if failed:
                log.info(
                    "broker answers", bootstrap=connection.bootstrap, during=what, after_s=round(time.monotonic() - since_s, 1)
                )
            return found
        # A thousand agents must not knock at the same moment after an outage.
        await asyncio.sleep(delay_s * (0.5 + random.random() / 2))  # noqa: S311 - no secret
        delay_s = min(delay_s * RETRY_GROWS, RETRY_MOST_S)
