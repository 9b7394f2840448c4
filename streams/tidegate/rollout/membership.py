"""Which group a service belongs to now, whose turn it is, and how a member stands (D7): what other rules ask about groups."""

from collections.abc import Iterator
from enum import StrEnum
from typing import assert_never

from tidegate.rollout.ledger import Ledger
from tidegate.wire.decisions import GroupState, Member, Result, SubjectState
from tidegate.wire.documents import Phase
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason


class Standing(StrEnum):
    """Where a member of a group is with its plan."""

    ABSENT = "absent"
    """Its plan neither waits nor was the last: not accepted yet, withdrawn, or others came after it."""
    WAITING = "waiting"
    UNDER_WAY = "under_way"
    PROMOTED = "promoted"
    """Everywhere, and its watch is over."""
    RETURNING = "returning"
    BACK = "back"


def standing(ledger: Ledger, member: Member) -> Standing:
    """Return how a member stands."""
    state = ledger.subject(member.subject)
    if member.plan in state.queue:
        return Standing.WAITING
    if state.plan_digest != member.plan:
        return Standing.ABSENT
    match state.phase:
        case Phase.RUNNING | Phase.PAUSED | Phase.WATCHING:
            return Standing.UNDER_WAY
        case Phase.ROLLING_BACK:
            return Standing.RETURNING
        case Phase.DONE:
            return Standing.PROMOTED if state.result is Result.PROMOTED else Standing.BACK
        case Phase.IDLE:
            return Standing.ABSENT
        case _:
            assert_never(state.phase)


def active_groups(ledger: Ledger) -> list[str]:
    """Return the subjects of the groups that are under way, paused, or going back."""
    return sorted(group.subject for group in _active(ledger))


def holding(ledger: Ledger, subject: str) -> GroupState | None:
    """Return the active group that a service belongs to; at most one does."""
    return next((group for group in _active(ledger) if any(one.subject == subject for one in group.members)), None)


def turn(ledger: Ledger, plan: Plan, state: SubjectState) -> tuple[Reason, str] | None:
    """Return why a plan has to wait for the group that its service belongs to; None where it belongs to none, or has its turn.

    A member has its turn once, from when its wave begins: a retry would take apart what goes back as one.
    """
    group = holding(ledger, state.subject)
    if group is None:
        return None
    number, member = next(
        (number, one) for number, wave in enumerate(group.waves) for one in wave.members if one.subject == state.subject
    )
    accepted = ledger.plans.get(member.plan)
    mine = accepted is not None and accepted.plan.id == plan.id and state.plan_digest != member.plan
    if not mine or group.phase is Phase.ROLLING_BACK:
        phase = group.phase.replace("_", " ")
        return Reason.ALREADY_RUNNING, f"{state.subject} belongs to {group.subject}, which is {phase}, until that has ended"
    if number > group.wave:
        return Reason.EARLIER_WAVE, f"it is of wave {number + 1} of {group.subject}, and wave {group.wave + 1} is under way"
    if group.phase is Phase.PAUSED:
        return Reason.GROUP_PAUSED, told_pause(group)
    return None


def told_pause(group: GroupState) -> str:
    """Return in a sentence that a group is paused, and what goes on with it."""
    why = f" ({group.cause.replace('_', ' ')})" if group.cause is not None else ""
    return f"{group.subject} is paused{why}; rollout resume {group.subject} goes on."


def _active(ledger: Ledger) -> Iterator[GroupState]:
    return (group for group in ledger.groups.values() if group.active)
