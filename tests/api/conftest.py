import pytest
from tests.api.kit import Place


@pytest.fixture
async def place(tmp_path):
    return Place(tmp_path)
