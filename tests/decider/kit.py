"""A fleet's keys, documents and deciders on a simulated world."""

import asyncio
import contextlib
from collections import Counter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from tidegate.decider import Decider
from tidegate.rollout.ledger import rebuild
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Desired, Enrolment, Intent, KeyRole, Report, Root, ServiceReport, Verb, digest
from tidegate.wire.envelope import Signer, Trust, seal, unseal
from tidegate.wire.keys import trust_of
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


def desired(value: bytes) -> Desired:
    return unseal(value, Desired, TRUST)[0]


def counted(world: "World") -> list[Decision]:
    """Return the records that are not void: those that the hash chain of the whole ledger goes through."""
    records = world.log.topic("decisions")
    by_digest = {digest(record.value): decode(record.value, Decision) for record in records}
    head = rebuild((record.offset, record.value) for record in records).head
    found = []
    while head:
        found.append(by_digest[head])
        head = by_digest[head].prev
    return found[::-1]


class Grip:
    """A log as one process has it: held, the process stands still at its next call, as under SIGSTOP."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._free = asyncio.Event()
        self._free.set()
        self._hold_at = ""
        self.standing = asyncio.Event()

    def hold(self, before_append_to: str = "") -> None:
        """Stop the process at its next call, or just before it appends to a topic."""
        self.standing.clear()
        self._hold_at = before_append_to
        if not before_append_to:
            self._free.clear()

    def release(self) -> None:
        self._hold_at = ""
        self._free.set()

    async def pass_by(self, topic: str = "") -> None:
        if topic and topic == self._hold_at:
            self._free.clear()
        if not self._free.is_set():
            self.standing.set()
        await self._free.wait()

    async def append(self, topic, key, value, *, partition=None, headers=None):
        await self.pass_by(topic)
        return await self._log.append(topic, key, value, partition=partition, headers=headers)

    async def reader(self, topics, *, start="earliest", partitions=None):
        return GripReader(self, await self._log.reader(topics, start=start, partitions=partitions))

    async def close(self) -> None: ...


class GripReader:
    def __init__(self, grip: Grip, reader) -> None:
        self._grip = grip
        self._reader = reader
        self.positions = reader.positions
        self.close = reader.close

    async def read_to_end(self):
        await self._grip.pass_by()
        return await self._reader.read_to_end()

    async def poll(self, timeout_s):
        found = await self._reader.poll(timeout_s)
        await self._grip.pass_by()
        return found


class Ahead:
    """A clock whose wall time is wrong by some hours."""

    def __init__(self, clock: SimClock, hours: float) -> None:
        self._ahead_ms = int(hours * 3_600_000)
        self._clock = clock
        self.monotonic_s = clock.monotonic_s
        self.sleep = clock.sleep

    def now_ms(self) -> int:
        return self._clock.now_ms() + self._ahead_ms


class World:
    """One log and clock, enrolled nodes, and as many deciders as a test starts."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.deciders: dict[str, Decider] = {}
        self.grips: dict[str, Grip] = {}
        self._counters: Counter[str] = Counter()
        self._tasks: dict[str, asyncio.Task] = {}

    async def enrol(self) -> None:
        for node in NODES:
            key = signer(node).public(KeyRole.NODE, node)
            await self.log.append("keys", node, seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=0), OPERATOR))
            await self.report(node)

    async def report(self, node, **service) -> None:
        services = (ServiceReport(**({"service": "shop", "executor": "none", "state": ServiceState.STOPPED} | service)),)
        self._counters[node] += 1
        counter = self._counters[node]
        report = Report(
            fleet=FLEET, node=node, boot="b", counter=counter, issued_ms=self.clock.now_ms(), agent_version="t", services=services
        )
        await self.log.append("reports", node, seal(report, signer(node)))

    async def follow(self) -> None:
        """Let every node do what is desired, at once, and say so."""
        value = self.level("svc/shop")
        if value is None:
            return
        command = desired(value)
        for node in NODES:
            if command.cohorts:
                artifact = ServiceReport(
                    service="shop",
                    executor="none",
                    state=ServiceState.READY,
                    version=command.cohorts[0].version,
                    digest="a" * 64,
                    token=command.cohorts[0].token,
                )
                fields = {name: getattr(artifact, name) for name in ("state", "version", "digest", "token")}
            else:
                fields = {}
            await self.report(node, order=command.order, prefetched=("v1",), **fields)

    def start(self, life: str, clock=None, by: Signer = DECISION, trust: Trust = TRUST, registry=None) -> Decider:
        grip = self.grips[life] = self.grip()
        decider = Decider(grip, clock or self.clock, by, trust, life=life, registry=registry or CollectorRegistry())
        self.deciders[life] = decider
        self._tasks[life] = asyncio.create_task(decider.run())
        return decider

    def grip(self) -> Grip:
        """Return the log as the next process has it."""
        return Grip(self.log)

    @property
    def running(self) -> list[str]:
        return sorted(self._tasks)

    def leaders(self) -> list[str]:
        return [life for life in self.running if self.deciders[life].leading]

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

    async def intend(self, identity: str, verb=Verb.PAUSE, generation=0, by=OPERATOR) -> None:
        intent = Intent(
            id=identity,
            fleet=FLEET,
            subject="svc/shop",
            verb=verb,
            generation=generation,
            actor="kim",
            issued_ms=self.clock.now_ms(),
        )
        await self.log.append("intents", "svc/shop", seal(intent, by))

    def decisions(self) -> list[Decision]:
        return [decode(record.value, Decision) for record in self.log.topic("decisions")]

    def kinds(self) -> list[str]:
        return [str(decision.kind) for decision in self.decisions() if decision.subject]

    def level(self, key: str) -> bytes | None:
        return next((record.value for record in reversed(self.log.topic("desired")) if record.key == key), None)
