"""One installation and one browser for all tests of a file: what happens in one test is history to the next, as it is in life."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright
from tests.console.chromium import ARGUMENTS, chromium
from tests.console.kit import Site
from tests.debian import NoProgram

from tidegate.api.roles import Role
from tidegate.broker import Connection, KafkaLog, create_topics, delete_topics
from tidegate.wire.topics import BY_NAME

ZONES = {"n1": "a", "n2": "b", "n3": "c", "n4": "a"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Two services on four nodes, v1 everywhere; shop goes to v2 and waits at a gate."""
    connection = Connection(kafka, f"console{secrets.token_hex(4)}.")
    await create_topics(connection)
    log = KafkaLog(connection, client_id="console")
    await log.start()
    # What a person types has a loop of its own.
    site = await asyncio.to_thread(Site, tmp_path_factory.mktemp("site"), log, ZONES)
    site.token("olga", Role.ADMIN)
    site.token("vera", Role.VIEWER)
    site.token("shoponly", Role.OPERATOR, "shop:pause")
    async with site.live():
        for service in ("shop", "web"):
            await site.install(service)
        await site.upgrade_to_gate("shop")
        yield site
    await log.close()
    await delete_topics(connection, tuple(BY_NAME))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A real one."""
    try:
        path = await asyncio.to_thread(chromium)
    except NoProgram as problem:
        pytest.fail(f"this test needs a real browser: {problem}")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()
