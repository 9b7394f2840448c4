"""The start of a rollout: what may still stand in its way, its roster, its first state (B1, B7, D6, D7)."""

from msgspec.structs import replace

from tidegate.rollout.approvals import approved, asks_for_approval, still_approved
from tidegate.rollout.change import Change, counted
from tidegate.rollout.history import identity
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.membership import holding, turn
from tidegate.rollout.policies import resting_from
from tidegate.rollout.restored import plan_of_before
from tidegate.rollout.restraint import restraint
from tidegate.rollout.roster import Eligible, eligible, in_order, wave_ends, why_none
from tidegate.rollout.stages import placement, shrinking, size_of
from tidegate.rollout.view import View
from tidegate.wire.decisions import DecisionKind, Result, SubjectState
from tidegate.wire.documents import Phase, Roster, digest_of
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason

Obstacle = tuple[Reason, str]

PASSING = frozenset(
    {
        Reason.ALREADY_RUNNING,
        Reason.FROZEN,
        Reason.BUDGET_SPENT,
        Reason.DWELLING,
        Reason.NOT_APPROVED,
        Reason.ALARM_OPEN,
        Reason.EARLIER_WAVE,
        Reason.GROUP_PAUSED,
    }
)
"""Obstacles that pass: a plan may wait for it. Every other one is for good."""


def resting(state: SubjectState) -> bool:
    """Return whether nothing of a subject is under way."""
    return state.phase in (Phase.IDLE, Phase.DONE)


def obstacle(ledger: Ledger, view: View, plan: Plan, state: SubjectState, now_ms: int) -> Obstacle | None:
    """Return why a plan cannot start on a resting subject, or None.

    ``PASSING`` tells which of them it may wait for: its group, other rollouts that hold too many of its nodes (B1), policies, a
    second approver. Who waits for these is not held to what its fleet is like meanwhile.
    """
    if now_ms >= plan.expires_ms:
        return Reason.EXPIRED, "expiresMs: the plan expired before it could begin; sign it again with a later time"
    if unfit := _unfit(ledger, plan, state):
        return unfit
    if waits := turn(ledger, plan, state) or _waits(ledger, view, plan, state, now_ms):
        return waits
    nodes = eligible(ledger, view, state.subject, state.settled, now_ms)
    if not nodes.free and not nodes.held:
        return Reason.NO_ELIGIBLE_NODES, why_none(ledger, view, state.subject, now_ms)
    return _too_few(plan, nodes, view)


def in_turn(ledger: Ledger, view: View, state: SubjectState, now_ms: int) -> SubjectState:
    """Return a resting subject with the plan in front whose turn it is: the first that came; where that waits, one that nothing
    keeps (``goes_first``), or what mends an incident would wait for who waits for its end.
    """
    held = kept_from_starting(ledger, view, state, now_ms) if len(state.queue) > 1 else None
    if held is None or held[0] not in PASSING:
        return state
    for name in state.queue[1:]:
        plan = ledger.plans[name].plan
        if goes_first(ledger, view, plan, state, now_ms) and not plan_of_before(ledger, plan):
            return replace(state, queue=(name, *(one for one in state.queue if one != name)))
    return state


def goes_first(ledger: Ledger, view: View, plan: Plan, state: SubjectState, now_ms: int) -> bool:
    """Return whether a plan that no freeze, budget or alarm stops (fast), or no alarm (``despiteAlarms``), may begin now."""
    if not (plan.fast or plan.despite_alarms) or holding(ledger, state.subject) is not None:
        return False
    return obstacle(ledger, view, plan, replace(state, queue=()), now_ms) is None


def next_start(ledger: Ledger, view: View, subject: str, now_ms: int) -> Change | None:
    """Return the start of the plan of a resting subject whose turn it is, or its refusal; None where none waits or may start.

    A group's plan is never dropped: its group is paused for it, and a person decides.
    """
    state = ledger.subject(subject)
    if not resting(state) or not state.queue:
        return None
    state = in_turn(ledger, view, state, now_ms)
    name = state.queue[0]
    plan, waiting = ledger.plans[name].plan, replace(state, queue=state.queue[1:])
    found = kept_from_starting(ledger, view, state, now_ms)
    if found is None:
        return begin(ledger, view, waiting, name, now_ms)
    reason, problem = found
    if reason in PASSING or holding(ledger, subject) is not None:
        return None
    return Change(
        kind=DecisionKind.REFUSE,
        reason=reason,
        subject=subject,
        message=f"Plan {plan.id} waited and cannot start: {problem}",
        state=waiting,
    )


def kept_from_starting(ledger: Ledger, view: View, state: SubjectState, now_ms: int) -> Obstacle | None:
    """Return why the first plan of a resting subject's queue cannot start, or None."""
    plan = ledger.plans[state.queue[0]].plan
    before = plan_of_before(ledger, plan)
    return (Reason.RESTORED, before) if before else obstacle(ledger, view, plan, state, now_ms)


def begin(ledger: Ledger, view: View, state: SubjectState, plan_digest: str, now_ms: int) -> Change:
    """Return the start of a plan; of one that was the subject's last, the next attempt (B8)."""
    plan = ledger.plans[plan_digest].plan
    attempt = state.attempt + 1 if state.plan_digest == plan_digest else 1
    rollout = f"{plan.id}.{attempt}"
    free = eligible(ledger, view, state.subject, state.settled, now_ms).free
    roster = Roster(
        fleet=plan.fleet,
        subject=state.subject,
        rollout=rollout,
        nodes=in_order(rollout, free, view, plan.waves),
        waves=wave_ends(free, view, plan.waves),
    )
    nodes, stages = counted(len(roster.nodes), "node"), counted(len(plan.stages), "stage")
    new = SubjectState(
        subject=state.subject,
        generation=state.generation,
        phase=Phase.RUNNING,
        result=Result.NONE,
        plan_digest=plan_digest,
        rollout=rollout,
        attempt=attempt,
        roster_digest=digest_of(roster),
        placement=placement(plan, roster, attempt, 0),
        started_ms=now_ms,
        stage_ms=now_ms,
        settled=state.settled,
        quarantined=state.quarantined,
        queue=state.queue,
        missing=state.missing,
        since_generation=state.generation + 1,
        approved=still_approved(ledger, state, plan),
    )
    return Change(
        kind=DecisionKind.START,
        reason=Reason.STARTED,
        subject=state.subject,
        message=f"{rollout} brings {plan.artifact.version} to {nodes} in {stages}; the artifact is fetched first.",
        actor=plan.actor,
        facts={"nodes": list(roster.nodes)},
        roster=roster,
        state=new,
    )


def _unfit(ledger: Ledger, plan: Plan, state: SubjectState) -> Obstacle | None:
    """Return what in the plan does not fit what is settled."""
    target = plan.rollback.artifact if plan.rollback is not None else None
    if state.settled is not None and plan.artifact.version == state.settled.version:
        return Reason.SAME_VERSION, f"artifact.version: {plan.artifact.version} is settled already"
    if state.settled is None and target is not None:
        return Reason.WRONG_ROLLBACK_TARGET, f"rollback: this is the first plan of {state.subject}, it has none; leave it out"
    if state.settled is not None and (target is None or identity(target) != identity(state.settled)):
        return (
            Reason.WRONG_ROLLBACK_TARGET,
            f"rollback.artifact: must be what is settled: version {state.settled.version}, sha256 {state.settled.sha256}",
        )
    history = ledger.history.get(state.subject, ())
    if plan.fast and identity(plan.artifact) not in {identity(one) for one in history}:
        known = ", ".join(one.version for one in history if one.version not in state.quarantined) or "nothing"
        return Reason.NOT_ALLOWED, f"fast: only what was settled before comes back without stages: {known}"
    if plan.artifact.version in state.quarantined:
        return (
            Reason.QUARANTINED,
            f"artifact.version: {plan.artifact.version} was rolled back; a person may release it from quarantine",
        )
    return None


def _waits(ledger: Ledger, view: View, plan: Plan, state: SubjectState, now_ms: int) -> Obstacle | None:
    """Return which policy or alarm, or whose word, a plan waits for (H3, D4)."""
    if not approved(ledger, plan, state):
        asks = asks_for_approval(ledger, plan, state.subject)
        return Reason.NOT_APPROVED, f"{asks} asks for a second approver: rollout approve {plan.service} {plan.id}"
    if plan.fast:
        return None
    return restraint(ledger, view, plan, now_ms) or resting_from(ledger, state, now_ms)


def _too_few(plan: Plan, nodes: Eligible, view: View) -> Obstacle | None:
    """Return ALREADY_RUNNING where others hold so many that a first stage and as many controls do not fit, or that stages do not
    grow which would on all nodes (B1).
    """
    every = len(nodes.free) + len(nodes.held)
    ends = wave_ends(nodes.free + nodes.held, view, plan.waves)
    taken = f"{len(nodes.held)} of {every} eligible nodes take part in another rollout"
    if nodes.held and len(nodes.free) < min(every, 2 * size_of(plan.stages[0], every, ends)):
        return Reason.ALREADY_RUNNING, taken
    shrinks = shrinking(plan, len(nodes.free), wave_ends(nodes.free, view, plan.waves))
    if shrinks and nodes.held and not shrinking(plan, every, ends):
        return Reason.ALREADY_RUNNING, f"{taken}; without them, {shrinks}"
    return (Reason.BAD_DOCUMENT, shrinks) if shrinks else None
