"""Where the broker is, and how one waits for it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiokafka.errors import KafkaError
from msgspec import Struct

from tidegate.runtime.problem import Problem

T = TypeVar("T")

RETRY_FIRST_S = 0.2
RETRY_MOST_S = 10.0

log = structlog.get_logger("tidegate.broker")


class BrokerProblem(Problem):
    """A broker that cannot be found, started or used."""


class Connection(Struct, frozen=True):
    """A cluster and the prefix of every topic of one installation."""

    bootstrap: str
    prefix: str = "tidegate."


async def patiently(what: str, connection: Connection, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what ``attempt`` returns; while the broker does not answer say so and try again, for ever, up to 10 s apart."""
    delay_s = RETRY_FIRST_S
    while True:
        try:
            return await attempt()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning(
                "broker does not answer",
                bootstrap=connection.bootstrap,
                during=what,
                error=str(error),
                retry_in_s=round(delay_s, 1),
            )
        # Full jitter: a thousand agents must not knock at the same moment after an outage.
        await asyncio.sleep(delay_s * (0.5 + random.random() / 2))  # noqa: S311 - no secret
        delay_s = min(delay_s * 2, RETRY_MOST_S)
