"""A small honest story as evidence, to be doctored: v1 everywhere, v2 on one node, the leader killed, and an abort."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from tests.scenarios.kills.evidence import Deed, Evidence, Line, Run, Slot

from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision, DecisionKind, SubjectState
from tidegate.wire.documents import (
    Claim,
    Cohort,
    Desired,
    Heartbeat,
    Intent,
    KeyRole,
    Move,
    Order,
    Phase,
    Root,
    Roster,
    Verb,
    digest,
    digest_of,
)
from tidegate.wire.envelope import Document, Signer, seal
from tidegate.wire.keys import trust_of
from tidegate.wire.plans import Artifact, Plan, Rollback, Stage
from tidegate.wire.reasons import Reason

FLEET, SUBJECT = "f", "svc/shop"


def signer(name: str) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")))


OPERATOR, API, ONE, TWO = signer("operator"), signer("api"), signer("one"), signer("two")
TRUST = trust_of(
    Root(
        fleet=FLEET,
        version=1,
        keys=(
            OPERATOR.public(KeyRole.OPERATOR),
            API.public(KeyRole.API),
            ONE.public(KeyRole.DECISION),
            TWO.public(KeyRole.DECISION),
        ),
        issued_ms=0,
    )
)
V1, V2 = (Artifact(version=version, sha256=digest(version.encode())) for version in ("v1", "v2"))
SECOND_MS = 1_000


class Story:
    """Evidence under construction. Each thing that happens takes a second."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.log: list[Line] = []
        self.runs: list[Run] = []
        self.deeds: list[Deed] = []
        self.alive: set[tuple[int, int]] = set()
        self.head = ""
        self.seq = 0
        self._running: dict[str, Run] = {}

    def evidence(self) -> Evidence:
        """Return what a verifier would have."""
        log = tuple(self.log)
        return Evidence(
            trust=TRUST,
            seen=log,
            again=log,
            runs=tuple(self.runs),
            story=tuple(self.deeds),
            alive=frozenset(self.alive),
        )

    def write(self, topic: str, key: str, value: bytes) -> bytes:
        """Append a record."""
        self.now_ms += SECOND_MS
        offset = sum(line.topic == topic for line in self.log)
        self.log.append(Line(topic, offset, key, value, self.now_ms))
        return value

    def sign(self, key: str, document: Document, by: Signer) -> None:
        """Append a signed record to ``desired``."""
        self.write("desired", key, seal(document, by))

    def claim(self, epoch: int, life: str, by: Signer) -> None:
        self.sign(f"claim/{epoch}/{life}", Claim(fleet=FLEET, epoch=epoch, life=life, read_to=0, issued_ms=0), by)

    def beat(self, epoch: int, life: str, by: Signer) -> None:
        document = Heartbeat(fleet=FLEET, epoch=epoch, life=life, seq=1, issued_ms=0, digest=digest(b""))
        self.sign("heartbeat", document, by)

    def decide(self, kind: DecisionKind, epoch: int, **fields) -> None:
        """Append a record of ``decisions`` behind the last one."""
        fields = {"subject": SUBJECT, "generation": 0, "now_ms": self.now_ms, "reason": Reason.ASKED} | fields
        raw = encode(Decision(seq=self.seq, prev=self.head, epoch=epoch, kind=kind, **fields))
        self.write("decisions", fields["subject"], raw)
        self.seq, self.head = self.seq + 1, digest(raw)

    def take_over(self, epoch: int, life: str) -> None:
        cut = sum(line.topic == "decisions" for line in self.log)
        self.decide(DecisionKind.TAKEOVER, epoch, message=f"{life} leads from epoch {epoch}", cut=cut)

    def run(self, node: str, artifact: Artifact, order: Order, token: str = "", **changes) -> None:
        """Let a node start something as it should: begun on its disk, the one before told to end."""
        self.now_ms += SECOND_MS
        pid = len(self.runs) + 1
        fields = {"node": node, "version": artifact.version, "pid": pid, "started": pid, "at_ms": self.now_ms}
        slot = Slot(serial=pid, order=order, begun=(artifact.version, token))
        start = Run(what="start", sha256=artifact.sha256, token=token, slots=(slot,), **fields)
        self.runs.append(replace(start, **changes))
        self.runs.append(Run(what="serve", **fields | {"at_ms": self.now_ms + 300}))
        before = self._running.get(node)
        if before is not None:
            self.runs.append(replace(before, what="end", at_ms=self.now_ms + 310))
            self.alive.discard(before.process)
        self._running[node] = start
        self.alive.add(start.process)

    def command(self, epoch: int, generation: int, by: Signer, **fields) -> None:
        """Record a change and say what it asks for."""
        state = SubjectState(subject=SUBJECT, generation=generation, phase=fields["phase"], settled=V1)
        state = replace(state, released=fields.get("released", 0))
        told = {name: fields.pop(name) for name in ("answers", "kind") if name in fields}
        self.decide(
            told.get("kind", DecisionKind.RELEASE), epoch, generation=generation, state=state, answers=told.get("answers", "")
        )
        self.sign(SUBJECT, document(epoch, generation, **fields), by)


def document(epoch: int, generation: int, **fields) -> Desired:
    """Return a command."""
    fields = {"move": Move.HOLD, "reason": Reason.ASKED, "settled": V1} | fields
    return Desired(fleet=FLEET, subject=SUBJECT, service="shop", root_version=1, epoch=epoch, generation=generation, **fields)


def at(epoch: int, generation: int) -> Order:
    return Order(1, epoch, generation)


PLANS = tuple(
    seal(
        Plan(
            id=identity,
            fleet=FLEET,
            service="shop",
            artifact=artifact,
            rollback=rollback,
            stages=(Stage(set_weight=100),),
            expires_ms=1 << 42,
        ),
        OPERATOR,
    )
    for identity, artifact, rollback in (("p1", V1, None), ("p2", V2, Rollback(artifact=V1)))
)
ROSTER = Roster(fleet=FLEET, subject=SUBJECT, rollout="p2.1", nodes=("a", "b"))
ON_TRIAL = {
    "phase": Phase.RUNNING,
    "move": Move.ADVANCE,
    "plan_digest": digest(PLANS[1]),
    "roster_digest": digest_of(ROSTER),
    "rollout": "p2.1",
    "released": 1,
    "cohorts": (Cohort(name="canary", first=0, count=1, version="v2", token="p2.1"),),
}
BACK = {"phase": Phase.ROLLING_BACK, "move": Move.RETREAT}


def intent(name: str) -> bytes:
    asked = Intent(id=name, fleet=FLEET, subject=SUBJECT, verb=Verb.ABORT, generation=0, actor="kim", issued_ms=0)
    return seal(asked, API)


def first_epoch() -> Story:
    """Return the story up to where v2 is on node a."""
    story = Story()
    for plan in PLANS:
        story.write("plans", SUBJECT, plan)
    story.claim(1, "life-1", ONE)
    story.take_over(1, "life-1")
    story.beat(1, "life-1", ONE)
    story.command(1, 1, ONE, phase=Phase.DONE, answers=digest(PLANS[0]))
    story.run("a", V1, at(1, 1))
    story.run("b", V1, at(1, 1))
    story.decide(DecisionKind.ACCEPT, 1, answers=digest(PLANS[1]))
    story.write("desired", f"plan/{SUBJECT}", PLANS[1])
    story.sign(f"roster/{SUBJECT}", ROSTER, ONE)
    story.command(1, 2, ONE, **ON_TRIAL)
    return story


def honest(*, until_second: bool = False) -> Story:
    """Return the whole story, or the part of it before the second author speaks of what should run."""
    story = first_epoch()
    story.run("a", V2, at(1, 2), "p2.1")
    story.deeds.append(Deed("KILL_LEADER", "one", story.now_ms, story.now_ms, epoch=1))
    story.write("intents", SUBJECT, intent("stop"))
    story.claim(2, "life-2", TWO)
    story.take_over(2, "life-2")
    if until_second:
        return story
    story.command(2, 3, TWO, **BACK, answers="stop", kind=DecisionKind.ROLLBACK)
    story.run("a", V1, at(2, 3))
    story.command(2, 4, TWO, phase=Phase.DONE, kind=DecisionKind.RETURNED)
    finish(story)
    return story


def finish(story: Story) -> None:
    """Mark that all is quiet."""
    story.now_ms += SECOND_MS
    story.deeds.append(Deed("ROUND", "round 1", 0, story.now_ms))
