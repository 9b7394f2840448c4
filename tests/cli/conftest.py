"""The fixture that every test of a command begins with."""

from pathlib import Path

import pytest
from tests.cli.kit import NODES, World

import tidegate.cli.session


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A home with three nodes that run service shop with executor none."""
    monkeypatch.delenv("TIDEGATE_BOOTSTRAP", raising=False)
    found = World(tmp_path)
    assert found.type("init", *(f"--node={node}" for node in NODES)).code == 0
    for node in NODES:
        path = found.home.nodes / f"{node}.yaml"
        path.write_text(path.read_text().replace("services: {}", "services: {shop: {executor: none}}"))
    monkeypatch.setattr(tidegate.cli.session, "open_log", found.open_log)
    return found
