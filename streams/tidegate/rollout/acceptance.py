"""What becomes of a plan that arrives: accepted, queued, or refused with every fault named (D3, D7)."""

from msgspec.structs import replace

from tidegate.rollout.advance import complete_rollout
from tidegate.rollout.change import Change
from tidegate.rollout.events import PlanArrived
from tidegate.rollout.history import identity
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.membership import holding
from tidegate.rollout.restored import plan_of_before
from tidegate.rollout.scene import scene_of
from tidegate.rollout.sharing import HOLDING
from tidegate.rollout.start import PASSING, Obstacle, goes_first, in_turn, kept_from_starting, obstacle, resting
from tidegate.rollout.view import View
from tidegate.wire.codec import told_faults
from tidegate.wire.decisions import DecisionKind, SubjectState
from tidegate.wire.documents import Phase, digest
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Artifact, Plan, WhenBusy, faults
from tidegate.wire.reasons import Reason

QUEUE_MAX = 16


def answer_plan(ledger: Ledger, view: View, event: PlanArrived, now_ms: int) -> list[Change]:
    """Return the records that answer a plan: one that accepts or refuses it, after one that ends a watch it supersedes.

    A plan whose very bytes were answered before gets no second record: the log may be read again after a restart.
    """
    name = digest(event.envelope)
    if name in ledger.answered:
        return []
    if event.plan is None:
        reason, problem = event.fault or Reason.BAD_DOCUMENT, event.problem or "the plan cannot be read"
        return [Change(kind=DecisionKind.REFUSE, reason=reason, subject=event.subject, message=problem, answers=name)]
    plan, subject = event.plan, service_subject(event.plan.service)
    fault = (event.fault, event.problem) if event.fault else unsound(ledger, view, plan, now_ms)
    ended = None if fault else _superseded(ledger, view, subject, now_ms)
    state = ended.state if ended is not None and ended.state is not None else ledger.subject(subject)
    first = not fault and _goes_first(ledger, view, plan, subject, now_ms)
    found = fault or unfit_now(ledger, view, plan, state, now_ms, first=first)
    if found is not None:
        reason, problem = found
        return [Change(kind=DecisionKind.REFUSE, reason=reason, subject=subject, message=problem, actor=plan.actor, answers=name)]
    waits = "" if first and resting(state) else _waits(ledger, view, plan, state, now_ms)
    if waits:
        # It may wait for hours, and what it would have superseded must be watched till then (D5).
        ended, state = None, ledger.subject(subject)
    accepted = Change(
        kind=DecisionKind.ACCEPT,
        reason=Reason.PLAN_QUEUED if waits else Reason.PLAN_ACCEPTED,
        subject=subject,
        message=f"Plan {plan.id} waits: {waits}" if waits else f"Plan {plan.id} rolls out {plan.artifact.version}.",
        actor=plan.actor,
        answers=name,
        plan=event.envelope.decode(),
        state=replace(state, queue=(*state.queue, name)),
    )
    # Whoever dies between the two has not answered: the plan is asked again.
    return [replace(ended, part=True), accepted] if ended is not None else [accepted]


def waiting(ledger: Ledger, view: View, subject: str, now_ms: int) -> str:
    """Return, as a sentence, what the first plan of a subject's queue waits for; empty where none waits."""
    state = ledger.subject(subject)
    if not state.queue:
        return ""
    ended = _end_of_watch(ledger, view, subject, now_ms) if _came_in_watch(ledger, state) else None
    state = ended.state if ended is not None and ended.state is not None else state
    return _waits(ledger, view, ledger.plans[state.queue[0]].plan, replace(state, queue=()), now_ms)


def supersession(ledger: Ledger, view: View, subject: str, now_ms: int) -> Change | None:
    """Return the end of a watch in favour of the plan whose turn it is then, which starts right after it; None where that one
    came before the watch, or something else makes it wait still (D6).
    """
    state = ledger.subject(subject)
    ended = _end_of_watch(ledger, view, subject, now_ms) if state.queue else None
    if ended is None or ended.state is None:
        return None
    front = in_turn(ledger, view, ended.state, now_ms)
    if (
        not _came_in_watch(ledger, replace(state, queue=front.queue))
        or kept_from_starting(ledger, view, front, now_ms) is not None
    ):
        return None
    return replace(ended, part=True)


def unsound(ledger: Ledger, view: View, plan: Plan, now_ms: int) -> Obstacle | None:
    """Return what is wrong with a plan whatever its subject does now."""
    subject = service_subject(plan.service)
    if view.fleet and plan.fleet != view.fleet:
        return Reason.WRONG_FLEET, f"fleet: this plan is for {plan.fleet}, here is {view.fleet}"
    wrong = faults(plan)
    if wrong:
        return Reason.BAD_DOCUMENT, told_faults(wrong)
    if f"{subject}/{plan.id}" in ledger.plan_ids:
        return Reason.DUPLICATE, f"id: {plan.id} was used before; a plan's id is used once, give this one another"
    if before := plan_of_before(ledger, plan):
        return Reason.RESTORED, before
    if now_ms >= plan.expires_ms:
        return Reason.EXPIRED, "expiresMs: the plan has expired; sign it again with a later time"
    return None


def _goes_first(ledger: Ledger, view: View, plan: Plan, subject: str, now_ms: int) -> bool:
    """Return whether a plan begins before those that wait (``in_turn``)."""
    state = ledger.subject(subject)
    ended = _end_of_watch(ledger, view, subject, now_ms)
    rest = ended.state if ended is not None and ended.state is not None else state
    if not rest.queue or not resting(rest) or not goes_first(ledger, view, plan, rest, now_ms):
        return False
    held = kept_from_starting(ledger, view, rest, now_ms)
    return held is not None and held[0] in PASSING


def _superseded(ledger: Ledger, view: View, subject: str, now_ms: int) -> Change | None:
    """Return the end of a watch, where one is going on and nothing waits: a new plan may start from watching (D6).

    Plans that were queued before the watch began wait for its end, since nobody is looking on when they start.
    """
    return None if ledger.subject(subject).queue else _end_of_watch(ledger, view, subject, now_ms)


def _came_in_watch(ledger: Ledger, state: SubjectState) -> bool:
    """Return whether the first plan that waits came while what is watched now was watched already: it may supersede it."""
    return bool(state.queue) and state.phase is Phase.WATCHING and ledger.plans[state.queue[0]].watched == state.rollout


def _end_of_watch(ledger: Ledger, view: View, subject: str, now_ms: int) -> Change | None:
    """Return the end of a watch that a new plan may supersede: not one of a group, for what comes between its waves waits."""
    scene = scene_of(ledger, view, subject, now_ms)
    if scene is None or scene.state.phase is not Phase.WATCHING or holding(ledger, subject) is not None:
        return None
    return complete_rollout(scene, Reason.SUPERSEDED, f"A new plan supersedes the watch of {scene.plan.artifact.version}.")


def unfit_now(
    ledger: Ledger, view: View, plan: Plan, state: SubjectState, now_ms: int, *, first: bool = False
) -> Obstacle | None:
    """Return why a sound plan does not fit its subject as that is now, or None where it may start or wait. ``first``: it begins
    before those that wait, so neither their number nor ``whenBusy`` says anything of it.
    """
    if resting(state) and not state.queue:
        found = obstacle(ledger, view, plan, state, now_ms)
        # Whoever refuses to be queued does not refuse to be approved of.
        waits = (
            found is not None and found[0] in PASSING and (plan.when_busy is WhenBusy.QUEUE or found[0] is Reason.NOT_APPROVED)
        )
        return None if waits else found
    if not first and plan.when_busy is WhenBusy.REFUSE:
        return Reason.ALREADY_RUNNING, f"whenBusy: {state.subject} is busy with {state.rollout}, and the plan says refuse"
    if not first and len(state.queue) >= QUEUE_MAX:
        return Reason.ALREADY_RUNNING, f"{len(state.queue)} plans of {state.subject} wait already; abort one or send it later"
    wanted = identity(plan.rollback.artifact) if plan.rollback is not None else None
    possible = _may_be_settled(ledger, state)
    if wanted not in {identity(artifact) if artifact is not None else None for artifact in possible}:
        versions = ", ".join(sorted(artifact.version for artifact in possible if artifact is not None))
        return Reason.WRONG_ROLLBACK_TARGET, f"rollback.artifact: when this plan's turn comes, one of {versions} will be settled"
    return None


def _may_be_settled(ledger: Ledger, state: SubjectState) -> list[Artifact | None]:
    ahead = [state.plan_digest, *state.queue] if state.phase in HOLDING or state.phase is Phase.WATCHING else state.queue
    return [state.settled, *(ledger.plans[one].plan.artifact for one in ahead if one in ledger.plans)]


def _waits(ledger: Ledger, view: View, plan: Plan, state: SubjectState, now_ms: int) -> str:
    if not resting(state):
        return f"{state.rollout} is {state.phase}."
    if state.queue:
        return f"{len(state.queue)} plans come before it."
    found = obstacle(ledger, view, plan, state, now_ms)
    return found[1] if found is not None else ""
