"""Flags and the code that they need (G4): no flag grows before its version is there, and it is safe before that version goes.

Knight Capital, 2012: a flag woke code that was not there any more.
"""

from collections.abc import Iterator
from itertools import takewhile

from msgspec.structs import replace

from tidegate.rollout.change import Change
from tidegate.rollout.history import identity
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.verdicts import Blocker
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.flagspecs import FlagSpec, RequiredVersion
from tidegate.wire.flagstates import FlagState, Off, is_flag
from tidegate.wire.names import service_of, service_subject
from tidegate.wire.plans import Artifact, Plan
from tidegate.wire.reasons import Reason


def code_missing(ledger: Ledger, *specs: FlagSpec | None) -> Blocker | None:
    """Return which version that specs need is not there, or None. It is there where it is settled, or everywhere and watched."""
    for spec in specs:
        for need in spec.requires_version if spec is not None else ():
            if not _there(ledger, need):
                state = ledger.subject(service_subject(need.service))
                settled = f"settled is {state.settled.version}" if state.settled is not None else "nothing is settled"
                return Reason.CODE_MISSING, f"It needs {need.version} of {need.service}; there {settled}."
    return None


def made_safe(ledger: Ledger, change: Change) -> list[Change]:
    """Return the changes that come before one by which versions go back: each flag that needs one of them goes safe (G4)."""
    leaving = _leaving(ledger, change)
    if not leaving:
        return []
    needing = [(state, _served(state, leaving)) for _, state in sorted(ledger.flags.items())]
    return [_safe(state, need) for state, need in needing if need is not None]


def _there(ledger: Ledger, need: RequiredVersion) -> bool:
    state = ledger.subject(service_subject(need.service))
    accepted = ledger.plans.get(state.plan_digest)
    if state.phase is Phase.WATCHING and accepted is not None:
        return accepted.plan.artifact.version == need.version
    # A plan that goes back takes it away, and on the way back from a fast one nobody has it before the last is back.
    goes = state.phase in (Phase.RUNNING, Phase.PAUSED, Phase.ROLLING_BACK)
    leaves = accepted is not None and goes and _goes_back(ledger, state.subject, accepted.plan)
    return state.settled is not None and state.settled.version == need.version and not leaves


def _leaving(ledger: Ledger, change: Change) -> frozenset[RequiredVersion]:
    """Return the versions that a change takes away: of a rollback the one that it is of; and what came after the one that it goes
    back to, which of a plan that goes back may lie further back (H2).
    """
    if is_flag(change.subject) or change.state is None:
        return frozenset()
    service, accepted = service_of(change.subject), ledger.plans.get(change.state.plan_digest)
    if service is None or accepted is None:
        return frozenset()
    plan = accepted.plan
    if change.kind is DecisionKind.ROLLBACK:
        target, leaves = change.state.settled, {plan.artifact.version}
    elif change.kind is DecisionKind.START and _goes_back(ledger, change.subject, plan):
        target, leaves = plan.artifact, set()
    else:
        return frozenset()
    if target is not None:
        leaves |= {one.version for one in _after(ledger, change.subject, target)} - {target.version}
    return frozenset(RequiredVersion(service=service, version=version) for version in leaves)


def _goes_back(ledger: Ledger, subject: str, plan: Plan) -> bool:
    """Return whether a plan goes to what was settled before, by stages or at once."""
    return plan.fast or identity(plan.artifact) in {identity(one) for one in ledger.history.get(subject, ())}


def _after(ledger: Ledger, subject: str, target: Artifact) -> Iterator[Artifact]:
    """Yield what was settled of a service later than ``target``, the newest first."""
    settled = ledger.subject(subject).settled
    known = (*([settled] if settled is not None else []), *ledger.history.get(subject, ()))
    return takewhile(lambda one: identity(one) != identity(target), known)


def _served(state: FlagState, leaving: frozenset[RequiredVersion]) -> RequiredVersion | None:
    """Return which of some versions that needs what somebody may have, or get back by a restore; None where it needs none."""
    if state.archived or state.off is not Off.NONE:
        return None
    specs = [spec for spec, has in ((state.spec, state.weight or state.held), (state.before, True)) if spec is not None and has]
    return next((need for spec in specs for need in spec.requires_version if need in leaving), None)


def _safe(state: FlagState, leaving: RequiredVersion) -> Change:
    return Change(
        kind=DecisionKind.SAFE,
        reason=Reason.CODE_RETREATED,
        subject=state.subject,
        message=f"It needs {leaving.version} of {leaving.service}, which goes back: everyone has the safe variant from now on.",
        facts={"service": leaving.service, "version": leaving.version},
        flag=stopped(replace(state, off=Off.CODE_RETREATED)),
        part=True,
    )


def stopped(state: FlagState) -> FlagState:
    """Return a flag that is pinned: its ramp, if one is under way, waits for a person, and is not judged meanwhile."""
    if not state.under_way:
        return state
    return replace(state, phase=Phase.PAUSED, paused_reason=Reason.ASKED, placement="")
