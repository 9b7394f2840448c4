"""``tidegate topics acl`` without a broker: whose rights, in three forms."""

import shlex
from itertools import pairwise

import pytest
import yaml
from tests.cli.kit import World

from tidegate.wire.acls import PRINCIPALS, rights


def rows(world: World, *arguments: str) -> list[dict[str, object]]:
    return world.type("topics", "acl", "-o", "json", *arguments).json


def test_every_role_is_a_principal_with_the_rights_of_the_table(world: World) -> None:
    found = rows(world)
    assert {row["principal"] for row in found} == {f"User:tidegate-{role}" for role in PRINCIPALS}
    assert sum(len(row["operations"]) for row in found) == sum(len(rights(role)) for role in PRINCIPALS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sasl", "arguments", "expected"),
    [
        (None, ("--principal-prefix", "tg/"), "User:tg/judge"),
        ({"user": "{role}@prod", "password": "env:X"}, (), "User:judge@prod"),
        ({"user": "{role}@prod", "password": "env:X"}, ("--principal-prefix", "p-"), "User:p-judge"),
        (None, ("--principal", "judge=User:CN=judge,O=shop"), "User:CN=judge,O=shop"),
    ],
)
def test_principals_are_named_by_the_settings_or_by_who_asks(
    world: World, sasl: dict[str, str] | None, arguments: tuple[str, ...], expected: str
) -> None:
    if sasl is not None:
        settings = yaml.safe_load(world.home.config.read_text())
        settings["kafka"] |= {"tls": {}, "sasl": sasl}
        world.home.config.write_text(yaml.safe_dump(settings))
    mine = [row for row in rows(world, *arguments) if row["principal"] == expected]
    assert sum(len(row["operations"]) for row in mine) == len(rights("judge"))  # type: ignore[arg-type]


def test_a_role_may_be_played_by_several_as_nodes_are(world: World) -> None:
    found = rows(world, "--principal", "node=web-1", "--principal", "node=web-2")
    names = {row["principal"] for row in found}
    assert {"User:web-1", "User:web-2"} <= names
    assert "User:tidegate-node" not in names


def test_a_collectors_topics_may_be_read_by_the_bridge(world: World) -> None:
    settings = yaml.safe_load(world.home.config.read_text())
    settings["bridge"] = {"topics": [{"topic": "otlp_metrics"}]}
    world.home.config.write_text(yaml.safe_dump(settings))
    assert [row["principal"] for row in rows(world) if row["name"] == "otlp_metrics"] == ["User:tidegate-bridge"]


def test_lines_for_kafkas_own_tool_say_the_same(world: World) -> None:
    lines = world.type("topics", "acl", "-o", "kafka-acls").out.splitlines()
    found = rows(world)
    assert len(lines) == len(found)
    for line, row in zip(lines, found, strict=True):
        words = shlex.split(line)
        said = dict(pairwise(words))
        assert said["--allow-principal"] == row["principal"]
        assert said.get(f"--{row['kind']}", "kafka-cluster") == row["name"] or row["kind"] == "cluster"
        assert said.get("--resource-pattern-type") == ("prefixed" if row["match"] == "prefix" else None)
        operations = [after for word, after in pairwise(words) if word == "--operation"]
        assert [operation.lower() for operation in operations] == [one.replace("_", "") for one in row["operations"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--principal", "juge=x"), "write ROLE=NAME"),
        (("--principal", "judge="), "write ROLE=NAME"),
        (("--prune",), "--prune changes nothing without --apply"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, arguments: tuple[str, ...], what: str) -> None:
    done = world.type("topics", "acl", *arguments)
    assert (done.code, what in done.err) == (2, True)
