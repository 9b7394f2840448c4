"""One running system for all scenarios: what happens to it in one is history to the next, as it is in life."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.scenarios.kit import System

from tidegate.broker import KafkaProcess
from tidegate.broker.jars import kafka_jars

SERVERS = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaProcess]:
    """A real broker that may be killed."""
    broker = KafkaProcess(await kafka_jars(print), tmp_path_factory.mktemp("broker"))
    await broker.start()
    yield broker
    await broker.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    broker: KafkaProcess, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[System]:
    """The whole system, v1 installed, under load. Its servers follow flags where the module says so: ``FLAGGED = True``."""
    async with contextlib.AsyncExitStack() as stack:
        flagged = getattr(request.module, "FLAGGED", False)
        system = System(tmp_path_factory.mktemp("system"), SERVERS, broker.bootstrap, flagged=flagged)
        stack.push_async_callback(system.stop)
        await system.start()
        yield system
