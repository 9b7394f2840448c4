"""A fleet that can be moved: real decision agents and node agents on one log, then on another; nodes keep what they hold."""

import asyncio
import contextlib
from pathlib import Path

from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.decider.kit import DECISION, FLEET, NODES, OPERATOR, plan, signer
from tests.decider.test_keys import FIRST, GLASS
from tests.node.kit import bare, config_of

from tidegate.archive.export import BACK
from tidegate.archive.file import Head
from tidegate.decider import Decider
from tidegate.node import NodeAgent, NoneExecutor
from tidegate.node.config import ServiceConfig
from tidegate.ports import Record
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import BreakGlass, Desired, Enrolment, GlassAction, Heartbeat, Intent, KeyRole, Phase, Verb
from tidegate.wire.envelope import seal, unseal
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.keys import trust_of
from tidegate.wire.plans import Action, Rollback, Stage
from tidegate.wire.reasons import Reason
from tidegate.world import MemoryDisk, MemoryLog

TRUST = trust_of(FIRST)
SHOP = "svc/shop"
HEAD = Head(fleet=FLEET, made_ms=1, by="test")


class Fleet:
    """Three nodes; ``pass_s`` lets so many seconds pass."""

    def __init__(self, clock, pass_s) -> None:
        self.clock = clock
        self.pass_s = pass_s
        self.log = None
        self.executors = {node: NoneExecutor(clock) for node in NODES}
        self._disks = {node: MemoryDisk() for node in NODES}
        self._nodes: list[tuple[NodeAgent, asyncio.Task]] = []
        self._lives = 0
        self.decider: tuple[Decider, asyncio.Task] | None = None

    async def wait(self, condition, within_s: float = 100) -> None:
        for _ in range(int(within_s * 2)):
            if condition():
                return
            await self.pass_s(0.5)
        raise AssertionError(f"not within {within_s} s; decided: {self.ledger.subjects if self.decider else None}")

    async def enrol(self) -> None:
        for node in NODES:
            key = signer(node).public(KeyRole.NODE, node)
            await self.log.append("keys", node, seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=0), OPERATOR))

    def serve(self) -> None:
        """Start every node agent, each on what its machine holds."""
        for node in NODES:
            self._lives += 1
            agent = NodeAgent(
                self.log,
                self.clock,
                self._disks[node],
                {"none": self.executors[node]},
                config=replace(config_of(Path(), node=node, shop=ServiceConfig(executor="none")), fleet=FLEET),
                signer=signer(node),
                trust=TRUST,
                boot=f"b{self._lives}",
            )
            self._nodes.append((agent, asyncio.create_task(agent.run())))

    def decide(self) -> None:
        self._lives += 1
        life = f"life-{self._lives}"
        decider = Decider(self.log, self.clock, DECISION, TRUST, life=life, registry=CollectorRegistry())
        self.decider = (decider, asyncio.create_task(decider.run()))

    async def kill(self) -> None:
        """End the decision agent as kill -9 does."""
        self.decider[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.decider[1]
        self.decider = None

    async def resign(self) -> None:
        await self.decider[0].stop()
        await self.wait(self.decider[1].done)
        self.decider = None

    async def leave(self) -> None:
        """Take the nodes off their log; what runs keeps running."""
        for agent, task in self._nodes:
            await agent.stop()
            await self.wait(task.done)
        self._nodes.clear()

    async def end(self) -> None:
        if self.decider is not None:
            await self.kill()
        await self.leave()

    # what people and the judge say

    async def ask(self, document) -> None:
        await self.log.append("plans", SHOP, seal(document, OPERATOR))

    async def begin(self, bake: str = "1h") -> None:
        """v1 everywhere, and v2 on the first node, baking."""
        await self.enrol()
        self.serve()
        self.decide()
        await self.wait(lambda: len(self.decider[0]._inbox.view.reports) == len(NODES))
        await self.ask(plan("p1", artifact=bare("v1")))
        await self.wait(lambda: self.versions() == ["v1"] * 3 and self.ledger.subject(SHOP).phase is Phase.DONE)
        stages = (Stage(set_nodes=1, bake=bake, min_requests=0), Stage(set_weight=100, bake="1s", min_requests=0))
        await self.ask(plan("p2", artifact=bare("v2"), rollback=Rollback(artifact=bare("v1")), stages=stages, control="none"))
        await self.wait(lambda: self.ledger.subject(SHOP).rollout == "p2.1" and self.ledger.subject(SHOP).baking_since_ms)

    async def abort(self) -> None:
        await self._intend(Verb.ABORT)

    async def resume(self) -> None:
        await self._intend(Verb.RESUME)

    async def _intend(self, verb: Verb) -> None:
        generation = self.ledger.subject(SHOP).generation
        name = f"{verb}-{generation}"
        now_ms = self.clock.now_ms()
        intent = Intent(id=name, fleet=FLEET, subject=SHOP, verb=verb, generation=generation, actor="kim", issued_ms=now_ms)
        await self.log.append("intents", SHOP, seal(intent, OPERATOR))

    async def finish(self) -> None:
        """Let the judge pass the rollout until it is over."""
        for _ in range(120):
            if self.ledger.subject(SHOP).phase is Phase.DONE:
                return
            await self.judge(Outcome.PASS)
            await self.pass_s(1)
        raise AssertionError(self.ledger.subject(SHOP))

    async def fail(self) -> None:
        await self.judge(Outcome.FAIL)

    async def judge(self, outcome: Outcome) -> None:
        state = self.ledger.subject(SHOP)
        verdict = Verdict(
            subject=SHOP,
            service="shop",
            epoch=self.ledger.epoch,
            generation=state.generation,
            rollout=state.rollout,
            placement=state.placement,
            stage=state.stage,
            outcome=outcome,
            reason=Reason.GROSS_ERRORS if outcome is Outcome.FAIL else Reason.CLEAN,
            action=Action.ROLLBACK if outcome is Outcome.FAIL else None,
            canary_requests=1_000,
            last_pane_ms=self.clock.now_ms(),
            clock_ms=self.clock.now_ms(),
        )
        await self.log.append("verdicts", SHOP, encode(verdict))

    async def glass(self, name: str = "g1", action: GlassAction = GlassAction.ROLLBACK) -> None:
        document = BreakGlass(
            id=name,
            fleet=FLEET,
            subject=SHOP,
            root_version=1,
            generation=self.ledger.subject(SHOP).generation,
            action=action,
            actor="ann",
            reason="fire",
            issued_ms=1,
        )
        await self.log.append("desired", f"breakglass/{SHOP}", seal(document, GLASS))

    # what one sees

    @property
    def ledger(self):
        return self.decider[0]._book.ledger if self.decider is not None else self._last

    def remember(self) -> None:
        """Keep the ledger of an agent that is about to go, for what is asked while none is there."""
        self._last = self.ledger

    def versions(self) -> list[str]:
        found = [executor.running("shop") for executor in self.executors.values()]
        return [one.artifact.version if one is not None else "" for one in found]

    def launches(self) -> list[list[str]]:
        return [[launch.artifact.version for launch in executor.launches] for executor in self.executors.values()]


def commands(records: list[Record]) -> list[Desired]:
    return [unseal(record.value, Desired, TRUST)[0] for record in records if record.key == SHOP and record.topic == "desired"]


def decisions(records: list[Record]) -> list[Decision]:
    return [decode(record.value, Decision) for record in records]


class Died(Exception):
    """The machine that restores is gone."""


class Target:
    """``tidegate.archive.Target`` on a log in memory. It dies before the operation of number ``dies_at``."""

    def __init__(self, log: MemoryLog, dies_at: int = -1) -> None:
        self.log = log
        self.dies_at = dies_at
        self.topics: set[str] = set()
        """Those that agents can see."""
        self.settled: list[str] = []
        self.done = 0

    def _step(self) -> None:
        if self.done == self.dies_at:
            raise Died
        self.done += 1

    async def held(self) -> list[str]:
        return [topic for topic in BACK if self.log.topic(topic)]

    async def leader(self) -> str:
        beats = [one for one in self.log.topic("desired") if one.key == "heartbeat"]
        beat = unseal(beats[-1].value, Heartbeat, TRUST)[0] if beats else None
        fresh = beat is not None and not beat.resigned and self.log._clock.now_ms() - beats[-1].time_ms < 9_000
        return beat.life if beat is not None and fresh else ""

    async def clear(self) -> None:
        for topic in BACK[::-1]:
            self._step()
            self.topics.discard(topic)
            for at in self.log.records:
                if at[0] == topic:
                    self.log.records[at].clear()

    async def make(self, topic: str) -> None:
        self._step()
        if topic in self.topics:
            raise Problem(f"another process has made {topic}")
        self.topics.add(topic)

    async def write(self, records) -> None:
        for record in records:
            self._step()
            assert record.topic in self.topics
            there = self.log.records[record.topic, record.partition]
            there.append(record._replace(offset=len(there)))

    async def finish(self, topics) -> None:
        self._step()
        self.settled += topics
