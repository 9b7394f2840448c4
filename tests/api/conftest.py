import pytest
from tests.api.kit import Place
from tests.cli.conftest import world

__all__ = ["place", "world"]


@pytest.fixture
async def place(tmp_path):
    return Place(tmp_path)
