"""The read model: ledger, view, and the decisions with their times. ``see`` takes records as they come."""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from tidegate.ports import Record
from tidegate.reconcile.breakglass import greater
from tidegate.rollout.events import AlarmArrived, AlarmForgotten, Event, NodesEnrolled, ReportArrived, VerdictArrived
from tidegate.rollout.ledger import BrokenChain, Ledger, apply, counting
from tidegate.rollout.view import View, see
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import GLASS_PREFIX, BreakGlass, GlassAction, PublicKey, Report
from tidegate.wire.envelope import Refused, Trust, unseal
from tidegate.wire.judgement import Alarm, Verdict
from tidegate.wire.keys import trust_after

TOPICS = ("keys", "decisions", "desired", "reports", "verdicts", "alarms")
"""Of ``desired`` only what people signed in an emergency is taken: all else there follows from the decisions."""
TOLD_KEPT = 10_000


class Told(Struct, frozen=True):
    """A decision, when the broker appended it, and at which offset it stands."""

    at_ms: int
    decision: Decision
    offset: int = -1


class Glass(Struct, frozen=True, kw_only=True):
    """Break-glass that is in force: it beats every command up to its generation, and no later one was decided yet (E5)."""

    action: GlassAction
    actor: str
    key: str
    """Id of the key that signed it."""
    generation: int
    reason: str


class Model:
    """Everything seen so far. ``trust`` is the local one; enrolments and newer roots are read from ``keys``."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.ledger = Ledger()
        self.view = View(fleet=trust.fleet)
        self.told: deque[Told] = deque(maxlen=TOLD_KEPT)
        """The newest decisions that count, in their order. One that a takeover voids (E2, E3) is taken out when that is read."""
        self.refused = 0
        """Reports, verdicts and alarms that could not be read or that nobody entitled signed."""
        self._glasses: dict[str, tuple[BreakGlass, PublicKey]] = {}
        self._raw: list[tuple[int, bytes]] = []
        """Every record of the topic by its offset: what is void now may count again."""
        self._times_ms: list[int] = []
        """When each of them was appended."""
        self._void: set[int] = set()
        """Offsets of those that do not count."""

    def see(self, records: Iterable[Record]) -> list[Told]:
        """Fold records; return the decisions that count by them and did not before, in order: those among them, without what is
        void, and what counts again since the takeover that made it void is void itself. Problem where the decision log is broken.

        Keys of one call count before its other records: a report may lie before its node's enrolment in another topic.
        """
        news: list[Told] = []
        known, void = len(self._raw), self._void
        read = list(records)
        self._enrol([record for record in read if record.topic == "keys"])
        for record in read:
            if record.topic == "keys":
                continue
            if record.value is None:
                self._forget(record)
                continue
            if record.topic != "decisions":
                self._fold(record, record.value)
                continue
            told, anew = self._decide(record, record.value)
            if anew:
                first = self._raw[known][0]
                news = [one for one in told if one.offset >= first or one.offset in void]
            else:
                news += told
        return news

    def decisions(self, subject: str) -> list[Told]:
        """Return the decisions about a subject, oldest first."""
        return [told for told in self.told if told.decision.subject == subject]

    def answer(self, asked: str) -> Told | None:
        """Return the decision that answers a plan (by its digest) or an intent (by its id); None while there is none."""
        return next((told for told in reversed(self.told) if told.decision.answers == asked), None)

    def glass(self, subject: str) -> Glass | None:
        """Return the break-glass under which a subject's nodes are; None where there is none, or decide has gone on above it."""
        document, key = self._glasses.get(subject, (None, None))
        if document is None or key is None or self.trust.keys.get(key.id) != key:
            return None
        if document.generation < self.ledger.generation(subject):
            return None
        return Glass(
            action=document.action,
            actor=document.actor,
            key=key.id,
            generation=document.generation,
            reason=document.reason,
        )

    def _enrol(self, records: list[Record]) -> None:
        before = self.trust
        for record in records:
            if record.value is None:
                continue
            try:
                self.trust = trust_after(self.trust, record.key or "", record.value, record.time_ms)
            except (Malformed, Refused):
                self.refused += 1
        if self.trust is not before:
            # Once after many: each telling costs as much as there are nodes.
            self.view = see(self.view, NodesEnrolled(self.trust.nodes()))

    def _break(self, record: Record, value: bytes) -> None:
        document, key = unseal(value, BreakGlass, self.trust)
        if record.key != document.key:
            raise Refused(f"break-glass of {document.subject} stands under key {record.key}")
        before, _ = self._glasses.get(document.subject, (None, None))
        if greater(before, document) is document:
            self._glasses[document.subject] = document, key

    def _decide(self, record: Record, raw: bytes) -> tuple[list[Told], bool]:
        """Return what counts by a record, and whether that is everything that counts, told anew."""
        self._raw.append((record.offset, raw))
        self._times_ms.append(record.time_ms)
        try:
            decision = decode(raw, Decision)
            try:
                return self._next(Told(record.time_ms, decision, record.offset), raw), False
            except BrokenChain:
                # A takeover voids records of the author before it: what was folded of them is folded anew without (E3).
                return self._anew(), True
        except (BrokenChain, Malformed) as error:
            raise Problem(
                f"the topic decisions is broken at offset {record.offset}: {error}",
                "restore it from a copy, or start a new fleet with its own prefix; nodes keep what they run",
            ) from error

    def _next(self, told: Told, raw: bytes) -> list[Told]:
        ledger = apply(self.ledger, told.decision, raw)
        if ledger is self.ledger:
            # An older epoch's, or a second copy: the ledger passes it over, so it was not decided.
            self._void.add(told.offset)
            return []
        self.ledger = ledger
        self.told.append(told)
        return [told]

    def _anew(self) -> list[Told]:
        times_ms = {offset: at_ms for (offset, _), at_ms in zip(self._raw, self._times_ms, strict=True)}
        ledger, found = Ledger(), list[Told]()
        for one in counting(self._raw):
            before, ledger = ledger, apply(ledger, one.decision, one.raw)
            if ledger is not before:
                found.append(Told(times_ms[one.offset], one.decision, one.offset))
        self.ledger, self.told = ledger, deque(found, TOLD_KEPT)
        self._void = times_ms.keys() - {one.offset for one in found}
        return found

    def _forget(self, record: Record) -> None:
        if record.topic == "alarms":
            self.view = see(self.view, AlarmForgotten(record.key or ""))

    def _fold(self, record: Record, value: bytes) -> None:
        try:
            event: Event
            match record.topic:
                case "reports":
                    event = ReportArrived(unseal(value, Report, self.trust)[0], record.time_ms)
                case "desired" if (record.key or "").startswith(GLASS_PREFIX):
                    self._break(record, value)
                    return
                case "verdicts":
                    event = VerdictArrived(decode(value, Verdict), record.time_ms)
                case "alarms":
                    event = AlarmArrived(decode(value, Alarm))
                case _:
                    return
        except (Malformed, Refused):
            self.refused += 1
            return
        self.view = see(self.view, event)
