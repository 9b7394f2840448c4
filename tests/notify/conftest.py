"""A real Alertmanager for a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.notify.server import MUST, NoAlertmanager, Receiver, Server, example, receiving, serving


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    """Where Alertmanager's notifications go."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def server(tmp_path: Path, hook: Receiver) -> AsyncIterator[Server]:
    """Alertmanager with the example configuration. Fails without one under CI=true, else skips with the remedy."""
    try:
        async with serving(tmp_path, example(tmp_path, hook.url)) as running:
            yield running
    except NoAlertmanager as problem:
        if MUST:
            pytest.fail(str(problem))
        pytest.skip(str(problem))
