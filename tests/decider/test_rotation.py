"""P18: keys rotate and are revoked while a rollout runs, with the real decision agents and the real node agents.

What is valid is never refused, the rollout ends as if nothing had happened, and what a revoked key says counts for nothing once
its key document is read.
"""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.decider.kit import DECISION, FLEET, NODES, OPERATOR, plan, signer
from tests.decider.test_keys import FIRST, GLASS, SECOND, Keyed
from tests.node.kit import bare, config_of

from tidegate.node import NodeAgent, NoneExecutor
from tidegate.node.config import ServiceConfig
from tidegate.wire.documents import BreakGlass, Claim, Enrolment, GlassAction, KeyRole, Move, Phase
from tidegate.wire.envelope import seal
from tidegate.wire.keys import trust_of
from tidegate.wire.plans import Rollback, Stage
from tidegate.world import MemoryDisk

STAGES = tuple(Stage(bake="5s", min_requests=0, **size) for size in ({"set_nodes": 1}, {"set_nodes": 2}, {"set_weight": 100}))


class Fleet(Keyed):
    """Three real nodes beside the decision agents."""

    def __init__(self) -> None:
        super().__init__()
        self.executors = {node: NoneExecutor(self.clock) for node in NODES}
        self.agents: dict[str, NodeAgent] = {}
        self.running_agents: list[asyncio.Task] = []

    async def enrol(self) -> None:
        for node in NODES:
            key = signer(node).public(KeyRole.NODE, node)
            await self.log.append("keys", node, seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=0), OPERATOR))
            config = config_of(Path(), node=node, shop=ServiceConfig(executor="none"))
            agent = self.agents[node] = NodeAgent(
                self.log,
                self.clock,
                MemoryDisk(),
                {"none": self.executors[node]},
                config=replace(config, fleet=FLEET),
                signer=signer(node),
                trust=trust_of(FIRST),
                boot=f"boot-{node}",
            )
            self.running_agents.append(asyncio.create_task(agent.run()))

    async def end(self) -> None:
        await super().end()
        for agent, task in zip(self.agents.values(), self.running_agents, strict=True):
            await agent.stop()
            await task

    def versions(self) -> list[str]:
        found = [executor.running("shop") for executor in self.executors.values()]
        return [one.artifact.version if one is not None else "" for one in found]

    def refused(self) -> int:
        return sum(sum(agent.figures().refused.values()) for agent in self.agents.values())

    async def stage(self, number: int) -> None:
        """Let a rollout come to a stage."""
        for _ in range(600):
            said = self.said()
            if said is not None and (said.stage >= number or said.phase is Phase.DONE):
                return
            await self.clock.advance(0.1)
        raise AssertionError(f"stage {number} was not reached: {self.said()}")


@pytest.fixture
async def fleet():
    fleet = Fleet()
    await fleet.enrol()
    yield fleet
    await fleet.end()


async def test_every_key_rotates_while_a_rollout_runs_and_nobody_notices(fleet):
    fleet.run("a")
    await fleet.ask(plan(artifact=bare("v1"), stages=STAGES))
    await fleet.stage(0)
    await fleet.keys(add=(SECOND,))
    fleet.run("b", SECOND)
    await fleet.stage(1)
    await fleet.stop("a")
    await fleet.stage(2)
    assert fleet.refused() == 0, "old key and new key count side by side"
    assert fleet.leaders() == ["b"]
    await fleet.keys(DECISION)
    await fleet.clock.advance(30)
    assert (fleet.said().phase, fleet.said().root_version) == (Phase.DONE, 3)
    assert fleet.versions() == ["v1"] * 3
    assert [len(executor.launches) for executor in fleet.executors.values()] == [1, 1, 1], "nobody was restarted for it"
    assert not [one for one in fleet.decisions() if one.kind in ("pause", "rollback", "refuse")]


async def test_what_a_stolen_key_says_after_its_revocation_counts_for_nothing(fleet):
    fleet.run("a")
    await fleet.ask(plan(artifact=bare("v1"), stages=STAGES))
    await fleet.stage(1)
    await fleet.keys(DECISION, add=(SECOND,))
    fleet.run("b", SECOND)
    await fleet.clock.advance(1)
    before = fleet.refused()
    thief = replace(fleet.said(), epoch=99, generation=1 << 40, phase=Phase.ROLLING_BACK, move=Move.RETREAT, cohorts=())
    claim = Claim(fleet=FLEET, epoch=99, life="thief", read_to=0, issued_ms=0)
    await fleet.log.append("desired", "claim/99/thief", seal(claim, DECISION))
    await fleet.log.append("desired", "svc/shop", seal(thief, DECISION))
    await fleet.clock.advance(1)
    assert fleet.refused() == before + 2 * len(NODES)
    assert fleet.leaders() == ["b"], "the author says its level again, for the thief's stood last (E6)"
    assert fleet.said().root_version == 2
    await fleet.stage(2)
    await fleet.clock.advance(60)
    assert (fleet.said().phase, fleet.versions()) == (Phase.DONE, ["v1"] * 3)


async def test_a_rollback_by_break_glass_reaches_every_node_and_the_ledger(fleet):
    fleet.run("a")
    await fleet.ask(plan("p0", artifact=bare("v1")))
    await fleet.clock.advance(60)
    assert fleet.versions() == ["v1"] * 3
    stages = (Stage(set_nodes=1, bake="1h", min_requests=0), Stage(set_weight=100))
    await fleet.ask(plan("p1", artifact=bare("v2"), rollback=Rollback(artifact=bare("v1")), stages=stages, control="none"))
    for _ in range(100):
        await fleet.clock.advance(1)
        if "v2" in fleet.versions():
            break
    assert sorted(fleet.versions()) == ["v1", "v1", "v2"]
    await fleet.kill("a")
    document = BreakGlass(
        id="g",
        fleet=FLEET,
        subject="svc/shop",
        root_version=1,
        generation=fleet.said().generation,
        action=GlassAction.ROLLBACK,
        actor="ann",
        reason="fire",
        issued_ms=1,
    )
    await fleet.log.append("desired", "breakglass/svc/shop", seal(document, GLASS))
    await fleet.clock.advance(5)
    assert fleet.versions() == ["v1"] * 3, "without any decision agent"
    fleet.run("b")
    await fleet.clock.advance(60)
    assert (fleet.said().phase, fleet.said().settled.version) == (Phase.DONE, "v1")
    assert all(agent.held("shop").accepted.glass is None for agent in fleet.agents.values()), "the ledger says it by now"
