"""Where the broker is, and how one waits for it."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from aiokafka.errors import KafkaError
from msgspec import Struct

from tidegate.runtime.access import PLAIN_TEXT, Access
from tidegate.runtime.problem import Problem

T = TypeVar("T")

RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0
SPREAD = 0.7
"""Waits that have grown to the most are at least so much of it: those of many who are spread by now then come evenly."""
UNANSWERED = (KafkaError, OSError, TimeoutError)
"""What the client raises where a broker is away, refuses or stays silent."""

# Where nobody has set structlog up, as in a service that uses the SDK, lines go to the standard library's logging, not to stdout.
log = structlog.wrap_logger(logging.getLogger("tidegate.broker"))


class BrokerProblem(Problem):
    """A broker that cannot be found, started or used."""


class DockerMissing(BrokerProblem):
    """There is no Docker to ask: no client, no daemon that answers, or none of this machine."""


class TopicsMissing(Exception):
    """The broker answers and does not show these topics: not made yet, or not allowed to be seen."""


class Connection(Struct, frozen=True):
    """A cluster, the prefix of every topic of one installation, and who talks to it."""

    bootstrap: str
    prefix: str = "tidegate."
    access: Access = PLAIN_TEXT

    def arguments(self) -> dict[str, Any]:
        """Return where to and as whom, as every client of aiokafka takes it. Problem where a secret cannot be read."""
        return {"bootstrap_servers": self.bootstrap, **self.access.arguments()}


class Backoff:
    """Waits between tries: anything up to ``first_s``, then up to twice as much, and so on to ``most_s``.

    A thousand agents lose one broker at the same moment and must not knock at the same moment (Google Cloud 2025-06-12: restart
    herd). N of them that have waited for long come back at N / ``most_s`` a second, give or take.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = self._next_s = first_s
        self.most_s = most_s

    def grow(self) -> float:
        """Return the next wait in seconds; the one after it is longer."""
        most_s, grown = self._next_s, self._next_s >= self.most_s
        self._next_s = min(2 * most_s, self.most_s)
        return most_s * random.uniform(SPREAD if grown else 0.0, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Begin anew: the last try was answered."""
        self._next_s = self._first_s


async def patiently(what: str, connection: Connection, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what ``attempt`` returns, trying for ever, at most ``RETRY_MOST_S`` apart.

    One warning says that the broker does not answer (or has no such topics), one line that it does again.
    """
    backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
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
        await asyncio.sleep(backoff.grow())
