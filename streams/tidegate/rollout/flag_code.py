"""Flags and the code that they need (G4): no flag grows before its version is there, and it is safe before that version goes.

Knight Capital, 2012: a flag woke code that was not there any more.
"""

from msgspec.structs import replace

from tidegate.rollout.change import Change
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.verdicts import Blocker
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.flagspecs import FlagSpec, RequiredVersion
from tidegate.wire.flagstates import FlagState, Off, is_flag
from tidegate.wire.names import service_of, service_subject
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
    """Return the changes that come before one by which a version goes back: each flag that needs it goes safe (G4)."""
    leaving = _leaving(ledger, change)
    if leaving is None:
        return []
    return [_safe(state, leaving) for _, state in sorted(ledger.flags.items()) if _served(state, leaving)]


def _there(ledger: Ledger, need: RequiredVersion) -> bool:
    state = ledger.subject(service_subject(need.service))
    accepted = ledger.plans.get(state.plan_digest)
    if state.phase is Phase.WATCHING and accepted is not None:
        return accepted.plan.artifact.version == need.version
    leaves = accepted is not None and accepted.plan.fast and state.phase in (Phase.RUNNING, Phase.PAUSED)
    return state.settled is not None and state.settled.version == need.version and not leaves


def _leaving(ledger: Ledger, change: Change) -> RequiredVersion | None:
    """Return the version that a change takes away: a rollback the one that it is of, a fast plan the one that is settled."""
    if is_flag(change.subject) or change.state is None:
        return None
    service, accepted = service_of(change.subject), ledger.plans.get(change.state.plan_digest)
    if service is None or accepted is None:
        return None
    if change.kind is DecisionKind.ROLLBACK:
        return RequiredVersion(service=service, version=accepted.plan.artifact.version)
    if change.kind is DecisionKind.START and accepted.plan.fast and change.state.settled is not None:
        return RequiredVersion(service=service, version=change.state.settled.version)
    return None


def _served(state: FlagState, leaving: RequiredVersion) -> bool:
    """Return whether somebody may have, or get back by a restore, what needs a version."""
    if state.archived or state.off is not Off.NONE:
        return False
    new = leaving in state.spec.requires_version and (state.weight or state.held)
    return bool(new) or (state.before is not None and leaving in state.before.requires_version)


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
