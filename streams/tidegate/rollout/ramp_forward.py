"""A ramp forward: its beginning, the next stage, the end. Each needs every condition of D4 at once, in every guarded service (G2,
G3).
"""

from collections.abc import Iterator

from msgspec.structs import replace

from tidegate.flags.published import WEIGHT_ALL
from tidegate.rollout.change import Change, Fact
from tidegate.rollout.flag_code import code_missing
from tidegate.rollout.gates import gate_blocker, gate_ending, timed_out
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.policies import forbidden, in_force, resting_from
from tidegate.rollout.ramp import PERCENT, Ramp, placed, ramp_of, shown
from tidegate.rollout.restraint import open_alarms
from tidegate.rollout.verdicts import Blocker, verdict_blockers
from tidegate.rollout.view import View
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.flagstates import Off, RampResult
from tidegate.wire.names import duration_ms
from tidegate.wire.plans import Gate, GateDefault
from tidegate.wire.reasons import Reason


def ramp_blockers(ledger: Ledger, view: View, subject: str, now_ms: int) -> list[Blocker]:
    """Return every condition that a flag's ramp still lacks to begin or to advance (D4), each with a sentence for a person. Empty
    where nothing is under way, or where the next step advances.
    """
    ramp = ramp_of(ledger, view, subject, now_ms)
    if ramp is None or ramp.state.archived or ramp.state.phase is Phase.DONE:
        return []
    return list(unbegun(ramp) if ramp.state.phase is Phase.IDLE else _missing(ramp))


def begin(ramp: Ramp) -> Change | None:
    """Return the beginning of a ramp that waits for it, or of an immediate change that was approved; None while it waits."""
    if any(unbegun(ramp)):
        return None
    state = ramp.state
    if state.ramp is None:
        return at_once(ramp, Reason.STARTED, "It was approved of, and holds for everyone at once.")
    rollout = f"{state.proposed}.1"
    new = placed(
        replace(state, rollout=rollout, attempt=1, stage=0, weight=0, phase=Phase.RUNNING, judged=state.spec.guard),
        **_stage(ramp, 0),
        started_ms=ramp.now_ms,
    )
    stages = len(ramp.course.stages)
    message = f"{rollout} begins: {shown(new.weight)} have the new definition, stage 1 of {stages}."
    return Change(kind=DecisionKind.START, reason=Reason.STARTED, subject=state.subject, message=message, flag=new)


def forward(ramp: Ramp) -> Change | None:
    """Return the next forward change of a running ramp, or None while something is missing."""
    state = ramp.state
    gate = timed_out(ramp.stage.pause, state, ramp.now_ms)
    if gate is not None and gate.default is GateDefault.PROMOTE:
        message = f"Nobody answered the gate within {gate.duration}; its default is promote."
        return passed(ramp, Reason.GATE_TIMED_OUT, message)
    missing = [reason for reason, _ in _missing(ramp)]
    if missing == [Reason.GATE] and not state.gate_since_ms:
        message = f"Stage {state.stage + 1} waits at its gate; {gate_ending(ramp.stage.pause)}."
        return ramp.changed(DecisionKind.GATE, Reason.GATE_OPENED, message, gate_since_ms=ramp.now_ms)
    if missing:
        return None
    if ramp.last_stage:
        change = at_once(ramp, Reason.STAGE_PASSED, "Every stage passed: everyone has the new definition.")
        return replace(change, facts=_evidence(ramp))
    new = placed(state, **_stage(ramp, state.stage + 1))
    message = f"Stage {state.stage + 1} of {len(ramp.course.stages)} passed: {shown(new.weight)} have the new definition."
    return Change(
        kind=DecisionKind.PROMOTE,
        reason=Reason.STAGE_PASSED,
        subject=state.subject,
        message=message,
        facts=_evidence(ramp),
        flag=new,
    )


def passed(ramp: Ramp, reason: Reason, message: str) -> Change:
    """Return the passing of bake and gate of the stage; every other condition of D4 still holds."""
    return ramp.changed(DecisionKind.GATE, reason, message, gate_passed=True)


def at_once(ramp: Ramp, reason: Reason, message: str) -> Change:
    """Return that a definition holds for everyone."""
    return ramp.changed(
        DecisionKind.COMPLETE,
        reason,
        message,
        weight=WEIGHT_ALL,
        held=WEIGHT_ALL,
        before=None,
        before_weight=0,
        ramp=None,
        phase=Phase.DONE,
        result=RampResult.PROMOTED,
        paused_reason=None,
        placement="",
    )


def unbegun(ramp: Ramp) -> Iterator[Blocker]:
    """Yield what a change waits for before it begins."""
    state = ramp.state
    if state.killed or state.off is not Off.NONE:
        yield Reason.KILLED, f"{'It is killed' if state.killed else f'It is off ({state.off})'}; flag restore goes on."
    if state.asked_ms < ramp.ledger.restored_ms:
        yield (
            Reason.RESTORED,
            "It waited before the fleet was restored from an archive; flag restore goes on, flag abort ends it.",
        )
    asks = asks_for_approval(ramp)
    if asks and not state.approved:
        yield Reason.NOT_APPROVED, f"{asks} asks for a second approver: flag approve {state.key} {state.proposed}"
    yield from restraints(ramp)
    resting = resting_from(ramp.ledger, state, ramp.now_ms, *ramp.subjects)
    if resting is not None:
        yield resting


def restraints(ramp: Ramp) -> Iterator[Blocker]:
    """Yield what keeps a flag from growing, however its ramp stands: policies, open critical alarms, missing code (G4)."""
    yield from held_off(ramp)
    missing = code_missing(ramp.ledger, ramp.state.spec)
    if missing is not None:
        yield missing


def held_off(ramp: Ramp) -> Iterator[Blocker]:
    """Yield which policies, of the flag or of its guards' services, and which of their open critical alarms keep it as it is."""
    for subject in ramp.subjects:
        policy = forbidden(ramp.ledger, subject, ramp.now_ms)
        if policy is not None:
            yield policy
            break
    for service in ramp.guards:
        yield from open_alarms(ramp.view, service)


def asks_for_approval(ramp: Ramp) -> str:
    """Return which policy asks for a second approver of a flag's change, in words; empty where none does (H3)."""
    held = (one for subject in ramp.subjects for one in in_force(ramp.ledger, subject))
    return next((f"the policy {one.policy.name}" for one in held if one.policy.second_approver), "")


def _missing(ramp: Ramp) -> Iterator[Blocker]:
    state = ramp.state
    if state.phase is Phase.PAUSED:
        yield state.paused_reason or Reason.ASKED, f"The ramp is paused ({state.paused_reason}); flag resume goes on."
    left_ms = state.baking_since_ms + duration_ms(ramp.stage.bake) - ramp.now_ms
    if not state.gate_passed and left_ms > 0:
        yield Reason.BAKING, f"The stage bakes for {left_ms / 1_000:.0f} s more."
    for service in ramp.services:
        verdict, stage = ramp.verdict(service), ramp.stage
        found = verdict_blockers(verdict, state, stage.gate, stage.min_exposures, ramp.now_ms)
        yield from ((reason, f"{service}: {sentence}") for reason, sentence in found)
    yield from restraints(ramp)
    gate = gate_blocker(ramp.stage.pause, state, ramp.now_ms)
    if gate is not None:
        yield gate


def _stage(ramp: Ramp, stage: int) -> dict[str, object]:
    """Return the fields that a stage begins with: its share is there at once, so it bakes from the first moment."""
    weight = ramp.course.stages[stage].set_weight * PERCENT
    return {
        "stage": stage,
        "weight": weight,
        "held": weight,
        "baking_since_ms": ramp.now_ms,
        "gate_since_ms": 0,
        "gate_passed": False,
    }


def _evidence(ramp: Ramp) -> dict[str, Fact]:
    """Return the facts that licensed an advance (D1, C5)."""
    verdicts = [verdict for verdict in (ramp.verdict(service) for service in ramp.services) if verdict is not None]
    certified = ramp.stage.gate is Gate.CERTIFIED and all(verdict.certified for verdict in verdicts)
    return {
        "gate": str(Gate.CERTIFIED if certified else Gate.NO_EVIDENCE),
        "verdicts": [verdict.id for verdict in verdicts],
        "services": [verdict.service for verdict in verdicts],
        "canary_requests": min((verdict.canary_requests for verdict in verdicts), default=0),
    }
