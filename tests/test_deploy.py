"""Files that nobody imports: they must name commands, options and folders that exist."""

import json
import re
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest
import yaml
from jsonschema import Draft7Validator

from tidegate.cli.group import tidegate
from tidegate.node.config import load_config
from tidegate.wire.plans import Plan

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
FLEET = ROOT / "deploy" / "compose"
SERVICES = COMPOSE["services"]
COMMANDS = {
    name: service["command"] for name, service in SERVICES.items() if "command" in service and "tidegate" in service["image"]
}


def test_the_compose_file_is_one():
    # By its path: the package's own command does not start beside click 8.3.
    schema = distribution("check-jsonschema").locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")
    assert [error.message for error in Draft7Validator(json.loads(Path(schema).read_text())).iter_errors(COMPOSE)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_pinned_bounded_watched_and_reached_from_this_machine_alone(name):
    service = SERVICES[name]
    assert re.search(r":(local|v?\d+\.\d+\.\d+)(@sha256:[0-9a-f]{64})?$", service["image"])
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if service["image"].startswith("tidegate:"):
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    else:
        assert service["healthcheck"]["test"]


def test_prometheus_asks_each_process_by_a_name_of_its_own():
    """Replicas answer under one name in turns: counters that jump back and forth, and rates of thousands."""
    (asked,) = (job["static_configs"] for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "tidegate")
    watched = [name for name in COMMANDS if not SERVICES[name].get("healthcheck", {}).get("disable")]
    assert sorted(target for one in asked for target in one["targets"]) == sorted(f"{name}:9400" for name in watched)
    assert [name for name in watched if {"deploy", "scale"} & set(SERVICES[name])] == []


def test_no_secret_stands_in_the_compose_file():
    words = [key for service in SERVICES.values() for key in service.get("environment", ())]
    assert [word for word in words if re.search(r"PASSWORD|SECRET|TOKEN|_KEY$", word)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_compose_file_is_one(name):
    """Click parses it whole: an option or command that does not exist is a usage error."""
    command, arguments = tidegate, list(COMMANDS[name])
    context = click.Context(tidegate, info_name="tidegate")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
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
