"""How a producer of aiokafka ends when it gave no answer. The SDK uses it too; it needs nothing but aiokafka."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed

WITHIN_S = 5.0
"""So long each of the three steps may take; without trouble all of them take some milliseconds."""


async def abandon(producer: AIOKafkaProducer, hang_up: Callable[[], Awaitable[Any]] | None = None) -> None:
    """End a producer with all that it holds, whatever became of it: afterwards no task and no connection of it is left. Its own
    ``stop`` first waits until all is sent, which an idempotent one tries for ever.

    ``hang_up`` closes what it talks through, by default its own client. Who still waits for an answer gets ProducerClosed.
    Raises nothing.
    """
    # There is no public way.
    sender, task = producer._sender, producer._sender.sender_task  # noqa: SLF001
    producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001 - whoever else waits learns it now
    if task is not None:
        task.remove_done_callback(sender._fail_all)  # noqa: SLF001 - done above; this one takes us for transactional
        task.cancel()
        async with _trying():
            await (hang_up or producer.client.close)()
            await _ended(task)
        # It waits for its requests. One of them may still wait for a connection, and the client would do so for much longer.
        task.cancel()
        async with _trying():
            await _ended(task)
    async with _trying():
        await producer.stop()


@contextlib.asynccontextmanager
async def _trying() -> Any:
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            yield


async def _ended(task: asyncio.Task[None]) -> None:
    # A task that was cancelled twice ends cancelled, and would cancel whoever waits for it.
    await asyncio.gather(asyncio.shield(task), return_exceptions=True)
