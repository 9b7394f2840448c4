"""A ramp stopped and back: fails switch the flag off, signals pause it, and it goes on by itself when they are over (G2, G3, D5).

None of D4 is needed for these, and each is at once: a share is given back in the moment in which it is decided.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from tidegate.rollout.change import Change, Fact
from tidegate.rollout.gates import timed_out
from tidegate.rollout.ramp import Ramp
from tidegate.rollout.restraint import alarms_ended_ms, open_alarms
from tidegate.rollout.retreat import QUARANTINED_MAX
from tidegate.rollout.verdicts import BURNED_OUT_MS, facts_of, lifted, lifts_itself, outweighs
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.flagstates import Off, RampResult, spec_digest
from tidegate.wire.judgement import Verdict
from tidegate.wire.plans import Action, GateDefault
from tidegate.wire.reasons import Reason


def failing(ramp: Ramp) -> Change | None:
    """Return what a fail asks for, while running or paused: off, back, or a pause; None where nothing failed. One service is
    enough (G3).
    """
    fails = {service: ramp.fails(service) for service in ramp.services}
    broken = next(_all(fails, Action.ROLLBACK), None)
    if broken is not None:
        what = _told(broken)
        if ramp.course.on_fail is Action.ROLLBACK:
            return replace(switched_off(ramp, broken.reason, what), facts=_facts(broken))
        return _stop(ramp, broken.reason, f"{what} The ramp says onFail: pause.", _facts(broken))
    gate = timed_out(ramp.stage.pause, ramp.state, ramp.now_ms) if ramp.state.phase is Phase.RUNNING else None
    if gate is not None and gate.default is GateDefault.ROLLBACK:
        message = f"Nobody answered the gate within {gate.duration}; its default is rollback."
        return back(ramp, Reason.GATE_TIMED_OUT, message, RampResult.ROLLED_BACK)
    stops = [_stop(ramp, one.reason, _told(one), _facts(one)) for one in _all(fails, Action.PAUSE)]
    for service in ramp.services:
        stops += [
            _stop(ramp, reason, f"{service}: {said}", {"service": service}) for reason, said in open_alarms(ramp.view, service)
        ]
    return next((stop for stop in stops if stop is not None), None)


def recovered(ramp: Ramp) -> Change | None:
    """Return that a ramp goes on whose signals are over, in every service: alarms for 30 s, fails as of a rollout (``lifted``).

    Its stage bakes anew: what happened meanwhile is no word about the flag. A fail that a person has to decide about is never
    overruled (D5): its pause has taken the place of a signal's (``failing``).
    """
    reason, over = ramp.state.paused_reason, alarm_over_ms(ramp)
    if not lifts_itself(reason) or over is None or ramp.now_ms < over:
        return None
    if reason is Reason.ALARM_OPEN:
        return resume(ramp, Reason.ALARM_OVER, "The critical alarms of its services have been over for 30 s.")
    found = []
    for service in ramp.services:
        fails = ramp.fails(service)
        if Action.ROLLBACK in fails:
            return None
        fail = fails.get(Action.PAUSE)
        if fail is None:
            continue
        over_why = lifted(reason, fail, ramp.verdict(service))
        if over_why is None:
            return None
        found.append(over_why)
    return resume(ramp, *found[0]) if found else None


def alarm_over_ms(ramp: Ramp) -> int | None:
    """Return when alarms let a paused ramp go on; None while one is open."""
    if any(True for service in ramp.services for _ in open_alarms(ramp.view, service)):
        return None
    return max((alarms_ended_ms(ramp.view, service) for service in ramp.services), default=0) + BURNED_OUT_MS


def resume(ramp: Ramp, reason: Reason, message: str) -> Change:
    """Return that a paused ramp goes on at its stage's share, with bake and gate anew; the pauses that verdicts have asked for so
    far are overruled.
    """
    state = ramp.state
    return ramp.changed(
        DecisionKind.RESUME,
        reason,
        message,
        phase=Phase.RUNNING,
        paused_reason=None,
        baking_since_ms=ramp.now_ms,
        gate_since_ms=0,
        gate_passed=False,
        resumed_generation=state.generation + 1,
    )


def switched_off(ramp: Ramp, reason: Reason, message: str) -> Change:
    """Return that everyone has the safe variant, those outside of the share too, and the spec is in quarantine."""
    state, name = ramp.state, spec_digest(ramp.state.spec)
    kept = [one for one in state.quarantined if one != name]
    return ramp.changed(
        DecisionKind.ROLLBACK,
        reason,
        f"{message} Everyone has the safe variant from now on.",
        off=Off.SWITCHED_OFF,
        weight=0,
        held=0,
        ramp=None,
        phase=Phase.DONE,
        result=RampResult.SWITCHED_OFF,
        paused_reason=None,
        placement="",
        quarantined=(*kept, name)[-QUARANTINED_MAX:],
    )


def back(ramp: Ramp, reason: Reason, message: str, result: RampResult) -> Change:
    """Return the end of a ramp: everyone has what was before it, of a new flag the safe variant."""
    return ramp.changed(
        DecisionKind.ROLLBACK,
        reason,
        message,
        **before_fields(ramp),
        ramp=None,
        phase=Phase.DONE,
        result=result,
        paused_reason=None,
        placement="",
    )


def before_fields(ramp: Ramp) -> dict[str, object]:
    """Return the fields that put what was before in the place of what was set last."""
    state = ramp.state
    weight = state.before_weight if state.before is not None else 0
    return {"spec": state.before or state.spec, "weight": weight, "held": weight, "before": None, "before_weight": 0}


def _all(fails: dict[str, dict[Action, Verdict]], action: Action) -> Iterator[Verdict]:
    return (found[action] for _, found in sorted(fails.items()) if action in found)


def _told(verdict: Verdict) -> str:
    return f"{verdict.service}: {verdict.sentence or f'The verdict is {verdict.reason}.'}"


def _facts(verdict: Verdict) -> dict[str, Fact]:
    return facts_of(verdict) | {"service": verdict.service}


def _stop(ramp: Ramp, reason: Reason, message: str, facts: dict[str, Fact]) -> Change | None:
    state = ramp.state
    if state.phase is Phase.PAUSED and not outweighs(reason, state.paused_reason):
        return None
    return ramp.paused(reason, message, facts)
