"""Everything at a glance: what is counted, and what it costs for a thousand nodes and a hundred services."""

import time
from collections.abc import Callable

import msgspec
from msgspec.structs import replace
from tests.rollout.fleet import SHOP, Fleet, artifact, plan

from tidegate.model import Model
from tidegate.model.overview import Group, fleet_glance, rollout_glances
from tidegate.rollout.view import SeenReport, View
from tidegate.wire.documents import Phase, Report, ServiceReport
from tidegate.wire.envelope import Trust
from tidegate.wire.telemetry import ServiceState

NODES, SERVICES, HOSTED = 1_000, 100, 10


def everything(_: str) -> bool:
    return True


def modelled(fleet: Fleet) -> Model:
    """What a tool knows of a fleet."""
    model = Model(Trust("test", 1, {}))
    model.ledger, model.view = fleet.ledger, fleet.view
    return model


def under_way() -> Fleet:
    """One service, its second version on the canary."""
    fleet = Fleet(nodes=12)
    fleet.submit(plan("1", None, id="first", watch="0s"))
    fleet.turn(60)
    fleet.submit(plan("2"))
    fleet.turn(5)
    assert (fleet.state().phase, fleet.state().stage) == (Phase.RUNNING, 0)
    return fleet


def test_nodes_are_counted_by_what_they_run_and_who_is_away_by_that() -> None:
    fleet = under_way()
    away = fleet.on("1")[-1]
    for node in fleet.nodes.values():
        node.away = node.name == away
    fleet.turn(95)
    model = modelled(fleet)
    found = fleet_glance(model, fleet.now_ms, everything)
    assert (found.nodes, found.states) == (12, {"reachable": 11, "unreachable": 1})
    assert sum(one.nodes for one in found.groups) == 12
    assert [one.nodes for one in found.groups if one.state == "unreachable"] == [1]
    hidden = fleet_glance(model, fleet.now_ms, lambda subject: subject != SHOP)
    assert (hidden.nodes, hidden.groups) == (0, ())


def test_a_rollout_is_told_with_its_stage_its_verdict_and_what_it_lacks() -> None:
    fleet = under_way()
    (one,) = rollout_glances(modelled(fleet), fleet.now_ms, everything)
    assert (one.service, one.version, one.settled, one.stage, one.stages) == ("shop", "2", "1", 1, 3)
    assert (one.outcome, one.released, one.roster, one.bake_ms) == ("pass", 1, 12, 10_000)
    assert "baking" in one.lacks


def test_a_thousand_nodes_and_a_hundred_services_are_one_answer(say: Callable[[str], None]) -> None:
    model, now_ms = grown(under_way())
    began_s = time.process_time()
    fleet, rollouts = fleet_glance(model, now_ms, everything), list(rollout_glances(model, now_ms, everything))
    took_ms = (time.process_time() - began_s) * 1_000
    size_kb = len(msgspec.json.encode((fleet, rollouts))) / 1_000
    assert (fleet.nodes, sum(one.nodes for one in fleet.groups)) == (NODES, NODES * HOSTED)
    of_one = [one for one in fleet.groups if one.service == "s00"]
    assert Group(service="s00", cohort="canary", version="2", state="ready", nodes=1) in of_one
    assert (len(rollouts), {one.stage for one in rollouts}) == (SERVICES, {1})
    say(f"overview of {NODES} nodes and {SERVICES} services in rollouts: {took_ms:.0f} ms of CPU, {size_kb:.0f} kB of JSON")


def grown(fleet: Fleet) -> tuple[Model, int]:
    """The same rollout of a hundred services, each on a hundred of a thousand nodes."""
    model, now_ms, state = modelled(fleet), fleet.now_ms, fleet.state()
    names = [f"s{number:02}" for number in range(SERVICES)]
    nodes = {f"n{number:03}": [names[(number + at) % SERVICES] for at in range(HOSTED)] for number in range(NODES)}
    hosts = {name: tuple(node for node, hosted in nodes.items() if name in hosted) for name in names}
    (shop,), accepted = fleet.ledger.rosters.values(), fleet.ledger.plans[state.plan_digest]
    verdict = fleet.view.verdicts[SHOP]
    model.ledger = replace(
        fleet.ledger,
        subjects={f"svc/{name}": replace(state, subject=f"svc/{name}", plan_digest=name) for name in names},
        rosters={f"svc/{name}": replace(shop, subject=f"svc/{name}", nodes=hosts[name]) for name in names},
        plans={name: replace(accepted, plan=replace(accepted.plan, service=name)) for name in names},
    )
    model.view = View(
        fleet="test",
        enrolled=frozenset(nodes),
        reports={node: seen(node, hosted, hosts, now_ms) for node, hosted in nodes.items()},
        verdicts={f"svc/{name}": replace(verdict, subject=f"svc/{name}", service=name) for name in names},
    )
    return model, now_ms


def seen(node: str, hosted: list[str], hosts: dict[str, tuple[str, ...]], now_ms: int) -> SeenReport:
    """Each service's first node is its canary."""
    versions = {name: artifact("2" if hosts[name][0] == node else "1") for name in hosted}
    said = tuple(
        ServiceReport(service=name, executor="none", state=ServiceState.READY, version=one.version, digest=one.sha256)
        for name, one in versions.items()
    )
    report = Report(fleet="test", node=node, boot="b", counter=1, issued_ms=now_ms, agent_version="0", services=said)
    return SeenReport(report, now_ms, {one.service: one for one in said}, dict.fromkeys(hosted, now_ms))
