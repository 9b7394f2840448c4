"""From a home to a log: commands look first whether a broker answers, since the log itself would wait for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from tidegate.broker import Connection, KafkaLog
from tidegate.ports import Log
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem

ANSWER_WITHIN_S = 3.0

T = TypeVar("T")


def connection(home: Home) -> Connection:
    """Return where the broker of a home is. Problem where none is known."""
    return Connection(home.bootstrap(), home.settings.kafka.prefix)


async def reachable(bootstrap: str, within_s: float = ANSWER_WITHIN_S) -> bool:
    """Return whether anything listens at one of the addresses."""

    async def answers(address: str) -> bool:
        host, _, port = address.strip().rpartition(":")
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(within_s):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
            return True
        return False

    return any(await asyncio.gather(*(answers(address) for address in bootstrap.split(","))))


@contextlib.asynccontextmanager
async def open_log(home: Home, client_id: str) -> AsyncIterator[Log]:
    """Yield the log of a home. Problem at once where no broker answers."""
    where = connection(home)
    if not await reachable(where.bootstrap):
        raise Problem(
            f"no broker answers at {where.bootstrap}", "start it (tidegate up), or set TIDEGATE_BOOTSTRAP=host:port to another"
        )
    log = KafkaLog(where, client_id=client_id)
    await log.start()
    try:
        yield log
    finally:
        await log.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's coroutine to its end."""
    return asyncio.run(work)
