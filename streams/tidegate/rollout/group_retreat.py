"""A group goes back as one: the last wave first, the members of a wave together, each to its own rollback target (D5, D7).

What came later may need what came earlier, so the order is kept; but no wave waits for the one behind it longer than
``progressDeadline``, and nothing here asks for approvals, freezes or budgets.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from tidegate.rollout.change import Change
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.membership import Standing, standing
from tidegate.rollout.retreat import rollback, undone
from tidegate.rollout.scene import scene_of
from tidegate.rollout.view import View
from tidegate.rollout.withdrawal import with_queue
from tidegate.wire.decisions import DecisionKind, GroupState, Member, Result
from tidegate.wire.documents import Phase
from tidegate.wire.names import duration_ms, service_of
from tidegate.wire.reasons import Reason


def group_rollback(group: GroupState, reason: Reason, message: str, result: Result) -> Change:
    """Return that a group goes back, beginning with the wave under way."""
    return Change(
        kind=DecisionKind.ROLLBACK,
        reason=reason,
        subject=group.subject,
        message=message,
        group=replace(group, phase=Phase.ROLLING_BACK, result=result, cause=reason, baking_since_ms=0),
    )


def returning(ledger: Ledger, view: View, group: GroupState, now_ms: int) -> Change | None:
    """Return the next change of a retreat: of a member, of the wave, or its end; None while a wave is on its way back."""
    for member in group.members:
        if standing(ledger, member) is Standing.WAITING:
            return withdrawn(ledger, member, group.cause or Reason.MEMBER_FAILED, f"{group.subject} goes back")
    wave = group.waves[group.wave].members
    for member in wave:
        change = _back(ledger, view, group, member, now_ms)
        if change is not None:
            return change
    away = [member for member in wave if standing(ledger, member) is Standing.RETURNING]
    if any(now_ms < _overdue_ms(ledger, member) for member in away):
        return None
    late = f" Not waited for any longer: {_names(away)}." if away else ""
    if group.wave:
        return Change(
            kind=DecisionKind.RELEASE,
            reason=Reason.WAVE_BACK,
            subject=group.subject,
            message=f"Wave {group.wave + 1} is back; wave {group.wave} goes back.{late}",
            facts={"members": [member.subject for member in group.waves[group.wave - 1].members]},
            group=replace(group, wave=group.wave - 1),
        )
    return _returned(ledger, group)


def retreat_wakes_ms(ledger: Ledger, group: GroupState) -> Iterator[int]:
    """Yield when a wave is no longer waited for."""
    for member in group.waves[group.wave].members:
        if standing(ledger, member) is Standing.RETURNING:
            yield _overdue_ms(ledger, member)


def withdrawn(ledger: Ledger, member: Member, reason: Reason, why: str) -> Change:
    """Return that the plan of a member that waits does so no more; where a person asks for it, nor do those behind it."""
    state, plan = ledger.subject(member.subject), ledger.plans[member.plan].plan
    queue = tuple(one for one in state.queue if one != member.plan)
    change = Change(
        kind=DecisionKind.REFUSE,
        reason=reason,
        subject=member.subject,
        message=f"Plan {plan.id} is withdrawn: {why}.",
        state=replace(state, queue=queue),
    )
    return with_queue(ledger, change) if reason is Reason.ASKED else change


def _back(ledger: Ledger, view: View, group: GroupState, member: Member, now_ms: int) -> Change | None:
    """Return the way back of a member that has changed anything; None where it is on it, back, or has nowhere to go."""
    scene = scene_of(ledger, view, member.subject, now_ms)
    stands = standing(ledger, member)
    if scene is None or stands not in (Standing.UNDER_WAY, Standing.PROMOTED):
        return None
    if stands is Standing.PROMOTED:
        if scene.plan.rollback is None:
            return None
        scene = undone(scene, scene.plan.rollback.artifact)
    change = rollback(scene, group.cause or Reason.MEMBER_FAILED, f"{group.subject} goes back as one.", group.result)
    # A person does not expect that what waits behind it starts next.
    return with_queue(ledger, change) if group.cause is Reason.ASKED else change


def _returned(ledger: Ledger, group: GroupState) -> Change:
    stay = [member for member in group.members if _stays(ledger, member)]
    partly = [
        member
        for member in group.members
        if standing(ledger, member) is Standing.RETURNING
        or (standing(ledger, member) is Standing.BACK and ledger.subject(member.subject).missing)
    ]
    told = ["Everything that the group has changed went back."]
    if partly:
        told.append(f"Not every node is back: {_names(partly)}.")
    if stay:
        told.append(f"First installs have nothing to go back to: {_names(stay)}.")
    return Change(
        kind=DecisionKind.RETURNED,
        reason=Reason.FLEET_PARTLY_BACK if partly or stay else Reason.FLEET_BACK,
        subject=group.subject,
        message=" ".join(told),
        group=replace(group, phase=Phase.DONE),
    )


def _stays(ledger: Ledger, member: Member) -> bool:
    """Return whether a member keeps what the group has brought, since there was nothing before it (B7)."""
    stands = standing(ledger, member)
    return stands is Standing.PROMOTED or (stands is Standing.BACK and ledger.subject(member.subject).settled is None)


def _overdue_ms(ledger: Ledger, member: Member) -> int:
    return ledger.subject(member.subject).phase_ms + duration_ms(ledger.plans[member.plan].plan.progress_deadline)


def _names(members: list[Member]) -> str:
    return ", ".join(service_of(member.subject) or member.subject for member in members)
