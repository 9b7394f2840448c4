"""``tidegate breakglass``: with a decision agent, without one, and with a broken ledger (E5)."""

import asyncio
from pathlib import Path

import pytest
from tests.cli.kit import NODES, World

from tidegate.runtime.keys import make_key
from tidegate.wire.documents import BreakGlass
from tidegate.wire.envelope import unseal

FIRST = """
service: shop
artifact: {version: "1", path: old}
stages: [{setWeight: 100, bake: 0s, minRequests: 0}]
watch: 0s
"""
SECOND = """
service: shop
artifact: {version: "2", path: new}
rollback: {artifact: {version: "1", path: old}}
stages: [{setWeight: 100, bake: 0s, minRequests: 0}]
control: none
watch: 10m
"""


@pytest.fixture
def promoted(world: World) -> World:
    """Every node runs version 1, then a plan to version 2 is under way."""
    world.artifact("old")
    world.artifact("new")
    assert world.type("rollout", "start", world.plan(FIRST), "--wait", "--timeout", "30s").code == 0
    assert running(world) == {"1"}
    assert world.type("rollout", "start", world.plan(SECOND)).code == 0
    return world


def running(world: World) -> set[str]:
    found = (world.machines[node][0].running("shop") for node in NODES)
    return {one.artifact.version if one is not None else "" for one in found}


def documents(world: World) -> list[BreakGlass]:
    records = [one for one in world.log.topic("desired") if one.key == "breakglass/svc/shop"]
    return [unseal(one.value or b"", BreakGlass, world.home.trust)[0] for one in records]


def test_a_rollback_is_folded_by_a_decision_agent_that_runs(promoted: World) -> None:
    said = promoted.type("breakglass", "rollback", "shop", "--reason", "checkout is on fire", "-o", "json")
    assert said.code == 0, said.err
    assert said.json["folded"] in ("rolling_back", "done")
    assert (documents(promoted)[0].reason, documents(promoted)[0].generation) == ("checkout is on fire", said.json["generation"])
    assert running(promoted) == {"1"}


def test_nodes_obey_when_nobody_decides_and_the_ledger_is_broken(promoted: World) -> None:
    promoted.deciding = False
    asyncio.run(promoted.log.append("decisions", "svc/shop", b"garbage"))
    assert promoted.type("rollout", "abort", "shop").code != 0
    said = promoted.type("breakglass", "rollback", "shop", "--reason", "nobody answers")
    assert (said.code, "no decision agent has folded it" in said.out) == (0, True)
    assert running(promoted) == {"1"}


@pytest.mark.parametrize("action", ["pause", "rollback"])
def test_what_nodes_obey_is_shown_until_a_decision_above_it(promoted: World, action: str) -> None:
    promoted.deciding = False
    seen = [promoted.type("rollout", "status", "shop", "-o", "json").json[0]["generation"]]
    assert promoted.type("breakglass", action, "shop", "--reason", "nobody answers").code == 0
    for command in (("rollout", "status", "shop"), ("rollout", "explain", "shop"), ("fleet", "list")):
        shown = promoted.type(*command).out
        assert f"{action} by " in shown, command
        assert f"(key breakglass) up to generation {seen[0]}" in shown
    glass = promoted.type("rollout", "status", "shop", "-o", "json").json[0]["glass"]
    assert (glass["action"], glass["reason"], glass["key"]) == (action, "nobody answers", "breakglass")
    assert promoted.type("rollout", "explain", "shop", "-o", "json").json["glass"] == glass
    promoted.deciding = True
    assert promoted.type("rollout", "abort", "shop").code in (0, 1)  # whoever comes first: the agent folds the glass itself
    assert "glass" not in promoted.type("rollout", "status", "shop", "-o", "json").json[0]
    assert {row["break_glass"] for row in promoted.type("fleet", "list", "-o", "json").json} == {""}


def test_the_key_may_lie_elsewhere_under_any_name(promoted: World, tmp_path: Path) -> None:
    stick = tmp_path / "stick.key"
    (promoted.home.keys / "breakglass.key").rename(stick)
    without = promoted.type("breakglass", "pause", "shop", "--reason", "x")
    assert (without.code, "holds no breakglass key" in without.err) == (1, True)
    assert promoted.type("breakglass", "pause", "shop", "--reason", "x", "--key", str(stick)).code == 0
    assert len(documents(promoted)) == 1


def test_another_key_breaks_no_glass(promoted: World, tmp_path: Path) -> None:
    make_key(tmp_path / "mallory.key")
    for path in (tmp_path / "mallory.key", promoted.home.keys / "operator.key"):
        refused = promoted.type("breakglass", "rollback", "shop", "--reason", "x", "--key", str(path))
        assert (refused.code, "is no breakglass key" in refused.err) == (1, True)
    assert not documents(promoted)


def test_a_service_without_a_command_needs_a_generation(promoted: World) -> None:
    refused = promoted.type("breakglass", "pause", "till", "--reason", "x")
    assert (refused.code, "no command for svc/till" in refused.err, "--generation" in refused.err) == (1, True, True)
    assert promoted.type("breakglass", "pause", "till", "--reason", "x", "--generation", "7").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["shop"],
        ["shop", "--reason", " "],
        ["shop", "--reason", "x" * 257],
        ["shop", "--reason", "x", "--generation", "-1"],
        ["--reason", "x"],
        ["svc/a b", "--reason", "x"],
    ],
)
def test_what_no_node_could_read_is_not_sent(promoted: World, arguments: list[str]) -> None:
    assert promoted.type("breakglass", "rollback", *arguments).code == 2
    assert not documents(promoted)


def test_a_service_may_be_named_as_lists_show_it(promoted: World) -> None:
    assert promoted.type("breakglass", "pause", "svc/shop", "--reason", "x").code == 0
