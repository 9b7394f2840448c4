"""A real Alertmanager for a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.notify.server import Receiver, Server, example, receiving, serving


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    """Where Alertmanager's notifications go."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def server(tmp_path: Path, hook: Receiver) -> AsyncIterator[Server]:
    """Alertmanager with the example configuration."""
    async with serving(tmp_path, example(tmp_path, hook.url)) as running:
        yield running
