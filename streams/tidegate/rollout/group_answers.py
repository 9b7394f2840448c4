"""What becomes of a group that arrives, and of an intent about one: one record answers each, if only a refusal (D3, D7)."""

from typing import assert_never

from msgspec.structs import replace

from tidegate.rollout.acceptance import unfit_now, unsound
from tidegate.rollout.change import Change, counted, refusal
from tidegate.rollout.events import GroupArrived, IntentArrived
from tidegate.rollout.group_retreat import group_rollback, withdrawn
from tidegate.rollout.group_steps import group_paused, next_wave, stuck, wave_alarms
from tidegate.rollout.ledger import Ledger, document_in
from tidegate.rollout.membership import Standing, holding, standing
from tidegate.rollout.start import Obstacle, resting
from tidegate.rollout.view import View
from tidegate.wire.codec import told_faults
from tidegate.wire.decisions import DecisionKind, GroupState, Member, Result, WaveState
from tidegate.wire.documents import Intent, Phase, Verb, digest
from tidegate.wire.groups import GROUP_PREFIX, Group
from tidegate.wire.names import service_of, service_subject
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason

GROUPS_MAX = 256
"""So many names: each is kept, so that it can be undone."""


def answer_group(ledger: Ledger, view: View, event: GroupArrived, now_ms: int) -> list[Change]:
    """Return the records that answer a group: one that accepts or refuses it, after those that withdraw what still waits of a
    paused one whose place it takes. None where these very bytes were answered before (D3).

    It is accepted as a whole: where one of its plans cannot be, all are refused, and every fault is named by its path.
    """
    group = event.group
    astray = group is not None and event.subject != group.key
    # Sent under a wrong key it must not have answered the right one.
    name = digest(event.subject.encode() + event.envelope if astray else event.envelope)
    if name in ledger.answered:
        return []
    if group is None or event.fault is not None:
        reason, problem = event.fault or Reason.BAD_DOCUMENT, event.problem or "the group cannot be read"
        return [Change(kind=DecisionKind.REFUSE, reason=reason, subject=event.subject, message=problem, answers=name)]
    ended = _superseded(ledger, group.key)
    cleared = _without(ledger, group.key, ended) if ended is not None else ledger
    found = _obstacle(cleared, view, event.subject, group) or _faulty(cleared, view, group, now_ms)
    if found is not None:
        reason, problem = found
        refused = Change(kind=DecisionKind.REFUSE, reason=reason, subject=group.key, message=problem)
        return [replace(refused, actor=group.actor, answers=name)]
    waves = tuple(
        WaveState(
            members=tuple(
                Member(subject=service_subject(_plan(envelope).service), plan=digest(envelope.encode()))
                for envelope in wave.plans
            ),
            bake=wave.bake,
        )
        for wave in group.waves
    )
    # Whoever dies before the last of the records has not answered: the group is asked again.
    before = [replace(one, part=True) for one in ended or ()]
    told = "; then ".join(", ".join(service_of(one.subject) or "" for one in wave.members) for wave in waves)
    return [
        *before,
        Change(
            kind=DecisionKind.ACCEPT,
            reason=Reason.PLAN_ACCEPTED,
            subject=group.key,
            message=f"{counted(len(waves), 'wave')}: {told}.",
            actor=group.actor,
            answers=name,
            group=GroupState(subject=group.key, phase=Phase.RUNNING, waves=waves, issued_ms=group.issued_ms),
            group_document=event.envelope.decode(),
        ),
    ]


def answer_group_intent(ledger: Ledger, view: View, event: IntentArrived, intent: Intent, now_ms: int) -> Change:
    """Return the one record that answers an intent about a group."""
    group = ledger.groups.get(intent.subject)
    if group is None:
        return refusal(intent, Reason.UNKNOWN, f"there is no {intent.subject}; see: tidegate rollout status")
    if event.of_gate:
        return refusal(intent, Reason.NOT_ALLOWED, "a gate answers for a stage of a rollout, not for a group")
    match intent.verb:
        case Verb.PAUSE:
            if group.phase is not Phase.RUNNING:
                return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(group)}; only a running group is paused")
            message = "No wave begins and nothing of the group advances; judgement and rollback go on."
            return group_paused(group, Reason.ASKED, intent.reason or message)
        case Verb.RESUME:
            return _resume(ledger, view, group, intent, now_ms)
        case Verb.PROMOTE:
            return _promote(ledger, view, group, intent)
        case Verb.ABORT:
            if group.phase not in (Phase.RUNNING, Phase.PAUSED):
                return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(group)}; there is nothing to abort")
            return group_rollback(group, Reason.ASKED, intent.reason or f"{intent.actor} aborted it.", Result.ABORTED)
        case Verb.UNDO:
            return _undo(ledger, group, intent)
        case (
            Verb.RETRY
            | Verb.RELEASE
            | Verb.APPROVE
            | Verb.CORDON
            | Verb.UNCORDON
            | Verb.SILENCE
            | Verb.UNSILENCE
            | Verb.SET
            | Verb.KILL
            | Verb.RESTORE
            | Verb.SHARE
            | Verb.ARCHIVE
        ):
            message = f"{intent.verb} is not asked of a group; it knows pause, resume, promote, abort and undo"
            return refusal(intent, Reason.NOT_ALLOWED, message)
        case _:
            assert_never(intent.verb)


def _superseded(ledger: Ledger, key: str) -> list[Change] | None:
    """Return what ends a paused group in favour of another one of its name, nothing of which is under way; None where none is.

    What it has promoted stays: this is how a person goes on with what is left, without taking all of it back.
    """
    before = ledger.groups.get(key)
    if before is None or before.phase is not Phase.PAUSED:
        return None
    stands = {member: standing(ledger, member) for member in before.members}
    if not {Standing.UNDER_WAY, Standing.RETURNING}.isdisjoint(stands.values()):
        return None
    waiting = [member for member, one in stands.items() if one is Standing.WAITING]
    return [withdrawn(ledger, member, Reason.SUPERSEDED, f"another {key} takes the place of this one") for member in waiting]


def _without(ledger: Ledger, key: str, ended: list[Change]) -> Ledger:
    """Return the ledger as it is when a group has been superseded."""
    states = {one.subject: one.state for one in ended if one.state is not None}
    over = replace(ledger.groups[key], phase=Phase.DONE, result=Result.SUPERSEDED)
    return replace(ledger, subjects=ledger.subjects | states, groups=ledger.groups | {key: over})


def _obstacle(ledger: Ledger, view: View, key: str, group: Group) -> Obstacle | None:
    """Return why a group cannot be accepted, whatever its plans are."""
    if view.fleet and group.fleet != view.fleet:
        return Reason.WRONG_FLEET, f"fleet: this group is for {group.fleet}, here is {view.fleet}"
    if key != group.key:
        return Reason.BAD_DOCUMENT, f"name: this is the group {group.name}, and it was sent as {key.removeprefix(GROUP_PREFIX)}"
    before = ledger.groups.get(key)
    if before is not None and before.active:
        when = "when it has ended, or is paused with none of its members under way"
        return Reason.ALREADY_RUNNING, f"{_what(before)}; another takes its place {when}"
    if before is not None and group.issued_ms <= before.issued_ms:
        return Reason.DUPLICATE, "issuedMs: the last group of this name was issued later; an older one does not come back"
    if before is None and len(ledger.groups) >= GROUPS_MAX:
        return Reason.NOT_ALLOWED, f"there are {GROUPS_MAX} groups already; use one of their names"
    if group.issued_ms < ledger.restored_ms:
        return Reason.RESTORED, "issuedMs: it was signed before the fleet was restored; sign it again"
    return None


def _faulty(ledger: Ledger, view: View, group: Group, now_ms: int) -> Obstacle | None:
    """Return every fault of a group's plans, by its path, and the reason of the first."""
    found: list[tuple[str, Reason, str]] = []
    first: dict[str, str] = {}
    for number, wave in enumerate(group.waves):
        for index, envelope in enumerate(wave.plans):
            at, plan = f"waves[{number}].plans[{index}]", _plan(envelope)
            subject = service_subject(plan.service)
            if subject in first:
                found.append((at, Reason.BAD_DOCUMENT, f"{plan.service} is in {first[subject]} already; a group has it once"))
                continue
            first[subject] = at
            wrong = _used(ledger, envelope) or unsound(ledger, view, plan, now_ms) or _unfit(ledger, view, plan, subject, now_ms)
            if wrong is not None:
                found.append((at, *wrong))
    if not found:
        return None
    return found[0][1], told_faults((at, problem) for at, _, problem in found)


def _used(ledger: Ledger, envelope: str) -> Obstacle | None:
    """Return that a plan has its answer already: it gets no second one (D3)."""
    if digest(envelope.encode()) not in ledger.answered:
        return None
    return Reason.DUPLICATE, "this plan was answered before; sign it again, with another id"


def _unfit(ledger: Ledger, view: View, plan: Plan, subject: str, now_ms: int) -> Obstacle | None:
    state, other = ledger.subject(subject), holding(ledger, subject)
    if other is not None:
        return Reason.ALREADY_RUNNING, f"{plan.service} belongs to {_what(other)}"
    if not resting(state) or state.queue:
        what = f"{state.rollout} is {state.phase}" if not resting(state) else f"{counted(len(state.queue), 'plan')} wait"
        return Reason.ALREADY_RUNNING, f"{plan.service} is busy ({what}); a group begins when all of its services rest"
    return unfit_now(ledger, view, plan, state, now_ms)


def _resume(ledger: Ledger, view: View, group: GroupState, intent: Intent, now_ms: int) -> Change:
    if group.phase is not Phase.PAUSED:
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(group)}; only a paused group is resumed")
    resumed = replace(group, phase=Phase.RUNNING, cause=None)
    found = stuck(replace(ledger, groups=ledger.groups | {group.subject: resumed}), view, resumed, now_ms)
    if found is not None:
        return refusal(intent, *found)
    return Change(
        kind=DecisionKind.RESUME,
        reason=Reason.ASKED,
        subject=group.subject,
        message=intent.reason or f"The group goes on with wave {group.wave + 1}.",
        group=resumed,
    )


def _promote(ledger: Ledger, view: View, group: GroupState, intent: Intent) -> Change:
    """End the bake between two waves; what a wave lacks, and open alarms, are not a person's to give (D5)."""
    if group.phase is not Phase.RUNNING or not group.baking_since_ms:
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(group)}; only the bake between two waves is ended")
    alarm = next(wave_alarms(ledger, view, group), None)
    if alarm is not None:
        return refusal(intent, *alarm)
    return next_wave(group, Reason.ASKED, intent.reason or f"The bake of wave {group.wave + 1} ends here.")


def _undo(ledger: Ledger, group: GroupState, intent: Intent) -> Change:
    """Take back a group that was promoted, as one or not at all (H2)."""
    if group.phase is not Phase.DONE or group.result is not Result.PROMOTED:
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(group)}; what is promoted is undone, what is under way aborted")
    for member in group.members:
        other = holding(ledger, member.subject)
        if other is not None:
            return refusal(intent, Reason.ALREADY_RUNNING, f"{service_of(member.subject)} belongs to {_what(other)}")
        if standing(ledger, member) is Standing.ABSENT:
            moved = f"{service_of(member.subject)} has moved on to {ledger.subject(member.subject).rollout}"
            return refusal(intent, Reason.NOT_ALLOWED, f"{moved}; a group goes back as one or not at all, undo each service")
    return group_rollback(group, Reason.ASKED, intent.reason or f"{intent.actor} undid it.", Result.ROLLED_BACK)


def _plan(envelope: str) -> Plan:
    return document_in(envelope.encode(), Plan)


def _what(group: GroupState) -> str:
    return f"{group.subject} is {group.phase.replace('_', ' ')}" + (f" ({group.result})" if group.result else "")
