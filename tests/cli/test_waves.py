"""Groups on the command line, against the real agents on a log in memory: one file, one signature each, one answer."""

import io

import pytest
import yaml
from rich.console import Console
from tests.cli.kit import NODES, World

from tidegate.cli.rollout_watch import group_picture
from tidegate.cli.session import Exit
from tidegate.model import TOPICS, Model
from tidegate.wire.envelope import unseal
from tidegate.wire.groups import Group
from tidegate.wire.plans import Plan

SERVICES = ("shop", "till")


def plan_of(service: str, version: str, stages: str) -> str:
    rest = "maxUnavailable: 100%\nwatch: 0s\n"
    return f"service: {service}\nartifact: {{version: {version}, path: {service}-{version}.tar}}\nstages: {stages}\n{rest}"


def grouped(world: World, version: str, stages: str = "[{setWeight: 100, bake: 0s, minRequests: 0}]", **last: str) -> str:
    """Write a plan for each service, and the group file that names them in two waves; return its path."""
    for service in SERVICES:
        world.artifact(f"{service}-{version}.tar")
        world.plan(plan_of(service, version, last.get(service, stages)), f"{service}.yaml")
    return world.plan("name: both\nwaves:\n- {plans: [shop.yaml], bake: 50ms}\n- {plans: [till.yaml]}\n", "group.yaml")


def drawn(world: World) -> str:
    """Return what a terminal of 110 by 20 shows who watches the group."""
    model = Model(world.home.trust)
    model.see([record for topic in TOPICS for record in world.log.topic(topic)])
    console = Console(width=110, height=20, record=True, file=io.StringIO())
    console.print(group_picture(model, "group/both", model.ledger.now_ms, console.size))
    return console.export_text()


@pytest.fixture
def two(world: World) -> World:
    """Nodes that run both services."""
    for node in NODES:
        path = world.home.nodes / f"{node}.yaml"
        path.write_text(path.read_text().replace("{shop: {executor: none}}", "{shop: {executor: none}, till: {executor: none}}"))
    return world


def test_a_group_file_is_signed_in_one_go_and_followed_to_its_end(two: World) -> None:
    done = two.type("rollout", "start", grouped(two, "v1"), "--wait", "--timeout", "30s")
    assert (done.code, done.err) == (Exit.OK, "")
    for told in (
        "accept    group/both",
        "start     shop",
        "bake      group/both",
        "promote   group/both",
        "complete  group/both",
    ):
        assert told in done.out
    (record,) = two.log.topic("plans")
    group, _ = unseal(record.value or b"", Group, two.home.trust)
    assert record.key == "group/both"
    assert [unseal(one.encode(), Plan, two.home.trust)[0].service for wave in group.waves for one in wave.plans] == [*SERVICES]


def test_a_group_is_looked_at_paused_aborted_and_explained(two: World) -> None:
    assert two.type("rollout", "start", grouped(two, "v1"), "--wait", "--timeout", "30s").code == 0
    slow = grouped(two, "v2", shop="[{setNodes: 1, bake: 1h}, {setWeight: 100}]")
    assert two.type("rollout", "start", slow).code == 0
    assert two.type("rollout", "pause", "group/both", "--reason", "lunch").code == 0
    status = two.type("rollout", "status", "group/both").out
    assert "group/both: paused (asked), wave 1 of 2" in status
    assert "shop v2: running, stage 1 of 2" in status
    assert "wave 2   till v2: waits\n" in status
    assert "it is of wave 2 of group/both, and wave 1 is under way" in two.type("rollout", "status", "till").out
    rows = two.type("rollout", "status", "-o", "json").json
    assert [row["subject"] for row in rows] == ["group/both", "svc/shop", "svc/till"]
    frame = drawn(two)
    for told in ("group/both: paused (asked), wave 1 of 2", "wave 2   till v2: waits", "pause", "lunch", "shop: "):
        assert told in frame
    assert two.type("rollout", "abort", "group/both").code == 0
    waited = two.type("rollout", "status", "group/both", "-o", "json").json[0]
    assert waited["result"] == "aborted"
    story = two.type("rollout", "explain", "group/both").out
    for told in ("accept    group/both", "pause     group/both", "lunch", "rollback  group/both", "rollback  shop"):
        assert told in story
    rows = two.type("rollout", "explain", "group/both", "-o", "json").json["decisions"]
    assert [row["kind"] for row in rows][:3] == ["accept"] * 3


def test_every_fault_of_every_plan_is_told_before_anything_moves(two: World) -> None:
    file = grouped(two, "v1")
    two.plan(plan_of("shop", "v9", "[{setWeight: 50}]"), "shop.yaml")
    two.plan("name: both\nwaves:\n- {plans: [shop.yaml, till.yaml]}\n- {plans: [till.yaml, none.yaml]}\n", "group.yaml")
    refused = two.type("rollout", "start", file)
    assert refused.code == Exit.USAGE
    for told in (
        "waves[0].plans[0]: shop.yaml: artifact.path: ",
        "waves[0].plans[0]: shop.yaml: stages[0].setWeight: the last stage must be setWeight: 100",
        "waves[1].plans[0]: till.yaml: till is in waves[0].plans[1] already",
        "waves[1].plans[1]: none.yaml: ",
    ):
        assert told in refused.err
    assert two.log.topic("plans") == []
    assert "group.yaml is a group" in two.type("rollout", "plan", file, "--nodes", "4", "--rate", "50").err


def test_a_group_that_decide_refuses_ends_with_its_record_and_code_1(two: World) -> None:
    assert two.type("rollout", "start", grouped(two, "v1"), "--wait", "--timeout", "30s").code == 0
    slow = grouped(two, "v2", shop="[{setNodes: 1, bake: 1h}, {setWeight: 100}]")
    assert two.type("rollout", "start", slow).code == 0
    refused = two.type("rollout", "start", grouped(two, "v3"))
    assert refused.code == Exit.FAILED
    assert "group/both is running" in refused.out


def test_a_group_that_nobody_knows_is_named(two: World) -> None:
    for command in ("status", "explain", "watch"):
        assert "there is no group/none" in two.type("rollout", command, "group/none").err
    assert "there is no group/none" in two.type("rollout", "abort", "group/none").out


REGIONAL = """
service: shop
artifact: {version: v2, path: shop-v2.tar}
waves: [[b], [a]]
stages: [{setWave: 1, bake: 0s, minRequests: 0}, {setWave: 2, bake: 0s, minRequests: 0}, {setWeight: 100}]
watch: 0s
"""


def test_a_plan_whose_zones_come_in_waves_is_looked_at_with_the_zones_of_the_fleet(world: World) -> None:
    for node, zone in zip(NODES, "aba", strict=True):
        path = world.home.nodes / f"{node}.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"zone": zone}))
    world.artifact("shop-v1.tar")
    world.artifact("shop-v2.tar")
    first = world.plan(plan_of("shop", "v1", "[{setWeight: 100, bake: 0s, minRequests: 0}]"), "first.yaml")
    assert world.type("rollout", "start", first, "--wait", "--timeout", "20s").code == 0
    stages = world.type("rollout", "plan", world.plan(REGIONAL), "--rate", "50", "-o", "json").json
    assert [one["nodes"] for one in stages] == [1, 3, 3]
    nowhere = world.type("rollout", "plan", world.plan(REGIONAL.replace("[a]", "[a], [mars]")), "--rate", "50")
    assert (nowhere.code, "waves[2]: no eligible node is in mars" in nowhere.err) == (Exit.USAGE, True)
    guessed = world.type("rollout", "plan", world.plan(REGIONAL), "--nodes", "40", "--rate", "50")
    assert (guessed.code, "--nodes names none" in guessed.err) == (Exit.USAGE, True)
    assert world.type("rollout", "start", world.plan(REGIONAL)).code == 0
    facts = world.type("rollout", "explain", "shop", "-o", "json").json["decisions"]
    given = [row["facts"]["batch"] for row in facts if row["kind"] == "release"]
    assert given in ([], [["n2"]])
