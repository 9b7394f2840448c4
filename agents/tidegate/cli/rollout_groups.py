"""Groups in words: where each wave stands, and the story of a group and its members."""

from tidegate.cli.tell import subject_name
from tidegate.model import Model, Told
from tidegate.rollout.group_status import GroupStatus, MemberStatus, group_status
from tidegate.rollout.membership import Standing
from tidegate.runtime.problem import Problem
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase
from tidegate.wire.groups import is_group
from tidegate.wire.names import service_subject


def subject_of(name: str) -> str:
    """Return the subject that a person means.

    >>> subject_of("shop"), subject_of("group/checkout")
    ('svc/shop', 'group/checkout')
    """
    return name if is_group(name) else service_subject(name)


def known_group(model: Model, subject: str) -> str:
    """Return the subject of a group that there is. Problem where there is none."""
    groups = sorted(model.ledger.groups)
    if subject not in groups:
        raise Problem(
            f"there is no {subject}", f"known are: {', '.join(groups)}" if groups else "start one: tidegate rollout start"
        )
    return subject


def status_of(model: Model, subject: str, now_ms: int) -> GroupStatus:
    """Return where a group stands. Problem where there is none."""
    return group_status(model.ledger, model.view, known_group(model, subject), now_ms)


def group_lines(one: GroupStatus) -> list[str]:
    """Return a group in lines of plain text, one for each wave."""
    phase = one.phase.replace("_", " ")
    if one.phase is Phase.PAUSED and one.cause is not None:
        phase = f"paused ({one.cause.replace('_', ' ')})"
    if one.phase is Phase.DONE and one.result is not Result.NONE:
        phase = f"done: {one.result.replace('_', ' ')}"
    at = f", wave {one.wave} of {len(one.waves)}" if one.phase is not Phase.DONE else ""
    found = [f"{one.subject}: {phase}{at}   generation {one.generation}"]
    for number, wave in enumerate(one.waves, 1):
        bake = f"   then {wave.bake} of bake" if wave.bake else ""
        found.append(f"  wave {number}   {'; '.join(map(_member, wave.members))}{bake}")
    return found + [f"  waits: {waits.sentence}" for waits in one.waits]


def group_story(model: Model, subject: str) -> list[Told]:
    """Return the decisions of a group and of its members, from the acceptance of the last group of this name, oldest first."""
    group = model.ledger.groups[subject]
    about = {subject, *(member.subject for member in group.members)}
    told = [one for one in model.told if one.decision.subject in about]
    begins = [at for at, one in enumerate(told) if one.decision.subject == subject and one.decision.kind is DecisionKind.ACCEPT]
    ends = [at for at, one in enumerate(told) if one.decision.group is not None and not one.decision.group.active]
    first = begins[-1] if begins else 0
    last = len(told) if group.active or not ends else ends[-1] + 1
    return told[first:last]


def _member(one: MemberStatus) -> str:
    what = {
        Standing.ABSENT: "withdrawn",
        Standing.WAITING: f"waits ({one.waits})" if one.waits else "waits",
        Standing.UNDER_WAY: f"{one.phase.replace('_', ' ')}, stage {one.stage} of {one.stages}",
        Standing.PROMOTED: "promoted",
        Standing.RETURNING: "goes back",
        Standing.BACK: "is back",
    }[one.standing]
    version = f" {one.version}" if one.version else ""
    return f"{subject_name(service_subject(one.service))}{version}: {what}"
