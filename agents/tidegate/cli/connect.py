"""From a home to a log: commands look first whether a broker answers, since the log itself would wait for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from tidegate.broker import Connection, KafkaLog, knock
from tidegate.ports import Log, SendRefused, SendUnknown
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.acls import Principal

T = TypeVar("T")


def connection(home: Home, role: Principal = "operator") -> Connection:
    """Return where the broker of a home is, for who comes in a role. Problem where none is known, or a secret cannot be read."""
    kafka = home.settings.kafka
    where = Connection(home.bootstrap(), kafka.prefix, kafka.access.of(role, home.folder))
    where.arguments()
    return where


@contextlib.asynccontextmanager
async def open_log(home: Home, client_id: str, role: Principal = "operator") -> AsyncIterator[Log]:
    """Yield the log of a home. Problem at once where no broker answers, or where it refuses."""
    where = connection(home, role)
    await insist(where)
    log = KafkaLog(where, client_id=client_id)
    await log.start()
    try:
        yield log
    finally:
        await log.close()


async def insist(where: Connection) -> None:
    """Raise why a broker does not let a command in: the log itself would wait for ever."""
    problem = await knock(where)
    if problem is not None:
        raise problem


def unconfirmed(error: SendUnknown, what: str, remedy: str) -> Problem:
    """Return what to say of a send that was not confirmed: what the broker said, if it said no."""
    if isinstance(error, SendRefused):
        return Problem(error.what, error.remedy)
    return Problem(what, remedy, code=4)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's coroutine to its end."""
    return asyncio.run(work)
