"""A fleet's keys, documents and deciders on a simulated world."""

import asyncio
import contextlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from tidegate.decider import Decider
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Enrolment, KeyRole, Report, Root, ServiceReport
from tidegate.wire.envelope import Signer, seal, trust_of
from tidegate.wire.plans import Artifact, Plan, Stage
from tidegate.wire.telemetry import ServiceState
from tidegate.world import MemoryLog, SimClock

FLEET = "f"


def signer(name: str) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")))


OPERATOR, DECISION, STRANGER = signer("operator"), signer("decision"), signer("stranger")
NODES = ("n1", "n2", "n3")
TRUST = trust_of(
    Root(fleet=FLEET, version=1, keys=(OPERATOR.public(KeyRole.OPERATOR), DECISION.public(KeyRole.DECISION)), issued_ms=0)
)


def plan(identity="p1", **fields) -> Plan:
    fields = {
        "id": identity,
        "fleet": FLEET,
        "service": "shop",
        "artifact": Artifact(version="v1", sha256="a" * 64),
        "stages": (Stage(set_weight=100, bake="1s", min_requests=0),),
        "expires_ms": 1 << 42,
        "watch": "0s",
        "max_unavailable": "100%",
    } | fields
    return Plan(**fields)


class World:
    """One log and clock, enrolled nodes, and as many deciders as a test starts."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.deciders: dict[str, Decider] = {}
        self._tasks: dict[str, asyncio.Task] = {}

    async def enrol(self) -> None:
        for node in NODES:
            key = signer(node).public(KeyRole.NODE, node)
            await self.log.append("keys", node, seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=0), OPERATOR))
            await self.report(node)

    async def report(self, node, **service) -> None:
        services = (ServiceReport(**({"service": "shop", "executor": "none", "state": ServiceState.STOPPED} | service)),)
        report = Report(
            fleet=FLEET, node=node, boot="b", counter=1, issued_ms=self.clock.now_ms(), agent_version="t", services=services
        )
        await self.log.append("reports", node, seal(report, signer(node)))

    def start(self, life: str) -> Decider:
        decider = Decider(self.log, self.clock, DECISION, TRUST, life=life, registry=CollectorRegistry())
        self.deciders[life] = decider
        self._tasks[life] = asyncio.create_task(decider.run())
        return decider

    async def kill(self, life: str) -> None:
        """End a decider as kill -9 does: nothing is said."""
        task = self._tasks.pop(life)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def stop(self, life: str) -> None:
        await self.deciders[life].stop()
        await self.clock.advance(1)
        await self._tasks.pop(life)

    async def end(self) -> None:
        for life in list(self._tasks):
            await self.kill(life)

    async def ask(self, document, by=OPERATOR) -> bytes:
        envelope = seal(document, by)
        await self.log.append("plans", "svc/shop", envelope)
        return envelope

    def decisions(self) -> list[Decision]:
        return [decode(record.value, Decision) for record in self.log.topic("decisions")]

    def kinds(self) -> list[str]:
        return [str(decision.kind) for decision in self.decisions() if decision.subject]

    def level(self, key: str) -> bytes | None:
        return next((record.value for record in reversed(self.log.topic("desired")) if record.key == key), None)
