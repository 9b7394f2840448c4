"""The promises of the protocol, held against logs and journals after each thing that happens (I1 to I11, D3).

What is read: every record as it landed, with who wrote it; every state that a node's disk took; every start that was tried, with
the machine's own time. What is never read: anything in a decider's or node's memory.
"""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from tidegate.reconcile.held import Held, NodeState
from tidegate.sim.protocol.authors import Authors, Said, content, forked, key_of
from tidegate.sim.protocol.chain import Chain
from tidegate.sim.protocol.violation import Violation
from tidegate.wire.documents import GLASS_PREFIX, Desired, Intent, Move, Order, Phase, digest
from tidegate.wire.plans import Artifact, Plan

NEWS_MS = 2_000
"""An awake node that goes forward has read everything that is so old: reading to the end takes less."""
RESTING = frozenset({Phase.IDLE, Phase.DONE, Phase.PAUSED})
"""Phases in which a rollout waits for people only."""
DECIDER, OPERATOR, JUDGE, THIEF = "decider", "operator", "judge", "thief"
"""Who writes. A thief holds a stolen decision key; what may be followed of it is inside the plan."""


class Stood(Struct, frozen=True):
    """A record as it stands in the log. ``who``: DECIDER and so on; anything else is an attacker. ``life``: of a decider."""

    topic: str
    offset: int
    at_ms: int
    key: str
    value: bytes
    who: str
    life: str = ""


class Wrote(Struct, frozen=True):
    """What a node's disk holds of a service after a write: order and digest of what it accepted, and the newest key document."""

    node: str
    at_ms: int
    order: Order
    digest: str
    root_version: int


class Launched(Struct, frozen=True):
    """A start that a machine was told to try. ``state``: what its disk held at that moment."""

    node: str
    service: str
    artifact: Artifact
    at_ms: int
    wall_ms: int
    awake_ms: int
    state: NodeState


class Watch:
    """The judge of one run, of one service. ``settled``: what runs everywhere at the beginning."""

    def __init__(self, subject: str, service: str) -> None:
        self.violations: list[Violation] = []
        self.launches = 0
        self.authors = Authors()
        self.chain = Chain()
        self._subject = subject
        self._service = service
        self._now_ms = 0
        self._planned: set[tuple[str, str]] = set()
        self._asked: set[str] = set()
        self._orders: dict[str, tuple[Order, str]] = {}
        """Node to the order and the digest of what it accepted last."""
        self._given: dict[str, int] = {}
        """Rollout to how many nodes of its roster have ever been given the new version."""
        self._open: set[str] = set()
        """Rollouts whose version is for everyone by now."""

    def copy(self) -> "Watch":
        """Return another judge who has seen the same so far."""
        other = forked(self)
        other.authors, other.chain = self.authors.copy(), self.chain.copy()
        return other

    def record(self, stood: Stood) -> None:
        """Take a record that has landed."""
        self._now_ms = stood.at_ms
        if stood.topic == "desired" and stood.key == self._subject:
            self.authors.level = stood.value
        glass = stood.topic == "desired" and stood.key == f"{GLASS_PREFIX}{self._subject}"
        if glass and stood.who == OPERATOR:
            self.authors.break_glass(stood.value)
        if glass:
            self.authors.glass_stands(stood.at_ms, stood.value)
        match stood.topic, stood.who:
            case "desired", "decider":
                self._desired(stood)
            case "desired", "thief" if stood.key == self._subject:
                self.authors.desired(stood.offset, stood.at_ms, stood.value, key_of(stood.life), stolen=True)
            case "keys", "operator" if stood.key.isdigit():
                self.authors.root(stood.value)
            case "decisions", "decider":
                for rule, sentence in self.chain.take(stood.offset, stood.value, stood.life, self._winner(stood.value)):
                    self._say(rule, sentence)
            case "verdicts", "judge":
                self.chain.verdict(stood.offset, stood.value)
            case "plans", "operator":
                plan = self.authors.plan(stood.value)
                self._planned |= {(one.version, one.sha256) for one in _artifacts(plan)}
                self._asked.add(digest(stood.value))
            case "intents", "operator":
                self._asked.add(content(stood.value, Intent).id)
            case _:
                pass

    def wrote(self, wrote: Wrote) -> None:
        """Take what a node's disk holds: what was accepted never goes back (I1), nor is it a revoked key's word (H1)."""
        self._now_ms = wrote.at_ms
        before, digest_before = self._orders.get(wrote.node, (Order(), ""))
        if wrote.order < before:
            self._say("I1", f"{wrote.node} goes back from {_text(before)} to {_text(wrote.order)}")
        said = self.authors.said.get(wrote.digest) if wrote.digest != digest_before else None
        if said is not None and self.authors.revoked.get(said.by, wrote.root_version + 1) <= wrote.root_version:
            what = f"{_text(wrote.order)}, which {said.by} signed, and knows key document {wrote.root_version}, which revokes it"
            self._say("H1", f"{wrote.node} accepts {what}")
        self._orders[wrote.node] = (wrote.order, wrote.digest)

    def faulty(self, life: str, at_ms: int, fault: str) -> None:
        """Take that a process ended by a fault of its own."""
        self._now_ms = at_ms
        self._say("fault", f"{life} ended: {fault}")

    def rotted(self, node: str) -> None:
        """Take that a node's whole memory was destroyed: it may begin anew."""
        self._orders.pop(node, None)

    def launched(self, launched: Launched) -> None:
        """Take a start: by whom it was wanted, whether it may be, and whether it was written down before."""
        self._now_ms = launched.at_ms
        self.launches += 1
        held = launched.state.services.get(self._service, Held())
        for rule, sentence in self._wrong(launched, held):
            self._say(rule, f"{launched.node} starts {launched.artifact.version}: {sentence}")

    def unsettled(self, running: Mapping[str, Artifact | None]) -> str:
        """Return what is not as it should be once all is healed; empty: everything is (I9, D3)."""
        answers = self.chain.answers()
        if missing := sorted(self._asked - answers.keys()):
            return f"{len(missing)} questions have no answer, {missing[0][:12]} first"
        state = self.chain.state(self._subject)
        if state is None or state.phase not in RESTING:
            return f"the rollout is {state.phase if state is not None else 'unknown'}"
        last = self.authors.standing()
        if last is None or (last.document.epoch, last.document.generation) != (self.chain.epoch, state.generation):
            return f"what is desired is not generation {state.generation} of epoch {self.chain.epoch}"
        glass = self.authors.glass
        if glass is not None and glass.document.id not in answers:
            return f"break-glass {glass.document.id} has no answer"
        if glass is not None and last.document.generation <= glass.document.generation:
            return ""  # each node does less than it owes
        for node, artifact in sorted(running.items()):
            owed = self._owed(last.document, node)
            if owed is not None and not _same(owed, artifact):
                return f"{node} runs {artifact.version if artifact is not None else 'nothing'} and owes {owed.version}"
        return ""

    def end(self, now_ms: int, complaint: str) -> None:
        """Judge the end of a run: ``complaint`` is what ``unsettled`` still says then."""
        self._now_ms = now_ms
        if complaint:
            self._say("I9", f"healed long ago, and yet {complaint}")
        for name, count in sorted(self.chain.answers().items()):
            if count > 1:
                self._say("D3", f"{name[:12]} was answered {count} times")

    # desired

    def _desired(self, stood: Stood) -> None:
        kind = stood.key.partition("/")[0]
        if kind == "claim":
            self.authors.claim(stood.value)
        elif kind == "roster":
            self.authors.roster(stood.value)
        elif stood.key == self._subject:
            said = self.authors.desired(stood.offset, stood.at_ms, stood.value, key_of(stood.life))
            if said is not None:
                self._check_said(said, stood.life)
                self._give(said)

    def _check_said(self, said: Said, life: str) -> None:
        document = said.document
        at = f"generation {document.generation} of epoch {document.epoch}"
        if life != self.authors.life:
            self._say("I6", f"{life} says {at}, which is {self.authors.life}'s to say")
        if self.authors.orders[document.order] != said.digest:
            self._say("I6", f"{life} says {at} twice, and not the same")
        state = self.chain.state(self._subject, document.generation)
        if state is None or (state.phase, state.released) != (document.phase, document.released):
            self._say("I11", f"{life} says {at}, and no record says so")
        plan, roster = self.authors.plans.get(document.plan_digest), self.authors.rosters.get(document.roster_digest)
        if plan is not None and roster is not None and document.phase in (Phase.RUNNING, Phase.PAUSED):
            cap = _cap(plan, document.stage, len(roster.nodes))
            if document.released > cap:
                self._say("I3", f"{at} gives {document.released} nodes the new version; the plan allows {cap}")

    def _give(self, said: Said) -> None:
        document = said.document
        count = max([cohort.count for cohort in document.cohorts if cohort.name == "canary"], default=0)
        self._given[document.rollout] = max(self._given.get(document.rollout, 0), count)
        plan = self.authors.plans.get(document.plan_digest)
        if plan is not None and (_same(document.settled, plan.artifact) or _same(document.newcomers, plan.artifact)):
            self._open.add(document.rollout)

    def _owed(self, document: Desired, node: str) -> Artifact | None:
        """Return what a document asks of a node, read as the protocol says it."""
        plan, roster = self.authors.plans.get(document.plan_digest), self.authors.rosters.get(document.roster_digest)
        if plan is None or roster is None:
            return document.settled
        if node not in roster.nodes:
            return document.newcomers or document.settled
        at = roster.nodes.index(node)
        for cohort in document.cohorts:
            if cohort.first <= at < cohort.first + cohort.count:
                return next((one for one in _artifacts(plan) if one.version == cohort.version), None)
        return document.settled

    # starts

    def _wrong(self, launched: Launched, held: Held) -> Iterator[tuple[str, str]]:
        artifact = launched.artifact
        if (artifact.version, artifact.sha256) not in self._planned:
            yield "I4", "no plan of an operator names it"
        if held.undertaking is None or not _same(held.undertaking.artifact, artifact):
            yield "I11", "its disk does not say that it was begun"
        ran_before = [one for one in (held.applied, held.good, *held.earlier) if one is not None]
        again = any(_same(one, artifact) for one in ran_before)
        if held.accepted is None:
            if not again:
                yield "I8", "nothing was accepted that asks for it"
            return
        said = self.authors.said.get(held.accepted.digest)
        if said is None:
            yield "I6", f"it follows {_text(held.accepted.document.order)}, which no author has said"
            return
        document, plan = said.document, self.authors.plans.get(said.document.plan_digest)
        owed = self._owed(document, launched.node)
        # A node may go back by itself, to what the plan goes back to or to what it has run: that is never more than it owes.
        back = plan is not None and plan.rollback is not None and _same(plan.rollback.artifact, artifact)
        if not again and not back and not _same(owed, artifact):
            yield "I8", f"{_text(document.order)} asks it for {owed.version if owed is not None else 'nothing'}"
        new = plan is not None and _same(artifact, plan.artifact) and not _same(document.settled, artifact)
        if new and document.move is Move.RETREAT and not _same(owed, artifact):
            yield "I2", f"{_text(document.order)}, which it has accepted, goes back from it"
        if new and not _same(held.applied, artifact) and plan is not None:
            yield from self._forward(launched, document, plan)

    def _forward(self, launched: Launched, document: Desired, plan: Plan) -> Iterator[tuple[str, str]]:
        """Hold a step forward against the time it has, its stage, and what has called it back."""
        limits = [document.expires_ms, plan.expires_ms]
        if document.move is Move.ADVANCE and any(0 < limit <= launched.wall_ms for limit in limits):
            yield "I5", f"{_text(document.order)} had expired {launched.wall_ms - min(limits)} ms before"
        roster = self.authors.rosters.get(document.roster_digest)
        if roster is None or document.rollout in self._open:
            return
        at = roster.nodes.index(launched.node) if launched.node in roster.nodes else len(roster.nodes)
        if at >= self._given.get(document.rollout, 0):
            yield "I3", f"it is number {at + 1} of the roster; {self._given.get(document.rollout, 0)} nodes were given it"
        glass = self.authors.glass
        if glass is not None and document.generation <= glass.document.generation:
            known_ms = max(glass.at_ms, launched.awake_ms) + NEWS_MS
            if launched.at_ms > known_ms:
                since_ms = launched.at_ms - glass.at_ms
                yield "E5", f"break-glass for generation {glass.document.generation} stands there since {since_ms} ms"
        last = self.authors.last
        if last is None or last.document.generation <= document.generation:
            return
        known = max(last.at_ms, launched.awake_ms) + NEWS_MS
        if launched.at_ms > known and not _same(self._owed(last.document, launched.node), launched.artifact):
            yield "I2", f"{_text(last.document.order)} has called it back {launched.at_ms - last.at_ms} ms before"

    def _winner(self, value: bytes) -> str:
        return self.authors.lives.get(_epoch(value), "")

    def _say(self, rule: str, sentence: str) -> None:
        self.violations.append(Violation(rule, self._now_ms, sentence))


class _Epoch(Struct):
    epoch: int


def _epoch(value: bytes) -> int:
    return msgspec.json.decode(value, type=_Epoch).epoch


def _artifacts(plan: Plan) -> list[Artifact]:
    return [plan.artifact, *([plan.rollback.artifact] if plan.rollback is not None else [])]


def _same(one: Artifact | None, other: Artifact | None) -> bool:
    return one is not None and other is not None and (one.version, one.sha256) == (other.version, other.sha256)


def _cap(plan: Plan, stage: int, whole: int) -> int:
    """Return how many nodes a stage may reach: percent rounded down, at least one (B1)."""
    one = plan.stages[stage]
    return min(whole, max(1, one.set_nodes if one.set_nodes is not None else whole * (one.set_weight or 0) // 100))


def _text(order: Order) -> str:
    return f"{order.root_version}.{order.epoch}.{order.generation}"
