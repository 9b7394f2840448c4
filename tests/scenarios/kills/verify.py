"""The verifier's judgement: what of the evidence is lost, doubled or contradicting. A pure function of the evidence.

It reads ``decisions`` as the simulation's judge does (``tidegate.sim.protocol.chain``), which was written apart from the ledger
that it judges; nothing of ``tidegate.rollout``, ``decider``, ``reconcile`` or ``node`` may enter.

* **lost**: a committed change that a node was never brought to though nothing called it back; a node that runs something else
  when all is healed; a question without an answer; a record that was read once and is gone.
* **doubled**: a start where none is owed (B3); two copies that run; a question answered twice.
* **contradicting**: a start that no author's document asks for, or an older one than was followed before, or that the node had
  not written down, or outside every plan, or after what called it back; two authors of an epoch; a record that does not follow.
"""

from collections import Counter
from collections.abc import Iterator

from msgspec import Struct
from tests.scenarios.kills.authors import Authors, text
from tests.scenarios.kills.evidence import Evidence, Line
from tests.scenarios.kills.nodes import News, nodes_of

from tidegate.sim.protocol.chain import Chain
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import Claim, Desired, Heartbeat, Intent, Roster, digest
from tidegate.wire.envelope import Refused, unseal
from tidegate.wire.plans import Plan

COMPACTED = frozenset({"desired"})
SIGNED = {"claim": Claim, "heartbeat": Heartbeat, "plan": Plan, "roster": Roster, "svc": Desired}
TAKEOVER_MOST_MS = 15_000


class Finding(Struct, frozen=True, order=True):
    """Something that must not be. ``kind``: lost, doubled, contradicting or slow."""

    kind: str
    sentence: str


class Judgement(Struct, frozen=True, kw_only=True):
    """What was counted, and everything that must not be."""

    applied: int
    committed: int
    called_back: int
    """Committed changes that a later retreat took back before their node had begun."""
    unfinished: int
    """Starts that never counted: probes, and those that a kill or a retreat ended."""
    documents: int
    decisions: int
    questions: int
    void: int
    """Records of an author whose epoch was over when they landed."""
    epochs: int
    takeovers_ms: tuple[int, ...]
    applied_after_ms: tuple[int, ...]
    """From a committed change to its start that counts, on nodes that nothing befell meanwhile."""
    deeds: dict[str, int]
    findings: tuple[Finding, ...]

    def count(self, kind: str) -> int:
        """Return how many findings of a kind there are."""
        return sum(one.kind == kind for one in self.findings)


def verify(evidence: Evidence) -> Judgement:
    """Return the judgement. Malformed or Refused where a question or a record of ``decisions`` is no such at all."""
    return _Reading(evidence).judgement()


class _Reading:
    """The evidence, read once in the order that makes sense of it."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.findings: list[Finding] = []
        self.authors, self.chain = Authors(), Chain()
        self.void = 0
        self.logs = {topic: self._log(topic) for topic in {line.topic for line in (*evidence.seen, *evidence.again)}}
        self.decisions = [(line, decode(line.value, Decision)) for line in self._of("decisions")]

    def judgement(self) -> Judgement:
        for line in self._of("desired"):
            self._desired(line)
        for line in self._of("verdicts"):
            self.chain.verdict(line.offset, line.value)
        self._chain()
        self._questions()
        news = News(self.authors, frozenset(self._planned()))
        nodes = list(nodes_of(self.evidence, news))
        for node in nodes:
            self.findings += (Finding(kind, sentence) for kind, sentence in node.findings())
        takeovers = tuple(self._takeovers())
        self.findings += (Finding("slow", f"a takeover took {took} ms") for took in takeovers if took > TAKEOVER_MOST_MS)
        return Judgement(
            applied=sum(len(node.applied) for node in nodes),
            committed=sum(node.committed for node in nodes),
            called_back=sum(node.called_back for node in nodes),
            unfinished=sum(node.unfinished for node in nodes),
            documents=len(self.authors.said),
            decisions=len(self.decisions),
            questions=len(self._asked()),
            void=self.void,
            epochs=len(self.authors.lives),
            takeovers_ms=takeovers,
            applied_after_ms=tuple(took for node in nodes for took in node.applied_after_ms),
            deeds=dict(Counter(deed.what for deed in self.evidence.story)),
            findings=tuple(sorted(self.findings)),
        )

    def _say(self, kind: str, sentence: str) -> None:
        self.findings.append(Finding(kind, sentence))

    # the log

    def _of(self, topic: str) -> list[Line]:
        return self.logs.get(topic, [])

    def _log(self, topic: str) -> list[Line]:
        """Return a topic as it was read, live or at the end; what was read live must be there still, as it was."""
        seen = {line.offset: line for line in self.evidence.seen if line.topic == topic}
        again = {line.offset: line for line in self.evidence.again if line.topic == topic}
        gone = [] if topic in COMPACTED else sorted(seen.keys() - again.keys())
        if gone:
            self._say("lost", f"{len(gone)} records of {topic} were read and are gone, offset {gone[0]} first")
        altered = [offset for offset in seen.keys() & again.keys() if seen[offset].value != again[offset].value]
        if altered:
            self._say("lost", f"{len(altered)} records of {topic} were read and say something else now, offset {altered[0]}")
        return [one for _, one in sorted((again | seen).items())]

    def _desired(self, line: Line) -> None:
        if not line.value:
            return
        kind = SIGNED.get(line.key.partition("/")[0])
        if kind is None:
            self._say("contradicting", f"nobody may write {line.key} to desired")
            return
        try:
            document, signer = unseal(line.value, kind, self.evidence.trust)  # type: ignore[type-var]
        except (Malformed, Refused) as error:
            self._say("contradicting", f"record {line.offset} of desired, {line.key}: {error}")
            return
        match document:
            case Claim():
                self.authors.claim(document, signer.id)
            case Plan():
                self.authors.plans[digest(line.value)] = document
            case Roster():
                self.authors.roster(document)
            case Heartbeat():
                self._by_the_author(line, document.epoch, signer.id, document.life)
            case Desired():
                if self._by_the_author(line, document.epoch, signer.id, "") and (
                    wrong := self.authors.command(document, line.at_ms)
                ):
                    self._say("contradicting", wrong)

    def _by_the_author(self, line: Line, epoch: int, key: str, life: str) -> bool:
        """Return whether a record is of the epoch at hand; its author is who won it, and nobody else (I6)."""
        if epoch < self.authors.epoch:
            self.void += 1
            return False
        if epoch > self.authors.epoch:
            self._say("contradicting", f"{line.key} is of epoch {epoch}, which nobody has claimed")
            return False
        if key != self.authors.key or (life and life != self.authors.life):
            self._say("contradicting", f"epoch {epoch} has two authors: {self.authors.key} won it, {key} writes {line.key}")
            return False
        return True

    def _chain(self) -> None:
        takers: dict[int, str] = {}
        for line, decision in self.decisions:
            if decision.kind is DecisionKind.TAKEOVER:
                takers.setdefault(decision.epoch, decision.message.partition(" ")[0])
            by = decision.message.partition(" ")[0] if decision.kind is DecisionKind.TAKEOVER else takers.get(decision.epoch, "")
            self.void += decision.epoch < self.chain.epoch
            for rule, sentence in self.chain.take(line.offset, line.value, by, self.authors.lives.get(decision.epoch, "")):
                self._say("contradicting", f"{rule}: {sentence}")
        states = {
            one.decision.state.generation: one.decision.state for one in self.chain.counted if one.decision.state is not None
        }
        for said in self.authors.said:
            document = said.document
            state = states.get(document.generation)
            if state is None or (state.phase, state.released) != (document.phase, document.released):
                self._say("contradicting", f"I11: order {text(said.document.order)} is said, and no record of decisions says so")

    def _asked(self) -> set[str]:
        plans = {digest(line.value) for line in self._of("plans")}
        return plans | {unseal(line.value, Intent, self.evidence.trust)[0].id for line in self._of("intents")}

    def _questions(self) -> None:
        answers = self.chain.answers()
        for name in sorted(self._asked()):
            if name not in answers:
                self._say("lost", f"question {name[:16]} has no answer")
            elif answers[name] > 1:
                self._say("doubled", f"question {name[:16]} was answered {answers[name]} times")

    def _planned(self) -> Iterator[tuple[str, str]]:
        for line in self._of("plans"):
            plan, _ = unseal(line.value, Plan, self.evidence.trust)
            yield plan.artifact.version, plan.artifact.sha256
            if plan.rollback is not None:
                yield plan.rollback.artifact.version, plan.rollback.artifact.sha256

    def _takeovers(self) -> Iterator[int]:
        """Yield how long it took from each kill of a leader to the first record of the next one."""
        for deed in self.evidence.story:
            if deed.what != "KILL_LEADER":
                continue
            after = [
                line.at_ms - deed.at_ms
                for line, decision in self.decisions
                if decision.kind is DecisionKind.TAKEOVER and decision.epoch > deed.epoch and line.at_ms >= deed.at_ms
            ]
            if after:
                yield after[0]
            else:
                self._say("lost", f"nobody took over after the leader of epoch {deed.epoch} was killed")


def summary(judgement: Judgement) -> dict[str, object]:
    """Return what is published: each zero beside its N."""
    took, after = sorted(judgement.takeovers_ms), sorted(judgement.applied_after_ms)
    return {
        "applied_changes": judgement.applied,
        "lost": judgement.count("lost"),
        "doubled": judgement.count("doubled"),
        "contradicting": judgement.count("contradicting"),
        "committed_changes": judgement.committed,
        "called_back_before_begun": judgement.called_back,
        "starts_that_never_counted": judgement.unfinished,
        "documents": judgement.documents,
        "decisions": judgement.decisions,
        "questions": judgement.questions,
        "epochs": judgement.epochs,
        "void_records": judgement.void,
        "takeovers_ms": took,
        "applied_after_ms": after,
        "faults": judgement.deeds,
        "findings": [f"{one.kind}: {one.sentence}" for one in judgement.findings],
    }
