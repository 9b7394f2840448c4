"""Where a group stands, for a person and for the API: its waves, each member in them, and what the next wave waits for."""

from collections.abc import Iterator

from msgspec import Struct

from tidegate.rollout.acceptance import waiting
from tidegate.rollout.group_steps import baked_ms, wave_alarms
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.membership import Standing, standing, told_pause
from tidegate.rollout.verdicts import Blocker
from tidegate.rollout.view import View
from tidegate.wire.decisions import GroupState, Member, Result
from tidegate.wire.documents import Phase
from tidegate.wire.groups import GROUP_PREFIX
from tidegate.wire.names import service_of
from tidegate.wire.reasons import Reason


class MemberStatus(Struct, frozen=True, kw_only=True):
    """One plan of a group."""

    service: str
    standing: Standing
    phase: Phase
    """Of its service."""
    version: str = ""
    """What its plan brings; empty where the plan is known no more."""
    stage: int = 0
    """Counted from 1; 0: it is not under way."""
    stages: int = 0
    waits: str = ""
    """What it waits for before it begins, once its wave has come."""


class WaveStatus(Struct, frozen=True, kw_only=True):
    """One wave."""

    members: tuple[MemberStatus, ...]
    bake: str = ""


class GroupWaits(Struct, frozen=True):
    """One thing that the next wave, or the end, still waits for."""

    reason: Reason
    sentence: str


class GroupStatus(Struct, frozen=True, kw_only=True):
    """A group now. Times are milliseconds since the epoch."""

    subject: str
    group: str
    phase: Phase
    result: Result
    cause: Reason | None
    """Why it is paused, or goes back."""
    generation: int
    wave: int
    """Counted from 1: the one under way, or on its way back."""
    waves: tuple[WaveStatus, ...]
    waits: tuple[GroupWaits, ...]
    phase_ms: int


def group_status(ledger: Ledger, view: View, subject: str, now_ms: int) -> GroupStatus:
    """Return where a group stands. KeyError where there is none."""
    group = ledger.groups[subject]
    return GroupStatus(
        subject=subject,
        group=subject.removeprefix(GROUP_PREFIX),
        phase=group.phase,
        result=group.result,
        cause=group.cause,
        generation=group.generation,
        wave=group.wave + 1,
        waves=tuple(
            WaveStatus(
                members=tuple(_member(ledger, view, one, now_ms, due=number == group.wave) for one in wave.members),
                bake=wave.bake or "",
            )
            for number, wave in enumerate(group.waves)
        ),
        waits=tuple(GroupWaits(*one) for one in _blockers(ledger, view, group, now_ms)),
        phase_ms=group.phase_ms,
    )


def _member(ledger: Ledger, view: View, member: Member, now_ms: int, *, due: bool) -> MemberStatus:
    state, accepted, stands = ledger.subject(member.subject), ledger.plans.get(member.plan), standing(ledger, member)
    under_way = stands is Standing.UNDER_WAY
    return MemberStatus(
        service=service_of(member.subject) or member.subject,
        standing=stands,
        phase=state.phase,
        version=accepted.plan.artifact.version if accepted is not None else "",
        stage=state.stage + 1 if under_way else 0,
        stages=len(accepted.plan.stages) if accepted is not None else 0,
        waits=waiting(ledger, view, member.subject, now_ms) if due and stands is Standing.WAITING else "",
    )


def _blockers(ledger: Ledger, view: View, group: GroupState, now_ms: int) -> Iterator[Blocker]:
    if group.phase is Phase.PAUSED:
        yield group.cause or Reason.ASKED, told_pause(group)
    if group.phase not in (Phase.RUNNING, Phase.PAUSED):
        return
    left = [one for one in group.waves[group.wave].members if standing(ledger, one) is not Standing.PROMOTED]
    if left:
        names = ", ".join(service_of(one.subject) or one.subject for one in left)
        yield Reason.NOT_READY, f"Wave {group.wave + 1} is not done: {names}."
    if group.baking_since_ms and now_ms < baked_ms(group):
        yield Reason.BAKING, f"The wave bakes for {(baked_ms(group) - now_ms) / 1_000:.0f} s more."
    yield from wave_alarms(ledger, view, group)
