"""The second approver: who else must say yes to a plan, and whose yes counts (H3)."""

from msgspec.structs import replace

from tidegate.rollout.change import Change, refusal
from tidegate.rollout.ledger import AcceptedPlan, Ledger
from tidegate.rollout.policies import in_force
from tidegate.wire.codec import decode
from tidegate.wire.decisions import DecisionKind, SubjectState
from tidegate.wire.documents import Intent, PublicKey
from tidegate.wire.envelope import Envelope
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason


def asks_for_approval(ledger: Ledger, plan: Plan, subject: str) -> str:
    """Return who asks for a second approver of a plan, in words; empty where nobody does."""
    if plan.second_approver:
        return "the plan"
    return next((f"the policy {held.policy.name}" for held in in_force(ledger, subject) if held.policy.second_approver), "")


def approved(ledger: Ledger, plan: Plan, state: SubjectState) -> bool:
    """Return whether a plan has every approval that is asked for."""
    return plan.id in state.approved or not asks_for_approval(ledger, plan, state.subject)


def still_approved(ledger: Ledger, state: SubjectState, *current: Plan) -> tuple[str, ...]:
    """Return the approvals of plans that are current or wait: those of others are forgotten."""
    named = [ledger.plans.get(name) for name in (state.plan_digest, *state.queue)]
    known = {plan.id for plan in current} | {accepted.plan.id for accepted in named if accepted is not None}
    return tuple(one for one in state.approved if one in known)


def approve(ledger: Ledger, state: SubjectState, intent: Intent, key: PublicKey | None) -> Change:
    """Return the record that answers an approval.

    Who signed the plan does not count, under whatever name: neither the key of one of its signatures nor its actor.
    """
    waiting = {ledger.plans[name].plan.id: ledger.plans[name] for name in state.queue}
    accepted = waiting.get(intent.target)
    if accepted is None:
        return refusal(intent, Reason.UNKNOWN, f"no plan {intent.target!r} waits; there: {', '.join(waiting) or 'none'}")
    if approved(ledger, accepted.plan, state):
        return refusal(intent, Reason.NOTHING_TO_DO, f"{intent.target} needs no approval any more")
    if intent.actor == accepted.plan.actor or (key is not None and key.id in _signers(accepted)):
        signed = f"it is {accepted.plan.actor or 'nobody'}'s, signed by {', '.join(sorted(_signers(accepted)))}"
        return refusal(intent, Reason.NOT_ALLOWED, f"{intent.target}: {signed}; somebody else has to approve, with another key")
    return Change(
        kind=DecisionKind.SETTING,
        reason=Reason.ASKED,
        subject=state.subject,
        message=intent.reason or f"{intent.actor} approves of plan {intent.target}.",
        facts={"plan": intent.target, "key": key.id if key is not None else ""},
        state=replace(state, approved=(*still_approved(ledger, state), intent.target)),
    )


def _signers(accepted: AcceptedPlan) -> frozenset[str]:
    """Return every key that a plan's envelope names; one that is named wrongly can only cost an approval."""
    return frozenset(signature.keyid for signature in decode(accepted.envelope, Envelope).signatures)
