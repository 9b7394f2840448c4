"""A change as a rule proposes it, and its record: number, hash chain, generation and times are filled in at one place."""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.rollout.ledger import Ledger
from tidegate.wire.decisions import Decision, DecisionKind, GroupState, Silence, SubjectState
from tidegate.wire.documents import Intent, Roster
from tidegate.wire.flagstates import FlagState, SharedState
from tidegate.wire.reasons import Reason

Fact = str | int | float | list[str] | None

_STILL = frozenset({DecisionKind.ACCEPT, DecisionKind.SETTING, DecisionKind.REFUSE})
"""Records that move no rollout, so that they do not prolong an advance either."""


class Change(Struct, frozen=True, kw_only=True):
    """What becomes of one subject: of a service ``state``, of a flag ``flag``, of a set ``flag_set``, of a group ``group``. None
    of them where nothing about it changes (a refusal, a cordon).
    """

    kind: DecisionKind
    reason: Reason
    subject: str
    message: str = ""
    actor: str = ""
    facts: dict[str, Fact] = {}
    answers: str = ""
    state: SubjectState | None = None
    flag: FlagState | None = None
    flag_set: SharedState | None = None
    group: GroupState | None = None
    part: bool = False
    plan: str = ""
    roster: Roster | None = None
    cordoned: tuple[str, ...] | None = None
    silences: tuple[Silence, ...] | None = None
    policy: str = ""
    group_document: str = ""


def refusal(intent: Intent, reason: Reason, message: str) -> Change:
    """Return that an intent changes nothing, and why."""
    return Change(kind=DecisionKind.REFUSE, reason=reason, subject=intent.subject, message=message)


def record(ledger: Ledger, change: Change, now_ms: int, inputs: dict[str, int]) -> Decision:
    """Return the record of a change: the next in the chain, its generation one more where the state changes (E1)."""
    now_ms = max(now_ms, ledger.now_ms)
    before, state = ledger.subject(change.subject), change.state
    if state is not None:
        moved = change.kind not in _STILL
        state = replace(
            state,
            generation=before.generation + 1,
            phase_ms=now_ms if state.phase is not before.phase else before.phase_ms,
            decided_ms=now_ms if moved else before.decided_ms,
            decided_reason=change.reason if moved else before.decided_reason,
        )
    flag, shared, group = _flag(ledger, change, now_ms), change.flag_set, _group(ledger, change, now_ms)
    if shared is not None:
        shared = replace(shared, generation=ledger.generation(change.subject) + 1, seq=ledger.seq)
    changed = state or flag or shared or group
    return Decision(
        seq=ledger.seq,
        prev=ledger.head,
        epoch=ledger.epoch,
        kind=change.kind,
        subject=change.subject,
        generation=changed.generation if changed is not None else ledger.generation(change.subject),
        now_ms=now_ms,
        reason=change.reason,
        actor=change.actor,
        message=change.message,
        facts=change.facts,
        inputs=inputs,
        answers=change.answers,
        state=state,
        flag=flag,
        flag_set=shared,
        group=group,
        part=change.part,
        plan=change.plan,
        roster=change.roster,
        cordoned=change.cordoned,
        silences=change.silences,
        policy=change.policy,
        group_document=change.group_document,
    )


def _flag(ledger: Ledger, change: Change, now_ms: int) -> FlagState | None:
    flag, before = change.flag, ledger.flags.get(change.subject)
    if flag is None:
        return None
    return replace(
        flag,
        generation=ledger.generation(change.subject) + 1,
        seq=ledger.seq,
        phase_ms=now_ms if before is None or flag.phase is not before.phase else before.phase_ms,
        decided_ms=now_ms,
        decided_reason=change.reason,
    )


def _group(ledger: Ledger, change: Change, now_ms: int) -> GroupState | None:
    group, before = change.group, ledger.groups.get(change.subject)
    if group is None:
        return None
    return replace(
        group,
        generation=ledger.generation(change.subject) + 1,
        phase_ms=now_ms if before is None or group.phase is not before.phase else before.phase_ms,
        decided_ms=now_ms,
        decided_reason=change.reason,
    )


def counted(number: int, what: str) -> str:
    """Return so many of something, for a sentence.

    >>> counted(1, "node"), counted(3, "node")
    ('1 node', '3 nodes')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
