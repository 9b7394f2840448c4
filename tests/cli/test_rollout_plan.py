"""What a plan could see, told before anything moves."""

import json

import pytest
import yaml
from tests.cli.kit import World
from tests.cli.test_rollout import FIRST, SECOND

from tidegate.cli import rollout_traffic
from tidegate.cli.rollout_traffic import read
from tidegate.wire.judgement import Kpi
from tidegate.wire.partition import partition_of

PLAN = """
service: shop
artifact: {version: v2, path: shop-v2.tar}
stages: [{setNodes: 1, bake: 60s}, {setWeight: 20, bake: 5m}, {setWeight: 100, bake: 60s}]
"""


def kpi(**fields) -> bytes:
    shown = {
        "service": "shop",
        "cohort": "rest",
        "subject": "svc/shop",
        "placement": "",
        "version": "v1",
        "window_s": 10,
        "start_ms": 0,
    }
    counts = {"end_ms": 10_000, "requests": 3_000, "errors": 30, "nodes": 3, "nodes_expected": 3, "coverage": 1.0, "rate": 300.0}
    return Kpi(**(shown | counts | {"error_ratio": 0.01, "p50_ms": 40.0, "p95_ms": 90.0, "p99_ms": 200.0} | fields)).flat()


@pytest.fixture
def plan(world: World) -> str:
    world.artifact("shop-v2.tar")
    return world.plan(PLAN)


def test_with_nodes_and_traffic_given_no_broker_and_no_fleet_is_asked(world: World, plan: str) -> None:
    told = world.type("rollout", "plan", plan, "--nodes", "40", "--rate", "50", "--errors", "0.1%")
    assert (told.code, told.err) == (0, "")
    assert "40 nodes, 50 requests/s each, 0.10% of them fail" in told.out
    assert not world.log.topic("reports")
    for words in (
        "errors from",
        "slower by",
        "1% after",
        "stage 1: fewer than 3 canaries",
        "stage 3: no node of the old version",
    ):
        assert words in told.out


def test_each_stage_is_a_flat_object(world: World, plan: str) -> None:
    arguments = ("rollout", "plan", plan, "--nodes", "40", "--rate", "50", "--output")
    stages = world.type(*arguments, "json").json
    assert [(one["stage"], one["nodes"], one["controls"], one["bake_s"]) for one in stages] == [
        (1, 1, 1, 60),
        (2, 8, 8, 300),
        (3, 40, 0, 60),
    ]
    assert stages[1]["error_ratio"] < 0.005
    assert stages[1]["seconds_to_1_percent"] > stages[1]["seconds_to_5_percent"]
    assert stages[2]["latency_shift"] is None
    assert yaml.safe_load(world.type(*arguments, "yaml").out) == json.loads(json.dumps(stages))


def test_controls_that_do_not_restart_are_none(world: World, plan: str) -> None:
    observed = world.plan(PLAN + "control: observe\n", "observed.yaml")
    stages = world.type("rollout", "plan", observed, "--nodes", "40", "--rate", "50", "-o", "json").json
    assert [one["controls"] for one in stages] == [0, 0, 0]


def test_a_stage_that_will_wait_for_requests_says_so(world: World, plan: str) -> None:
    told = world.type("rollout", "plan", plan, "--nodes", "40", "--rate", "0.5")
    assert "of minRequests 100: it will wait" in told.out


@pytest.mark.parametrize("wrong", ["2", "150%", "many"])
def test_a_share_that_is_none_is_refused(world: World, plan: str, wrong: str) -> None:
    told = world.type("rollout", "plan", plan, "--nodes", "4", "--rate", "50", "--errors", wrong)
    assert told.code == 2
    assert "is no share of requests" in told.err


def test_faults_of_the_file_are_named(world: World) -> None:
    told = world.type("rollout", "plan", world.plan("service: shop\n"), "--nodes", "4", "--rate", "50")
    assert told.code == 2
    assert "stages" in told.err


def test_a_fleet_that_runs_is_asked_for_its_nodes(world: World, plan: str) -> None:
    world.artifact("shop-v1.tar")
    assert world.type("rollout", "start", world.plan(FIRST, "first.yaml"), "--wait", "--timeout", "20s").code == 0
    told = world.type("rollout", "plan", world.plan(SECOND, "second.yaml"), "--rate", "50")
    assert (told.code, told.err) == (0, "")
    assert "3 nodes, 50 requests/s each" in told.out


def test_before_anything_is_settled_there_is_nobody_to_compare_with(world: World, plan: str) -> None:
    stages = world.type("rollout", "plan", plan, "--rate", "50", "-o", "json").json
    assert all("no node of the old version" in one["warnings"][0] for one in stages)


def test_traffic_is_what_the_kpis_of_the_old_version_say(world: World, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = world.log.reader

    async def with_traffic(topics, **where):
        opened = await reader(topics, **where)
        if "kpis" in topics:
            for data in (kpi(cohort="canary", errors=3_000), kpi(cohort="on", subject="flag/web/dark"), kpi(window_s=1), kpi()):
                await world.log.append("kpis", "shop", data, partition=partition_of("shop", 12))
        return opened

    monkeypatch.setattr(world.log, "reader", with_traffic)
    told = world.type("rollout", "plan", plan, "--nodes", "40")
    assert told.code == 0
    assert "40 nodes, 100 requests/s each, 1.02% of them fail" in told.out
    assert "listening to the KPIs of shop" in told.err


def test_without_any_kpi_the_remedy_is_told(world: World, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_traffic, "LISTEN_S", 0.1)
    told = world.type("rollout", "plan", plan, "--nodes", "40")
    assert told.code == 1
    assert "no KPI of shop came" in told.err
    assert "--rate" in told.err


def test_records_that_are_no_traffic_are_passed_over() -> None:
    assert read(b"{}") is None
    assert read(kpi(requests=0)) is None
    assert read(kpi()) is not None
