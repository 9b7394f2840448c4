"""``decisions`` as a judge reads it: which records count, whether each follows the one before, and what each rests on.

Written apart from the ledger that it judges: nothing of ``tidegate.rollout`` may enter.
"""

from collections.abc import Iterator

from msgspec import Struct

from tidegate.sim.protocol.authors import forked
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision, DecisionKind, SubjectState
from tidegate.wire.documents import digest
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action

FORWARD = frozenset({DecisionKind.PROMOTE, DecisionKind.WATCH})
"""Records that let a stage pass."""


class Counted(Struct, frozen=True):
    """A record that counts, unless a takeover says later that it does not."""

    offset: int
    name: str
    """sha256 of its bytes."""
    decision: Decision
    by: str


class Chain:
    """The records that count so far, and the verdicts that they may rest on."""

    def __init__(self) -> None:
        self.counted: list[Counted] = []
        self._passed: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        """Placement to the offset of its first pass, and of its first fail that asks for a rollback."""

    def copy(self) -> "Chain":
        """Return another reader who has read the same so far."""
        return forked(self)

    @property
    def epoch(self) -> int:
        """Epoch of the last record that counts."""
        return self.counted[-1].decision.epoch if self.counted else 0

    def state(self, subject: str, generation: int | None = None) -> SubjectState | None:
        """Return a subject's state at a generation, or its last one."""
        for one in reversed(self.counted):
            state = one.decision.state
            if state is not None and state.subject == subject and generation in (None, state.generation):
                return state
        return None

    def verdict(self, offset: int, value: bytes) -> None:
        """Take a verdict of the judge."""
        verdict = decode(value, Verdict)
        if verdict.outcome is Outcome.PASS:
            self._passed.setdefault(verdict.placement, offset)
        elif verdict.outcome is Outcome.FAIL and verdict.action is not Action.PAUSE:
            self._failed.setdefault(verdict.placement, offset)

    def take(self, offset: int, value: bytes, by: str, author: str) -> Iterator[tuple[str, str]]:
        """Take a record; ``author``: the life that won its epoch. Yields what is wrong with it, as (rule, sentence)."""
        decision, name = decode(value, Decision), digest(value)
        if decision.epoch < self.epoch or (self.counted and self.counted[-1].name == name):
            return
        if decision.kind is DecisionKind.TAKEOVER:
            if by != author:
                yield "I6", f"{by} takes over epoch {decision.epoch}, which {author or 'nobody'} has won"
            self.counted = [one for one in self.counted if one.offset < decision.cut]
        head = self.counted[-1] if self.counted else None
        if (decision.seq, decision.prev) != (len(self.counted), head.name if head is not None else ""):
            yield "I10", f"record {decision.seq} at offset {offset} does not follow what counts: {len(self.counted)} records"
            return
        if head is not None and decision.kind is not DecisionKind.TAKEOVER and by != head.by:
            yield "I6", f"{by} writes record {decision.seq} of epoch {decision.epoch}, which is {head.by}'s"
        yield from self._rests(decision)
        self.counted.append(Counted(offset, name, decision, by))

    def answers(self) -> dict[str, int]:
        """Return how many records answer each question."""
        found: dict[str, int] = {}
        for one in self.counted:
            if one.decision.answers:
                found[one.decision.answers] = found.get(one.decision.answers, 0) + 1
        return found

    def _rests(self, decision: Decision) -> Iterator[tuple[str, str]]:
        """Let a stage pass only on a pass of its own placement, read before, never on one that has failed (I7)."""
        before = self.state(decision.subject) if decision.kind in FORWARD else None
        if before is None or before.settled is None:
            return
        read = decision.inputs.get("verdicts/0", 0)
        if not self._passed.get(before.placement, read) < read:
            yield "I7", f"stage {before.stage + 1} of {before.rollout} passes without a pass of its placement"
        if self._failed.get(before.placement, read) < read:
            yield "I7", f"stage {before.stage + 1} of {before.rollout} passes although its placement has failed"
