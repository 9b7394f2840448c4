"""Files that nobody imports: they must name commands, options and folders that exist."""

from pathlib import Path

import click
import pytest
import yaml

from tidegate.cli.group import tidegate
from tidegate.node.config import load_config
from tidegate.wire.plans import Plan

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
FLEET = ROOT / "deploy" / "compose"
COMMANDS = {name: service["command"] for name, service in COMPOSE["services"].items() if "command" in service}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_compose_file_is_one(name):
    """Click parses it whole: an option or command that does not exist is a usage error."""
    command, arguments = tidegate, list(COMMANDS[name])
    context = click.Context(tidegate, info_name="tidegate")
    while isinstance(command, click.Group) and not arguments[0].startswith("-"):
        found, command, arguments = command.resolve_command(context, arguments)
        assert command is not None, f"no command {found}"
        context = click.Context(command, parent=context, info_name=found)
    try:
        command.make_context(context.info_name, arguments, parent=context.parent)
    except click.BadParameter as error:
        assert "does not exist" in error.format_message()  # noqa: PT017 - a path inside the container


@pytest.mark.parametrize("node", sorted(FLEET.glob("n*.yaml")), ids=lambda path: path.stem)
def test_every_node_of_the_compose_fleet_has_a_sound_configuration_and_is_enrolled(node):
    config = load_config(node)
    assert config.node == node.stem
    assert f"{config.node}={config.zone}" in COMMANDS["init"]
    assert config.fleet == COMMANDS["init"][COMMANDS["init"].index("--fleet") + 1]


@pytest.mark.parametrize("plan", sorted(FLEET.glob("v*.yaml")), ids=lambda path: path.stem)
def test_every_plan_of_the_compose_fleet_uses_words_that_exist_and_names_a_program_that_is_there(plan):
    written = yaml.safe_load(plan.read_text())
    assert set(written) <= set(Plan.__struct_encode_fields__)
    assert (FLEET / Path(written["artifact"]["uri"]).name).exists()
