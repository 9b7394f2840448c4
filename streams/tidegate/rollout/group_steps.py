"""What comes next of a group without being asked for: its plans are accepted, its waves follow each other, and what fails takes
all of it back (D7). The groups' part of ``step`` and ``wake_at``.
"""

from collections.abc import Iterator
from typing import assert_never

from msgspec.structs import replace

from tidegate.rollout.change import Change, Fact
from tidegate.rollout.group_retreat import group_rollback, retreat_wakes_ms, returning
from tidegate.rollout.ledger import Ledger, document_in
from tidegate.rollout.membership import Standing, active_groups, standing
from tidegate.rollout.policies import Restraint
from tidegate.rollout.restraint import open_alarms
from tidegate.rollout.start import PASSING, Obstacle, kept_from_starting, resting
from tidegate.rollout.view import View
from tidegate.wire.decisions import DecisionKind, GroupState, Result
from tidegate.wire.documents import Phase
from tidegate.wire.names import duration_ms, service_of
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason

_FAILED = frozenset({Standing.RETURNING, Standing.BACK})


def next_of_group(ledger: Ledger, view: View, subject: str, now_ms: int) -> Change | None:
    """Return the next change of a group, or of one of its members because of it; None where nothing is due."""
    group = ledger.groups.get(subject)
    if group is None:
        return None
    match group.phase:
        case Phase.RUNNING:
            return (
                _unsure(ledger, group)
                or _failed(ledger, group)
                or _enlisted(ledger, group)
                or _stopped(ledger, view, group, now_ms)
                or _forward(ledger, view, group, now_ms)
            )
        case Phase.PAUSED:
            return _failed(ledger, group) or _enlisted(ledger, group)
        case Phase.ROLLING_BACK:
            return returning(ledger, view, group, now_ms)
        case Phase.IDLE | Phase.WATCHING | Phase.DONE:
            return None
        case _:
            assert_never(group.phase)


def group_wakes_ms(ledger: Ledger) -> Iterator[int]:
    """Yield the times at which a group may move without other news."""
    for subject in active_groups(ledger):
        group = ledger.groups[subject]
        if group.phase is Phase.ROLLING_BACK:
            yield from retreat_wakes_ms(ledger, group)
        elif group.baking_since_ms:
            yield baked_ms(group)


def stuck(ledger: Ledger, view: View, group: GroupState, now_ms: int) -> Obstacle | None:
    """Return why a member whose turn it is can never start as things are, or None."""
    for member in group.waves[group.wave].members:
        state = ledger.subject(member.subject)
        if not resting(state) or standing(ledger, member) is not Standing.WAITING:
            continue
        found = kept_from_starting(ledger, view, state, now_ms)
        if found is not None and found[0] not in PASSING:
            return found[0], f"{service_of(member.subject)} cannot start: {found[1]}"
    return None


def wave_alarms(ledger: Ledger, view: View, group: GroupState) -> Iterator[Restraint]:
    """Yield the critical alarms of what has been promoted so far: nothing is built on what burns (D4)."""
    for wave in group.waves[: group.wave + 1]:
        for member in wave.members:
            accepted = ledger.plans.get(member.plan)
            if accepted is not None and not accepted.plan.despite_alarms:
                yield from open_alarms(view, accepted.plan.service)


def wave_done(ledger: Ledger, group: GroupState) -> bool:
    """Return whether everything of the wave under way is promoted and its watch over."""
    return all(standing(ledger, member) is Standing.PROMOTED for member in group.waves[group.wave].members)


def baked_ms(group: GroupState) -> int:
    """Return when the bake of a wave is over, in ms."""
    return group.baking_since_ms + duration_ms(group.waves[group.wave].bake or "0s")


def next_wave(group: GroupState, reason: Reason, message: str) -> Change:
    """Return the beginning of the next wave."""
    members = [member.subject for member in group.waves[group.wave + 1].members]
    return Change(
        kind=DecisionKind.PROMOTE,
        reason=reason,
        subject=group.subject,
        message=message,
        facts={"wave": group.wave + 2, "members": members},
        group=replace(group, wave=group.wave + 1, baking_since_ms=0),
    )


def group_paused(group: GroupState, reason: Reason, message: str) -> Change:
    """Return that a group stops: no wave and no member starts, nothing of those under way advances."""
    return Change(
        kind=DecisionKind.PAUSE,
        reason=reason,
        subject=group.subject,
        message=message,
        group=replace(group, phase=Phase.PAUSED, cause=reason),
    )


def _unsure(ledger: Ledger, group: GroupState) -> Change | None:
    """Return the pause of a group that an archive says is under way, or None where a person has spoken since (``restored``)."""
    if group.phase_ms >= ledger.restored_ms:
        return None
    what = "The fleet was restored from an archive: look at what its services run, then resume or abort the group."
    return group_paused(group, Reason.RESTORED, what)


def _failed(ledger: Ledger, group: GroupState) -> Change | None:
    """Return that the group goes back, because one of its members does: it failed, or a person took it back."""
    for member in group.members:
        stands = standing(ledger, member)
        if stands not in _FAILED:
            continue
        state = ledger.subject(member.subject)
        # Where nothing had been given out it is back at once, and that is then the last that was decided of it.
        why = (state.decided_reason if stands is Standing.RETURNING and state.decided_reason else state.result).replace("_", " ")
        result = Result.ABORTED if state.result is Result.ABORTED else Result.ROLLED_BACK
        facts: dict[str, Fact] = {"member": member.subject, "rollout": state.rollout}
        message = f"{service_of(member.subject)} goes back ({why}), and the group with it, the last wave first."
        return replace(group_rollback(group, Reason.MEMBER_FAILED, message, result), facts=facts)
    return None


def _enlisted(ledger: Ledger, group: GroupState) -> Change | None:
    """Return the acceptance of the next plan that does not wait for its turn yet: so it can be approved of, and is seen."""
    document = ledger.group_documents.get(group.subject)
    if document is None:
        return None
    for number, (wave, signed) in enumerate(zip(group.waves, document.waves, strict=True)):
        for member, envelope in zip(wave.members, signed.plans, strict=True):
            if standing(ledger, member) is not Standing.ABSENT:
                continue
            plan, state = document_in(envelope.encode(), Plan), ledger.subject(member.subject)
            if f"{member.subject}/{plan.id}" in ledger.plan_ids:
                continue
            return Change(
                kind=DecisionKind.ACCEPT,
                reason=Reason.PLAN_QUEUED,
                subject=member.subject,
                message=f"Plan {plan.id} is of wave {number + 1} of {len(group.waves)} of {group.subject}.",
                actor=plan.actor,
                answers=member.plan,
                plan=envelope,
                # Before any other: those wait until the group has ended.
                state=replace(state, queue=(member.plan, *state.queue)),
            )
    return None


def _stopped(ledger: Ledger, view: View, group: GroupState, now_ms: int) -> Change | None:
    """Return the pause of a group that cannot go on: nothing speaks against what it has promoted, so a person decides."""
    found = stuck(ledger, view, group, now_ms)
    if found is None:
        return None
    reason, problem = found
    # Whoever let the group go on after a restore does not know that it has stopped again.
    known = Reason.NOT_ALLOWED if reason is Reason.RESTORED else reason
    return group_paused(group, known, f"{problem}. Mend that and resume the group, or abort it.")


def _forward(ledger: Ledger, view: View, group: GroupState, now_ms: int) -> Change | None:
    if not wave_done(ledger, group):
        return None
    passed, bake = f"Wave {group.wave + 1} of {len(group.waves)} passed", group.waves[group.wave].bake
    if group.wave == len(group.waves) - 1:
        return Change(
            kind=DecisionKind.COMPLETE,
            reason=Reason.WAVE_PASSED,
            subject=group.subject,
            message=f"{passed}: everything of the group is promoted.",
            group=replace(group, phase=Phase.DONE, result=Result.PROMOTED),
        )
    if bake is not None and not group.baking_since_ms:
        return Change(
            kind=DecisionKind.BAKE,
            reason=Reason.WAVE_PASSED,
            subject=group.subject,
            message=f"{passed}; it bakes for {bake}.",
            group=replace(group, baking_since_ms=now_ms),
        )
    if (bake is not None and now_ms < baked_ms(group)) or next(wave_alarms(ledger, view, group), None) is not None:
        return None
    return next_wave(group, Reason.WAVE_PASSED, f"{passed}.")
