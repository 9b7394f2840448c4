"""The ledger: what was decided, rebuilt from ``decisions`` alone (D1, D2). Records are facts; nothing here decides anew.

There is no snapshot of it: 57,000 records a second are folded on one core, so a log of 100,000 (some 6,000 rollouts) costs a new
author two seconds, and every restart checks the whole chain.
"""

import base64
from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tidegate.rollout.history import remembered
from tidegate.wire.codec import decode, decode_strict
from tidegate.wire.decisions import Decision, DecisionKind, GroupState, Silence, SubjectState
from tidegate.wire.documents import Phase, Roster, digest
from tidegate.wire.envelope import Envelope
from tidegate.wire.flagstates import FlagState, SharedState
from tidegate.wire.groups import Group
from tidegate.wire.plans import Artifact, Plan
from tidegate.wire.policies import BUDGET_MAX, Policy
from tidegate.wire.reasons import Reason

T = TypeVar("T", Plan, Policy, Group)

ANSWERED_KEPT = 4_096
"""So many plan digests and intent ids are remembered as answered; the offsets in ``inputs`` cover what is older."""
PLAN_IDS_KEPT = 4_096
RETREATS_KEPT = 10 * BUDGET_MAX
"""A budget counts no more than a tenth of these; the rest may be of services that it does not cover."""
_NO_FAULT = frozenset({Reason.ASKED, Reason.MEMBER_FAILED})
"""Rollbacks that are no failure of their own: a person wanted it, or another member of the group failed."""


class BrokenChain(ValueError):
    """A record does not follow the one before it: one is missing, doubled or altered."""


class AcceptedPlan(Struct, frozen=True):
    """A plan and the operator's envelope, verbatim."""

    plan: Plan
    envelope: str
    watched: str = ""
    """The rollout that was watched when it was accepted: the plan may supersede it (D6); empty: none was."""


class InForce(Struct, frozen=True):
    """A policy and when the record that puts it in force was written."""

    policy: Policy
    since_ms: int
    before: Policy | None = None
    """The one that it replaced."""


class Retreat(Struct, frozen=True):
    """A rollback that no person asked for."""

    at_ms: int
    subject: str
    services: tuple[str, ...] = ()
    """Of a flag: the services that judged it."""


class Ledger(Struct, frozen=True, kw_only=True):
    """Everything decided so far. Bounded by subjects, their queues and the two lists of names."""

    epoch: int = 0
    seq: int = 0
    """Number that the next record gets."""
    head: str = ""
    """sha256 of the last record's bytes."""
    now_ms: int = 0
    """Time of the last record: no later one is before it (D1)."""
    restored_ms: int = 0
    """When the log was last made from an archive: who decides after it cannot know what was decided before it; 0: never."""
    inputs: dict[str, int] = {}
    """Topic/partition to the next offset that no record covers yet."""
    subjects: dict[str, SubjectState] = {}
    flags: dict[str, FlagState] = {}
    """By subject. An archived one stays, for its name is never used again (G5)."""
    stirring: frozenset[str] = frozenset()
    """Flags that are not simply at rest: few, of however many there are."""
    flag_sets: dict[str, SharedState] = {}
    """What sets have beside their flags, by subject."""
    plans: dict[str, AcceptedPlan] = {}
    """By digest of the envelope: the current and the queued ones of every subject."""
    rosters: dict[str, Roster] = {}
    groups: dict[str, GroupState] = {}
    """By subject; one that has ended stays, for it may be undone."""
    group_documents: dict[str, Group] = {}
    """Likewise, of those that are active."""
    cordoned: tuple[str, ...] = ()
    silences: tuple[Silence, ...] = ()
    """Those that somebody asked for; who uses them leaves out what is over by then."""
    policies: dict[str, InForce] = {}
    """By name; one that was ended stays, so that nothing older comes back (H3)."""
    history: dict[str, tuple[Artifact, ...]] = {}
    """By subject what was settled before, the newest first: a fast plan goes nowhere else (H2)."""
    retreats: tuple[Retreat, ...] = ()
    """The newest, oldest first: what budgets count (D5)."""
    flags_back_ms: dict[str, int] = {}
    """By subject when a ramp was last aborted, refused by a gate, or switched off: a flag rests from then (``dwell``)."""
    answered: dict[str, int] = {}
    """Plan digest or intent id to the record that answered it (D3)."""
    plan_ids: dict[str, int] = {}
    """``<subject>/<plan id>`` of accepted plans: an id is used once, since run tokens are made of it."""

    def subject(self, subject: str) -> SubjectState:
        """Return what was decided about a subject; nothing yet is generation 0."""
        return self.subjects.get(subject, SubjectState(subject=subject))

    def generation(self, subject: str) -> int:
        """Return the generation of a service, a group, a flag, or what a set has beside its flags (E1)."""
        found = self.flags.get(subject) or self.flag_sets.get(subject) or self.groups.get(subject) or self.subjects.get(subject)
        return found.generation if found is not None else 0


def apply(ledger: Ledger, decision: Decision, raw: bytes) -> Ledger:
    """Return the ledger after a record, given its bytes as they stand in the log.

    A record of an older epoch is void and changes nothing (E2), and so is the last one once more: a broker may keep two copies of
    what was sent once (librdkafka issue 4953). Raises BrokenChain where it does not follow.
    """
    name = digest(raw)
    if decision.epoch < ledger.epoch or name == ledger.head:
        return ledger
    if (decision.seq, decision.prev) != (ledger.seq, ledger.head):
        raise BrokenChain(
            f"record {decision.seq} of {decision.subject or 'the fleet'} follows {decision.prev[:12] or 'nothing'}; "
            f"expected is record {ledger.seq} that follows {ledger.head[:12] or 'nothing'}: read decisions from its beginning"
        )
    ledger = _apply_state(ledger, decision)
    if decision.flag is not None:
        before = ledger.flags.get(decision.subject)
        if decision.kind is DecisionKind.ROLLBACK and before is not None and before.under_way:
            ledger = replace(ledger, flags_back_ms=ledger.flags_back_ms | {decision.subject: decision.now_ms})
        stirring = ledger.stirring - {decision.flag.subject}
        if not decision.flag.rests:
            stirring |= {decision.flag.subject}
        ledger = replace(ledger, flags=ledger.flags | {decision.subject: decision.flag}, stirring=stirring)
    if decision.flag_set is not None:
        ledger = replace(ledger, flag_sets=ledger.flag_sets | {decision.subject: decision.flag_set})
    if decision.group is not None:
        ledger = _apply_group(ledger, decision, decision.group)
    if decision.roster is not None:
        ledger = replace(ledger, rosters=ledger.rosters | {decision.subject: decision.roster})
    if decision.reason is Reason.RESTORED and decision.kind is DecisionKind.TAKEOVER:
        ledger = replace(ledger, restored_ms=decision.now_ms)
    if decision.cordoned is not None:
        ledger = replace(ledger, cordoned=decision.cordoned)
    if decision.silences is not None:
        ledger = replace(ledger, silences=decision.silences)
    if decision.policy:
        policy = document_in(decision.policy.encode(), Policy)
        replaced = ledger.policies.get(policy.name)
        held = InForce(policy, decision.now_ms, replaced.policy if replaced is not None else None)
        ledger = replace(ledger, policies=ledger.policies | {policy.name: held})
    if decision.kind is DecisionKind.ROLLBACK and decision.reason not in _NO_FAULT:
        services = decision.flag.judged if decision.flag is not None else ()
        retreats = (*ledger.retreats, Retreat(decision.now_ms, decision.subject, services))
        ledger = replace(ledger, retreats=retreats[-RETREATS_KEPT:])
    if decision.answers:
        ledger = replace(ledger, answered=_newest(ledger.answered, decision.answers, decision.seq, ANSWERED_KEPT))
    return replace(
        ledger,
        epoch=decision.epoch,
        seq=decision.seq + 1,
        head=name,
        now_ms=decision.now_ms,
        inputs=ledger.inputs if decision.part else ledger.inputs | decision.inputs,
    )


class Entry(Struct, frozen=True):
    """A record of ``decisions`` as it stands in the log."""

    offset: int
    decision: Decision
    raw: bytes


def counting(records: Iterable[tuple[int, bytes]]) -> list[Entry]:
    """Return the records of a whole log, given as (offset, bytes), that no takeover's cut makes void (E3).

    Raises Malformed where one cannot be read.
    """
    read = [Entry(offset, decode(raw, Decision), raw) for offset, raw in records]
    cuts = cuts_of((one.offset, one.decision) for one in read if one.decision.kind is DecisionKind.TAKEOVER)
    return [one for one in read if not is_void(one.offset, one.decision, cuts)]


def cuts_of(takeovers: Iterable[tuple[int, Decision]]) -> list[tuple[int, int]]:
    """Return (epoch, offset) for each takeover that counts: what older epochs wrote from there on is void (E3)."""
    cuts: list[tuple[int, int]] = []
    # The newest first: a takeover that landed behind a later author's cut is void itself, and its own cut with it.
    for offset, takeover in sorted(takeovers, key=lambda one: -one[1].epoch):
        if not is_void(offset, takeover, cuts):
            cuts.append((takeover.epoch, takeover.cut))
    return cuts


def is_void(offset: int, decision: Decision, cuts: Iterable[tuple[int, int]]) -> bool:
    """Return whether a takeover's cut makes a record void."""
    return any(decision.epoch < epoch and offset >= cut for epoch, cut in cuts)


def rebuild(records: Iterable[tuple[int, bytes]]) -> Ledger:
    """Return the ledger of a whole log, given as (offset, bytes).

    Raises BrokenChain, or Malformed where a record that counts cannot be read.
    """
    ledger = Ledger()
    for one in counting(records):
        try:
            ledger = apply(ledger, one.decision, one.raw)
        except BrokenChain as error:
            raise BrokenChain(f"offset {one.offset}: {error}") from error
    return ledger


def document_in(envelope: bytes, kind: type[T]) -> T:
    """Return the plan, policy or group inside an envelope that was verified before it was accepted. Malformed otherwise."""
    return decode_strict(base64.b64decode(decode(envelope, Envelope).payload), kind)


def _apply_state(ledger: Ledger, decision: Decision) -> Ledger:
    plans = dict(ledger.plans)
    if decision.plan:
        state = decision.state
        watched = state.rollout if state is not None and state.phase is Phase.WATCHING else ""
        accepted = AcceptedPlan(document_in(decision.plan.encode(), Plan), decision.plan, watched)
        plans[digest(decision.plan.encode())] = accepted
        name = f"{decision.subject}/{accepted.plan.id}"
        ledger = replace(ledger, plan_ids=_newest(ledger.plan_ids, name, decision.seq, PLAN_IDS_KEPT))
    if decision.state is None:
        return ledger
    before, after = ledger.subject(decision.subject), decision.state
    if after.settled != before.settled:
        history = remembered(ledger.history.get(decision.subject, ()), before.settled, after.settled)
        ledger = replace(ledger, history=ledger.history | {decision.subject: history})
    for old in {before.plan_digest, *before.queue} - {after.plan_digest, *after.queue}:
        plans.pop(old, None)
    return replace(ledger, plans=plans, subjects=ledger.subjects | {decision.subject: after})


def _apply_group(ledger: Ledger, decision: Decision, group: GroupState) -> Ledger:
    documents = dict(ledger.group_documents)
    if decision.group_document:
        documents[decision.subject] = document_in(decision.group_document.encode(), Group)
    if not group.active:
        documents.pop(decision.subject, None)
    return replace(ledger, groups=ledger.groups | {decision.subject: group}, group_documents=documents)


def _newest(names: dict[str, int], name: str, seq: int, kept: int) -> dict[str, int]:
    """Add a name, forgetting the oldest beyond the bound."""
    more = names | {name: seq}
    return dict(list(more.items())[-kept:]) if len(more) > kept else more
