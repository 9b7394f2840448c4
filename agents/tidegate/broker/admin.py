"""A client for questions that are not about records."""

import contextlib
from collections.abc import AsyncIterator

from aiokafka.admin import AIOKafkaAdminClient

from tidegate.broker.connection import Connection


async def open_admin(connection: Connection) -> AIOKafkaAdminClient:
    """Return one, connected; ``close`` it. Raises what the client raises where the broker is away or refuses."""
    admin = AIOKafkaAdminClient(**connection.arguments())
    try:
        await admin.start()
    except BaseException:
        await admin.close()
        raise
    return admin


@contextlib.asynccontextmanager
async def asking(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield one for a few questions. Raises likewise."""
    admin = await open_admin(connection)
    try:
        yield admin
    finally:
        await admin.close()
