"""The installations that tests of the control API begin with."""

import pytest
from tests.cli.conftest import world
from tests.cli.kit import NODES, World

__all__ = ["two_services", "world"]


@pytest.fixture
def two_services(world: World) -> World:
    """Every node runs the services shop and web."""
    for node in NODES:
        path = world.home.nodes / f"{node}.yaml"
        one = "services: {shop: {executor: none}}"
        assert one in path.read_text()
        path.write_text(path.read_text().replace(one, "services: {shop: {executor: none}, web: {executor: none}}"))
    return world
