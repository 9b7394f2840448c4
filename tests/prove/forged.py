"""100,000 forged, mutated, cross-role, expired, replayed and misaddressed documents against the node agent as it runs, between
10,000 valid ones: none of the former changes what it holds or runs, none of the latter is refused.

The agent is the real one (``tidegate.node``), on a log, clock and disk in memory, with keys that sign for real. Every document
comes while something valid is in force: each round says one valid thing and then ten that are not. After each document the agent
is asked two things: how many it has refused, and what it holds now.
"""

import asyncio
import base64
import contextlib
import json
import logging
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from msgspec.structs import replace
from tests.node.kit import FLEET, FOREVER_MS, Author, bare, config_of, node_signer, signer
from tests.prove.kit import hold

from tidegate.node import NodeAgent, NoneExecutor
from tidegate.node.config import ServiceConfig
from tidegate.wire.documents import (
    BreakGlass,
    Claim,
    Cohort,
    Desired,
    GlassAction,
    Heartbeat,
    KeyRole,
    Move,
    Order,
    Phase,
    Root,
)
from tidegate.wire.envelope import Document, Signer, seal
from tidegate.wire.names import CLAIM, epoch_spent
from tidegate.wire.plans import Artifact, Plan, Rollback, Stage
from tidegate.world import MemoryDisk, MemoryLog, SimClock

ROUNDS = 10_000
FORGED_EACH = 10
SEED = 20_100_000
KINDS = ("forged", "mutated", "cross-role", "expired", "replayed", "misaddressed", "beyond the plan")
NODES = ("n1", "n2", "n3", "n4")
SUBJECT, OTHER = "svc/shop", "svc/till"
ROTATE_EVERY = 500
REMEMBERED = 400

ROLES = {
    KeyRole.ROOT: signer("root"),
    KeyRole.OPERATOR: signer("operator"),
    KeyRole.API: signer("api"),
    KeyRole.GATE: signer("gate"),
    KeyRole.DECISION: signer("decision"),
    KeyRole.BREAKGLASS: signer("glass"),
}
THIEF = signer("thief")
BESIDE = (node_signer("n1"), node_signer("n2"), signer("join-1"))
"""Keys that count in the fleet, and never for what a node obeys."""


class Bad(NamedTuple):
    """A record that must change nothing. ``read``: the agent looks at it and must count it as refused."""

    kind: str
    topic: str
    key: str
    value: bytes
    read: bool = True
    signed: bool = False
    """Signed by whom it should be: only the last checks can refuse it, and those do not count."""


class Fleet:
    """The author of all that is valid: operators, decision agent, break-glass and root in one."""

    def __init__(self, log: MemoryLog, clock: SimClock, chance: random.Random) -> None:
        self.log, self.clock, self.chance = log, clock, chance
        self.author = Author(log, nodes=NODES)
        self.author.operator, self.author.decision = ROLES[KeyRole.OPERATOR], ROLES[KeyRole.DECISION]
        keys = tuple(one.public(role) for role, one in ROLES.items())
        self.root = self.author.root = Root(fleet=FLEET, version=1, keys=keys, issued_ms=0)
        self.roots = {"1": seal(self.root, ROLES[KeyRole.ROOT])}
        self.settled = bare("v0")
        self.plans = 0
        self.versions = {"v0"}
        self.said: list[tuple[str, bytes]] = []
        """Valid records of ``desired`` of before, with their keys."""
        self.last: Desired | None = None
        self.evicted = False
        """Something else stands last under the keys of plan and roster: the author says its own again (E6)."""
        self.stale = False
        """Something of a greater generation was signed that nobody may accept: the author goes on above it."""
        self.spent = 0
        """The highest epoch that was named by a claim that does not count: the author goes on above that, too (E2)."""

    async def say(self, key: str, value: bytes) -> None:
        self.said = [*self.said[-REMEMBERED:], (key, value)]
        await self.log.append("desired", key, value)

    async def command(self, **changes: Any) -> Desired:
        if self.evicted:
            await self.bodies()
        document = self.author.desired(root_version=self.root.version, **changes)
        await self.say(SUBJECT, seal(document, self.author.decision))
        self.last, self.stale = document, False
        return document

    async def begin(self) -> Desired:
        """A new plan, its roster, and its first canary."""
        self.plans += 1
        new = bare(f"v{self.plans}")
        self.versions.add(new.version)
        author = self.author
        author.plan = Plan(
            id=f"p{self.plans}",
            fleet=FLEET,
            service="shop",
            artifact=new,
            rollback=Rollback(artifact=self.settled),
            stages=(Stage(set_nodes=2), Stage(set_weight=100)),
            expires_ms=FOREVER_MS,
        )
        author.envelope = seal(author.plan, author.operator)
        author.roster = replace(author.roster, rollout=f"p{self.plans}.1")
        await self.bodies()
        return await self.command(cohorts=(self.canary(1),), released=1)

    async def bodies(self) -> None:
        """The plan and the roster that commands name."""
        self.evicted = False
        await self.say(f"plan/{SUBJECT}", self.author.envelope)
        await self.say(f"roster/{SUBJECT}", seal(self.author.roster, self.author.decision))

    def canary(self, count: int, token: str = "") -> Cohort:
        return Cohort(name="canary", first=0, count=count, version=self.author.plan.artifact.version, token=token)

    async def advance(self) -> Desired:
        count = self.chance.randint(1, 2)
        token = f"t{self.author.generation}" if self.chance.random() < 0.2 else ""
        expires_ms = self.clock.now_ms() + 600_000
        return await self.command(cohorts=(self.canary(count, token),), released=count, expires_ms=expires_ms)

    async def pause(self) -> Desired:
        return await self.command(phase=Phase.PAUSED, move=Move.HOLD, cohorts=(self.canary(1),), released=1)

    async def retreat(self) -> Desired:
        return await self.command(phase=Phase.ROLLING_BACK, move=Move.RETREAT)

    async def finish(self) -> Desired:
        self.settled = self.author.plan.artifact
        return await self.command(phase=Phase.DONE, move=Move.HOLD, settled=self.settled)

    async def succeed(self) -> Desired:
        """Another life claims the next epoch and publishes everything again."""
        author = self.author
        author.epoch = self.spent = max(author.epoch, self.spent) + 1
        claim = Claim(fleet=FLEET, epoch=author.epoch, life=f"life-{author.epoch}", read_to=0, issued_ms=0)
        await self.say(f"claim/{author.epoch}/{claim.life}", seal(claim, author.decision))
        return await self.command(phase=Phase.PAUSED, move=Move.HOLD)

    async def again(self) -> Desired:
        """The level, once more."""
        if self.stale or self.last is None:
            return await self.pause()
        await self.say(SUBJECT, seal(self.last, self.author.decision))
        return self.last

    async def glass(self) -> Desired:
        """Break-glass beats the level that stands."""
        action = self.chance.choice([*GlassAction])
        document = glass_of(self, action)
        await self.say(f"breakglass/{SUBJECT}", seal(document, ROLES[KeyRole.BREAKGLASS]))
        return self.last or await self.pause()

    async def rotate(self) -> Desired:
        """The next key document; what the log holds of before is compacted away."""
        self.root = replace(self.root, version=self.root.version + 1)
        value = self.roots[str(self.root.version)] = seal(self.root, ROLES[KeyRole.ROOT])
        await self.bodies()
        await self.log.append("keys", str(self.root.version), value)
        # What was forged under the key of the claim has evicted it (E6).
        found = await self.succeed()
        self.log.compact("desired")
        return found


def glass_of(fleet: Fleet, action: GlassAction, **changes: Any) -> BreakGlass:
    document = BreakGlass(
        id=f"g{fleet.author.generation}",
        fleet=FLEET,
        subject=SUBJECT,
        root_version=fleet.root.version,
        generation=fleet.author.generation,
        action=action,
        actor="ann",
        reason="drill",
        issued_ms=1,
    )
    return replace(document, **changes)


class Forger:
    """Whoever can write to every topic, owns keys of other roles, and remembers all that was ever said."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.chance = fleet, fleet.chance
        self._makers = {
            "forged": self.forged,
            "mutated": self.mutated,
            "cross-role": self.cross_role,
            "expired": self.expired,
            "replayed": self.replayed,
            "misaddressed": self.misaddressed,
            "beyond the plan": self.beyond,
        }

    def make(self, kind: str) -> Bad:
        return self._makers[kind](kind)

    def tempting(self) -> list[tuple[str, Document, KeyRole]]:
        """Documents that a node would obey if who signed them might: key, document, and who would have to sign."""
        author, root = self.fleet.author, self.fleet.root
        generation, epoch = author.generation + 1, author.epoch
        evil = Artifact(version="evil", sha256="e" * 64, uri="evil")
        last = self.fleet.last
        assert last is not None
        ahead = replace(last, generation=generation, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=(), expires_ms=0)
        claim = Claim(fleet=FLEET, epoch=epoch + 1, life="evil", read_to=0, issued_ms=0)
        plan = replace(author.plan, id="evil", artifact=evil)
        roster = replace(author.roster, nodes=NODES[:1])
        keys = (*root.keys, THIEF.public(KeyRole.DECISION))
        thiefs = (THIEF.public(KeyRole.ROOT), *(key for key in root.keys if key.role is not KeyRole.ROOT))
        beat = Heartbeat(fleet=FLEET, epoch=epoch, life="evil", seq=1 << 40, issued_ms=0, digest="0" * 64)
        return [
            (SUBJECT, ahead, KeyRole.DECISION),
            (SUBJECT, replace(ahead, epoch=epoch + 1), KeyRole.DECISION),
            (SUBJECT, replace(ahead, settled=evil), KeyRole.DECISION),
            (f"claim/{epoch + 1}/evil", claim, KeyRole.DECISION),
            (f"plan/{SUBJECT}", plan, KeyRole.OPERATOR),
            (f"roster/{SUBJECT}", roster, KeyRole.DECISION),
            (f"breakglass/{SUBJECT}", glass_of(self.fleet, GlassAction.ROLLBACK, generation=generation), KeyRole.BREAKGLASS),
            ("heartbeat", beat, KeyRole.DECISION),
            (str(root.version + 1), replace(root, version=root.version + 1, keys=thiefs), KeyRole.ROOT),
            (str(root.version + 1), replace(root, version=root.version + 1, keys=keys), KeyRole.ROOT),
        ]

    def forged(self, kind: str) -> Bad:
        """Signed by a stranger, under a borrowed name, by nobody, or with a signature of something else."""
        key, document, role = self.chance.choice(self.tempting())
        true = ROLES[role]
        how = self.chance.randrange(5)
        if how == 0:
            value = seal(document, THIEF)
        elif how == 1:
            value = seal(document, Signer(true.key_id, THIEF.private))
        elif how == 2:
            value = seal(document)
        elif how == 3:
            value = _with(seal(document), signatures=json.loads(self.chance.choice(self.fleet.said)[1])["signatures"])
        else:
            value = seal(document, *(Signer(one.key_id, THIEF.private) for one in ROLES.values()))
        return Bad(kind, _topic(key), key, value)

    def cross_role(self, kind: str) -> Bad:
        """Signed by a key that counts in this fleet, for something else."""
        key, document, role = self.chance.choice(self.tempting())
        others = [one for other, one in ROLES.items() if other is not role] + list(BESIDE)
        return Bad(kind, _topic(key), key, seal(document, *self.chance.sample(others, self.chance.randint(1, 3))))

    def mutated(self, kind: str) -> Bad:
        """Bytes of something valid, changed: what is changed is more than how the same thing is written."""
        while True:
            key, value = self.chance.choice(self.fleet.said)
            if self.chance.random() < 0.05:
                key, value = str(self.fleet.root.version + 1), self.fleet.roots[str(self.fleet.root.version)]
            changed = self._change(value)
            if _means(changed) != _means(value):
                return Bad(kind, _topic(key), key, changed)

    def _change(self, value: bytes) -> bytes:
        data, how = bytearray(value), self.chance.randrange(7)
        at = self.chance.randrange(len(data))
        if how == 0:
            data[at] ^= 1 << self.chance.randrange(8)
        elif how == 1:
            del data[at : at + self.chance.randint(1, 40)]
        elif how == 2:
            data[at:at] = self.chance.randbytes(self.chance.randint(1, 20))
        elif how == 3:
            return self._change_payload(value)
        elif how == 4:
            other = json.loads(self.chance.choice(self.fleet.said)[1])
            return _with(value, payload=other["payload"])
        elif how == 5:
            other = json.loads(self.chance.choice(self.fleet.said)[1])
            return _with(value, payloadType=other["payloadType"])
        else:
            signatures = json.loads(value)["signatures"]
            return _with(value, signatures=signatures * 20)
        return bytes(data)

    def _change_payload(self, value: bytes) -> bytes:
        """Change one field of what was signed, as whoever wants something of it would."""
        payload = json.loads(base64.b64decode(json.loads(value)["payload"]))
        field = self.chance.choice(sorted(payload))
        old = payload[field]
        payload[field] = old + 1 if isinstance(old, int) else f"{old}x" if isinstance(old, str) else []
        return _with(value, payload=base64.b64encode(json.dumps(payload).encode()).decode())

    def replayed(self, kind: str) -> Bad:
        """Something valid of before, once more."""
        author, last = self.fleet.author, self.fleet.last
        assert last is not None
        while True:
            if self.chance.random() < 0.05:
                key = self.chance.choice(sorted(self.fleet.roots))
                return Bad(kind, "keys", key, self.fleet.roots[key], read=False)
            key, value = self.chance.choice(self.fleet.said)
            said = json.loads(base64.b64decode(json.loads(value)["payload"]))
            if key == SUBJECT and Order(said["root_version"], said["epoch"], said["generation"]) < last.order:
                return Bad(kind, "desired", key, value)
            if key.startswith("claim/") and said["epoch"] < author.epoch:
                return Bad(kind, "desired", key, value, read=False)  # it loses as any claim may (E2)
            if key.startswith("breakglass/") and said["generation"] < last.generation:
                return Bad(kind, "desired", key, value, read=False)
            if key.startswith(("plan/", "roster/")) and value != author.envelope:
                return Bad(kind, "desired", key, value, read=False)

    def misaddressed(self, kind: str) -> Bad:
        """Signed by whom it should be, for another fleet, another service, or under the name of something else."""
        key, document, role = self.chance.choice(self.tempting()[:-2])
        how = self.chance.randrange(3)
        if how == 0:
            return Bad(kind, "desired", key, seal(replace(document, fleet="staging"), ROLES[role]))
        if how == 1 and isinstance(document, Claim):
            return Bad(kind, "desired", f"claim/{document.epoch}/other", seal(document, ROLES[role]))
        if how == 1 and not isinstance(document, Heartbeat):
            changes = {"subject": OTHER} if hasattr(document, "subject") else {"service": "till"}
            if isinstance(document, Desired):
                changes |= {"service": "till"}
            return Bad(kind, "desired", key, seal(replace(document, **changes), ROLES[role]))
        others = [one for one, _, _ in self.tempting()[:-2] if one.partition("/")[0] != key.partition("/")[0]]
        elsewhere = self.chance.choice([*others, OTHER, f"plan/{OTHER}"])
        return Bad(kind, "desired", elsewhere, seal(document, ROLES[role]), read=elsewhere in others)

    def expired(self, kind: str) -> Bad:
        """An advance whose time is over, by its own word or by its plan's; or one that was withheld until now."""
        expires_ms = self.fleet.clock.now_ms() - self.chance.choice([0, 1, 1_000, 10_000_000])
        document = self._next(cohorts=(self.fleet.canary(1, token="late"),), released=1, expires_ms=expires_ms)
        return self._signed(kind, document)

    def beyond(self, kind: str) -> Bad:
        """What a stolen decision key may sign: a greater generation, and more than the operator's plan allows."""
        evil = Artifact(version="evil", sha256="e" * 64, uri="evil")
        author = self.fleet.author
        same = replace(author.plan.artifact, sha256="e" * 64)
        changes: list[dict[str, Any]] = [
            {"settled": evil},
            {"settled": same, "phase": Phase.DONE, "move": Move.HOLD},
            {"newcomers": evil},
            {"cohorts": (Cohort(name="canary", first=0, count=1, version="evil"),)},
            {"cohorts": (self.fleet.canary(3),)},
            {"cohorts": (replace(self.fleet.canary(1), first=1),)},
            {"cohorts": (replace(self.fleet.canary(1), name="control"),)},
            {"cohorts": (self.fleet.canary(1),), "stage": 2},
            {"cohorts": (self.fleet.canary(1),), "roster_digest": ""},
            {"plan_digest": "0" * 64},
            {"plan_digest": "0" * 64, "settled": None, "move": Move.HOLD, "phase": Phase.PAUSED},
            {"plan_digest": ""},
            {"roster_digest": "0" * 64},
        ]
        if self.chance.random() < 0.2:
            # Of a root version nobody has seen, of an epoch nobody has claimed, of one that is over.
            orders = [{"root_version": self.fleet.root.version + 1}, {"epoch": author.epoch + 1}, {"epoch": author.epoch - 1}]
            ahead = self._next(**self.chance.choice(orders))
            return Bad(kind, "desired", SUBJECT, seal(ahead, author.decision))
        return self._signed(kind, self._next(**self.chance.choice(changes)))

    def _next(self, **changes: Any) -> Desired:
        return self.fleet.author.desired(**({"root_version": self.fleet.root.version} | changes))

    def _signed(self, kind: str, document: Desired) -> Bad:
        self.fleet.stale = True
        return Bad(kind, "desired", SUBJECT, seal(document, self.fleet.author.decision), read=False, signed=True)


class Trial:
    """The agent, and what it holds, runs and refuses after each record."""

    def __init__(self, rounds: int, seed: int) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.chance = random.Random(seed)
        self.fleet = Fleet(self.log, self.clock, self.chance)
        self.forger = Forger(self.fleet)
        self.executor = NoneExecutor(self.clock)
        self.rounds = rounds
        self.sent: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.valid: Counter[str] = Counter()
        self.agent = NodeAgent(
            self.log,
            self.clock,
            MemoryDisk(),
            {"none": self.executor},
            config=config_of(Path(), shop=ServiceConfig(executor="none")),
            signer=node_signer(),
            trust=self.fleet.author.trust,
            boot="b1",
        )

    def refused(self) -> int:
        return sum(self.agent.figures().refused.values())

    def holds(self) -> tuple[Any, ...]:
        held = self.agent.held("shop")
        return held.accepted, held.freeze, held.good

    async def settle(self) -> None:
        """Let the agent read and look at all that was said."""
        for _ in range(3):
            await self.clock.settle()

    async def run(self) -> dict[str, Any]:
        running = asyncio.ensure_future(self.agent.run())
        try:
            await self.log.append("keys", "1", self.fleet.roots["1"])
            await self.fleet.author.claim(1)
            await self.fleet.begin()
            await self.clock.advance(1)
            hold(self.agent.held("shop").accepted is not None, "the first command was not accepted")
            for number in range(self.rounds):
                await self._say(number)
                await self._forge()
                if number % 20 == 0:
                    await self.clock.advance(1)
        finally:
            await self.agent.stop()
            await running
        return self._figures()

    async def _say(self, number: int) -> None:
        """One valid thing: it is accepted, and nothing is refused for it."""
        fleet = self.fleet
        makers = [fleet.advance] * 6 + [
            fleet.pause,
            fleet.retreat,
            fleet.again,
            fleet.glass,
            fleet.succeed,
            fleet.begin,
            fleet.finish,
        ]
        rotating = number % ROTATE_EVERY == ROTATE_EVERY - 1
        make = fleet.rotate if rotating else self.chance.choice(makers)
        before = self.refused()
        document = await make()
        await fleet.author.beat()
        self.valid[make.__name__] += 1
        await self.settle()
        if rotating:
            # All of the log is read again, the forged of before as well.
            await self.clock.advance(1)
        accepted = self.agent.held("shop").accepted
        what = f"round {number}: {make.__name__} at {document.order}"
        hold(accepted is not None and accepted.document.order == document.order, f"{what} was not accepted")
        hold(rotating or self.refused() == before, f"{what}: something valid was refused: {self.agent.figures().refused}")
        glass = accepted.glass if accepted is not None else None
        hold((glass is not None) == (make == fleet.glass) or make == fleet.again, f"{what}: break-glass is {glass}")

    async def _forge(self) -> None:
        kinds = [*KINDS, *self.chance.choices(KINDS, k=FORGED_EACH - len(KINDS))]
        # Those that are signed by whom they should be come last: the author goes on above them.
        for bad in sorted((self.forger.make(kind) for kind in kinds), key=lambda one: one.signed):
            before, refused = self.holds(), self.refused()
            await self.log.append(bad.topic, bad.key, bad.value)
            await self.settle()
            self.fleet.evicted |= bad.key.startswith(("plan/", "roster/"))
            if bad.key.startswith(CLAIM):
                self.fleet.spent = epoch_spent(bad.key, self.fleet.spent)
            self.sent[bad.kind] += 1
            more = self.refused() - refused
            self.counted[bad.kind] += more
            what = f"{bad.kind}: {bad.topic} {bad.key} {bad.value[:2_000]!r}"
            hold(self.holds() == before, f"accepted: {what}")
            hold(more == bad.read, f"{'not ' if bad.read else ''}refused in so many words: {what}")

    def _figures(self) -> dict[str, Any]:
        started = {launch.artifact.version for launch in self.executor.launches}
        hold(started <= self.fleet.versions, f"started what no operator signed: {started - self.fleet.versions}")
        hold(len(started) > 1, "nothing was ever started")
        return {
            "rounds": self.rounds,
            "invalid": sum(self.sent.values()),
            "invalid_accepted": 0,
            "invalid_by_kind": dict(sorted(self.sent.items())),
            "refused_by_name": dict(sorted(self.counted.items())),
            "valid": sum(self.valid.values()),
            "valid_refused": 0,
            "valid_by_kind": dict(sorted(self.valid.items())),
            "key_documents": self.fleet.root.version,
            "versions_started": len(started),
        }


def run(rounds: int, seed: int = SEED) -> dict[str, Any]:
    """Try the agent for so many rounds; Refuted at the first document that it takes wrongly."""
    with _quiet():
        return asyncio.run(Trial(rounds, seed).run())


def prove(_folder: Path) -> dict[str, Any]:
    return run(ROUNDS)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A hundred thousand refusals are a hundred thousand lines."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _topic(key: str) -> str:
    return "keys" if key.isdigit() else "desired"


def _with(value: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(value) | changes).encode()


def _means(value: bytes) -> tuple[Any, ...]:
    """What an envelope says and who signed it, however it is written; anything else stands for itself."""
    try:
        envelope = json.loads(value)
        signatures = [(one["keyid"], base64.b64decode(one["sig"], validate=True)) for one in envelope["signatures"]]
        return envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True), sorted(signatures)
    except (ValueError, KeyError, TypeError):
        return (value,)
