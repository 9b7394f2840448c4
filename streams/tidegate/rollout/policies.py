"""Policies: what becomes of one that arrives, and what those in force stop (H3). Starts and advances wait, no retreat (D5)."""

from collections.abc import Iterator

from tidegate.rollout.calendar import holds, last_edge_ms, next_edge_ms, shown
from tidegate.rollout.change import Change, counted
from tidegate.rollout.events import PolicyArrived
from tidegate.rollout.ledger import InForce, Ledger, Retreat
from tidegate.rollout.verdicts import Judged
from tidegate.rollout.view import View
from tidegate.wire.codec import told_faults
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import digest
from tidegate.wire.names import duration_ms, service_of
from tidegate.wire.policies import POLICY_PREFIX, Policy, policy_faults
from tidegate.wire.reasons import Reason

Restraint = tuple[Reason, str]

POLICIES_MAX = 64
"""So many names: each is looked at for every step of every rollout."""
_WENT_BACK = frozenset({Result.ROLLED_BACK, Result.ABORTED, Result.FAILED})


def answer_policy(ledger: Ledger, view: View, event: PolicyArrived) -> list[Change]:
    """Return the one record that answers a policy; none where these very bytes were answered before (D3)."""
    policy = event.policy
    astray = policy is not None and event.subject != policy.key
    # Sent under a wrong key it must not have answered the right one.
    name = digest(event.subject.encode() + event.envelope if astray else event.envelope)
    if name in ledger.answered:
        return []
    if policy is None or event.fault is not None:
        reason, problem = event.fault or Reason.BAD_DOCUMENT, event.problem or "the policy cannot be read"
        return [Change(kind=DecisionKind.REFUSE, reason=reason, subject=event.subject, message=problem, answers=name)]
    found = _obstacle(ledger, view, event.subject, policy)
    if found is not None:
        reason, problem = found
        return [
            Change(
                kind=DecisionKind.REFUSE,
                reason=reason,
                subject=policy.key,
                message=problem,
                actor=policy.actor,
                answers=name,
            )
        ]
    return [
        Change(
            kind=DecisionKind.SETTING,
            reason=Reason.ASKED,
            subject=policy.key,
            message=_told(policy),
            actor=policy.actor,
            answers=name,
            policy=event.envelope.decode(),
        )
    ]


def in_force(ledger: Ledger, subject: str) -> Iterator[InForce]:
    """Return the policies that hold for a subject, by name."""
    return (held for held in _ever_covering(ledger, subject) if not held.policy.empty)


def forbidden(ledger: Ledger, subject: str, now_ms: int) -> Restraint | None:
    """Return which policy keeps a subject's rollouts from starting and advancing now: a freeze, or a spent budget; or None."""
    for held in in_force(ledger, subject):
        policy = held.policy
        frozen = next((freeze for freeze in policy.freezes if holds(freeze, now_ms)), None)
        if frozen is not None:
            why = f": {policy.reason}" if policy.reason else ""
            return Reason.FROZEN, f"The freeze {policy.name} holds, {shown(frozen)}{why}."
        spent = spent_by(ledger, held, now_ms)
        if spent:
            return Reason.BUDGET_SPENT, f"{told_budget(policy, spent)} Signing the policy anew begins to count anew."
    return None


def resting_from(ledger: Ledger, state: Judged, now_ms: int, *subjects: str) -> Restraint | None:
    """Return why a subject has to rest after its last rollout, or None. ``subjects``: whose policies hold; none: its own."""
    for held in (one for subject in subjects or (state.subject,) for one in in_force(ledger, subject)):
        left_ms = _rested_ms(ledger, held, state) - now_ms
        if left_ms > 0:
            what = f"The policy {held.policy.name} asks for {held.policy.dwell} between rollouts"
            return Reason.DWELLING, f"{what}; {left_ms / 1_000:.0f} s of it are left."
    return None


def rested_ms(ledger: Ledger, state: Judged, *subjects: str) -> int:
    """Return from when on no policy asks a subject to rest any more; as above."""
    return max(
        (_rested_ms(ledger, held, state) for one in subjects or (state.subject,) for held in in_force(ledger, one)), default=0
    )


def spent_by(ledger: Ledger, held: InForce, now_ms: int) -> list[Retreat]:
    """Return the rollbacks that have spent a policy's budget; empty while some of it is left."""
    budget = held.policy.rollback_budget
    if budget is None:
        return []
    since_ms = max(held.since_ms, now_ms - duration_ms(budget.within))
    counts = [one for one in ledger.retreats if since_ms < one.at_ms <= now_ms and _counts(held.policy, one)]
    return counts if len(counts) >= budget.rollbacks else []


def told_budget(policy: Policy, spent: list[Retreat]) -> str:
    """Return in a sentence that a budget is spent."""
    within = policy.rollback_budget.within if policy.rollback_budget is not None else ""
    services = ", ".join(sorted({service_of(one.subject) or one.subject for one in spent}))
    return f"{counted(len(spent), 'rollback')} within {within} ({services}): the budget of policy {policy.name} is spent."


def covers(policy: Policy, subject: str) -> bool:
    """Return whether a policy holds for a subject."""
    return not policy.services or service_of(subject) in policy.services


def thawed_ms(ledger: Ledger, subject: str, now_ms: int) -> int:
    """Return when a freeze or a spent budget that covers a subject may last have begun or ended, or a policy that covers it, or
    did, was signed: nobody can be blamed for the time before.
    """
    edges = [edge for held in _ever_covering(ledger, subject) for edge in _last_edges(ledger, held, now_ms)]
    signed = [held for held in ledger.policies.values() if any(covers(one, subject) for one in (held.policy, held.before) if one)]
    return max((*edges, *(held.since_ms for held in signed)), default=0)


def edges_ms(ledger: Ledger, subject: str, now_ms: int) -> Iterator[int]:
    """Yield the next times at which a policy may begin or cease to stop a subject."""
    state = ledger.subject(subject)
    for held in in_force(ledger, subject):
        edges = (next_edge_ms(freeze, now_ms) for freeze in held.policy.freezes)
        yield from (edge for edge in edges if edge is not None)
        budget = held.policy.rollback_budget
        if budget is not None:
            yield from (one.at_ms + duration_ms(budget.within) for one in ledger.retreats if _counts(held.policy, one))
        if state.queue:
            yield _rested_ms(ledger, held, state)


def _counts(policy: Policy, retreat: Retreat) -> bool:
    """Return whether a rollback is of what a policy covers: of a flag, by the services that judged it as well."""
    return covers(policy, retreat.subject) or any(service in policy.services for service in retreat.services)


def _obstacle(ledger: Ledger, view: View, key: str, policy: Policy) -> Restraint | None:
    if view.fleet and policy.fleet != view.fleet:
        return Reason.WRONG_FLEET, f"fleet: this policy is for {policy.fleet}, here is {view.fleet}"
    if key != policy.key:
        return (
            Reason.BAD_DOCUMENT,
            f"name: this is the policy {policy.name}, and it was sent as {key.removeprefix(POLICY_PREFIX)}",
        )
    wrong = policy_faults(policy)
    if wrong:
        return Reason.BAD_DOCUMENT, told_faults(wrong)
    before = ledger.policies.get(policy.name)
    if before is not None and policy.issued_ms <= before.policy.issued_ms:
        return Reason.DUPLICATE, "issuedMs: the policy in force was issued later; an older one does not come back"
    if policy.empty and (before is None or before.policy.empty):
        return Reason.NOTHING_TO_DO, f"no policy {policy.name} is in force; see: tidegate policy list"
    if before is None and len(ledger.policies) >= POLICIES_MAX:
        return Reason.NOT_ALLOWED, f"there are {POLICIES_MAX} policies already; use one of their names"
    return None


def _told(policy: Policy) -> str:
    if policy.empty:
        return f"The policy {policy.name} ends here." + (f" {policy.reason}" if policy.reason else "")
    said = [f"frozen {shown(freeze)}" for freeze in policy.freezes]
    if policy.rollback_budget is not None:
        said.append(
            f"frozen after {counted(policy.rollback_budget.rollbacks, 'rollback')} within {policy.rollback_budget.within}"
        )
    if policy.dwell is not None:
        said.append(f"{policy.dwell} between rollouts")
    if policy.second_approver:
        said.append("a second person approves of each plan")
    where = ", ".join(policy.services) or "all services"
    return f"From now on for {where}: {'; '.join(said)}." + (f" {policy.reason}" if policy.reason else "")


def _ever_covering(ledger: Ledger, subject: str) -> Iterator[InForce]:
    return (held for _, held in sorted(ledger.policies.items()) if covers(held.policy, subject))


def _rested_ms(ledger: Ledger, held: InForce, state: Judged) -> int:
    """Return from when on a subject may begin again: its last rollout began, or went back, at least ``dwell`` before."""
    if held.policy.dwell is None or not state.rollout:
        return 0
    went_back_ms = ledger.flags_back_ms.get(state.subject, state.phase_ms if state.result in _WENT_BACK else 0)
    return max(state.started_ms, went_back_ms) + duration_ms(held.policy.dwell)


def _last_edges(ledger: Ledger, held: InForce, now_ms: int) -> Iterator[int]:
    yield from (last_edge_ms(freeze, now_ms) for freeze in held.policy.freezes)
    budget = held.policy.rollback_budget
    if budget is not None:
        counted_ms = (one.at_ms for one in ledger.retreats if _counts(held.policy, one))
        times = {edge for at_ms in counted_ms for edge in (at_ms, at_ms + duration_ms(budget.within)) if edge <= now_ms}
        # Of all these only those at which it was spent, or came back.
        yield from (at for at in times if bool(spent_by(ledger, held, at)) is not bool(spent_by(ledger, held, at - 1)))
