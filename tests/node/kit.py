"""A fleet of one service in small: keys, plans, and an author who claims epochs and says what should run."""

import asyncio
import contextlib
import hashlib
import json
from pathlib import Path
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from tidegate.broker.local import free_ports
from tidegate.node import NodeConfig
from tidegate.node.config import Kafka, Keys, ServiceConfig
from tidegate.ports import SendUnknown
from tidegate.wire.documents import (
    Claim,
    Cohort,
    Desired,
    Heartbeat,
    KeyRole,
    Move,
    Phase,
    Report,
    Root,
    Roster,
    digest,
    digest_of,
    standing_digest,
)
from tidegate.wire.envelope import Signer, Trust, seal, unseal
from tidegate.wire.keys import trust_of
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Artifact, Plan, Rollback, Stage
from tidegate.wire.reasons import Reason

FLEET = "test"
SERVER = str(Path(__file__).with_name("server.py"))
FOREVER_MS = 1 << 42


def signer(name: str) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


_SAID: WeakKeyDictionary[object, dict[tuple[int, str], int]] = WeakKeyDictionary()
"""What was said on a log, by whichever author of it: (epoch, subject) to the greatest generation."""


class Author:
    """The operator and the decider in one: signs plans, claims an epoch, publishes desired documents."""

    def __init__(self, log, service: str = "shop", nodes: tuple[str, ...] = ("n1",), epoch: int = 1) -> None:
        self.log = log
        self.service = service
        self.subject = service_subject(service)
        self.epoch = epoch
        self.generation = 0
        self.beats = 0
        self.operator = signer("operator")
        self.decision = signer("decision")
        self.roster = Roster(fleet=FLEET, subject=self.subject, rollout="r.1", nodes=nodes)
        keys = (
            signer("root").public(KeyRole.ROOT),
            self.operator.public(KeyRole.OPERATOR),
            self.decision.public(KeyRole.DECISION),
        )
        self.root = Root(fleet=FLEET, version=1, keys=keys, issued_ms=0)
        self.plan: Plan | None = None
        self.envelope = b""

    @property
    def trust(self) -> Trust:
        return trust_of(self.root)

    async def claim(self, epoch: int | None = None) -> None:
        self.epoch = self.epoch if epoch is None else epoch
        claim = Claim(fleet=FLEET, epoch=self.epoch, life=f"life-{self.epoch}", read_to=0, issued_ms=0)
        await self.log.append("desired", f"claim/{self.epoch}/life-{self.epoch}", seal(claim, self.decision))

    async def start(self, new: Artifact, old: Artifact | None, name: str = "r") -> None:
        """Publish an operator's plan and its roster."""
        rollback = Rollback(artifact=old) if old is not None else None
        stages = (Stage(set_weight=100),)
        self.plan = Plan(
            id=name, fleet=FLEET, service=self.service, artifact=new, rollback=rollback, stages=stages, expires_ms=FOREVER_MS
        )
        self.envelope = seal(self.plan, self.operator)
        self.roster = replace(self.roster, rollout=f"{name}.1")
        await self.log.append("desired", f"plan/{self.subject}", self.envelope)
        await self.log.append("desired", f"roster/{self.subject}", seal(self.roster, self.decision))

    def desired(self, **changes) -> Desired:
        """Return the next document; ``changes`` are its fields."""
        self.generation += 1
        document = Desired(
            fleet=FLEET,
            subject=self.subject,
            service=self.service,
            root_version=1,
            epoch=self.epoch,
            generation=self.generation,
            phase=Phase.RUNNING,
            move=Move.ADVANCE,
            reason=Reason.STARTED,
            plan_digest=digest(self.envelope),
            roster_digest=digest_of(self.roster),
            rollout=self.roster.rollout,
            settled=self.plan.rollback.artifact if self.plan is not None and self.plan.rollback is not None else None,
        )
        return replace(document, **changes)

    async def say(self, document: Desired) -> Desired:
        await self.log.append("desired", self.subject, seal(document, self.decision))
        said = _SAID.setdefault(self.log, {})
        at = (document.epoch, document.subject)
        said[at] = max(said.get(at, 0), document.generation)
        await self.beat()
        return document

    async def beat(self) -> None:
        self.beats += 1
        life = f"life-{self.epoch}"
        standing = standing_digest(
            {subject: at for (epoch, subject), at in _SAID.get(self.log, {}).items() if epoch == self.epoch}
        )
        beat = Heartbeat(fleet=FLEET, epoch=self.epoch, life=life, seq=self.beats, issued_ms=0, digest=standing)
        await self.log.append("desired", "heartbeat", seal(beat, self.decision))

    async def beating(self, clock) -> None:
        """Live for ever: a heartbeat every 3 s, where there is a broker."""
        while True:
            with contextlib.suppress(SendUnknown):
                await self.beat()
            await clock.sleep(3)

    async def advance(self, count: int = 1, token: str = "", **changes) -> Desired:
        cohort = Cohort(name="canary", first=0, count=count, version=self.plan.artifact.version, token=token)
        return await self.say(self.desired(cohorts=(cohort,), released=count, **changes))

    async def settle(self, **changes) -> Desired:
        """Everything was promoted."""
        return await self.say(self.desired(phase=Phase.DONE, move=Move.HOLD, settled=self.plan.artifact, **changes))

    async def retreat(self) -> Desired:
        return await self.say(self.desired(phase=Phase.ROLLING_BACK, move=Move.RETREAT))


def node_signer(node: str = "n1") -> Signer:
    return signer(f"node-{node}")


def report_of(value: bytes, node: str = "n1") -> Report:
    key = node_signer(node).public(KeyRole.NODE, node)
    return unseal(value, Report, Trust(FLEET, 1, {key.id: key}))[0]


def made(folder: Path, version: str, **behaviour) -> Artifact:
    """Write an artifact for ``server.py`` and return what a plan says of it."""
    data = json.dumps({"version": version} | behaviour).encode()
    path = folder / f"{version}.json"
    path.write_bytes(data)
    return Artifact(version=version, sha256=digest(data), size_bytes=len(data), uri=str(path))


def bare(version: str) -> Artifact:
    """Return an artifact for executor ``none``."""
    return Artifact(version=version, sha256=digest(version.encode()), uri=version)


def config_of(folder: Path, *, node: str = "n1", **services: ServiceConfig) -> NodeConfig:
    return NodeConfig(
        fleet=FLEET,
        node=node,
        kafka=Kafka(bootstrap="127.0.0.1:9092"),
        keys=Keys(root="root.json", private="node.key"),
        state=str(folder / "state"),
        services=services,
    )


async def until(condition, within_s: float = 10.0, what: str = "") -> None:
    """Wait until a condition holds; the deadline says what was awaited."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s: {what or condition}"
        await asyncio.sleep(0.01)


def free_port() -> int:
    """Return a port that no client is given: thousands of them connect while a test waits to listen."""
    return free_ports(1)[0]


async def request(port: int) -> str:
    """Return the body of one answer of ``server.py``; OSError where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        return (await reader.read()).rpartition(b"\r\n\r\n")[2].decode()
    finally:
        writer.close()


def processes(state: str) -> list[int]:
    """Return the processes that agents with a state folder have started, found without asking them."""
    mark = f"TIDEGATE_STATE={Path(state).absolute()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


class Load:
    """Clients that ask one after another, each on a new connection, until ``stop``. Whatever is no answer is lost."""

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._done = asyncio.Event()
        self.answers: list[str] = []
        self.lost: list[str] = []
        self._clients = [asyncio.ensure_future(self._client()) for _ in range(clients)]

    async def stop(self) -> None:
        self._done.set()
        await asyncio.gather(*self._clients)

    async def _client(self) -> None:
        while not self._done.is_set():
            try:
                answer = await request(self._port)
            except OSError as error:
                self.lost.append(str(error))
            else:
                (self.answers if answer else self.lost).append(answer)
