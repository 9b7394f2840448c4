"""The gate after a stage: a person, or its default when the time is over, lets a rollout or a ramp go on (D4, D5)."""

from msgspec.structs import replace

from tidegate.rollout.change import Change
from tidegate.rollout.scene import Scene
from tidegate.rollout.verdicts import Blocker, Judged, promoting
from tidegate.wire.decisions import DecisionKind, SubjectState
from tidegate.wire.documents import Intent, Phase, Verb
from tidegate.wire.names import duration_ms
from tidegate.wire.plans import GateDefault, Pause
from tidegate.wire.reasons import Reason

_ANSWERS = frozenset({Reason.ASKED, Reason.GATE_PASSED, Reason.GATE_TIMED_OUT})
"""Why a gate is passed."""


def gate_blocker(gate: Pause | None, state: Judged, now_ms: int) -> Blocker | None:
    """Return why the gate of the stage holds it; None where there is none or it was passed."""
    if gate is None or state.gate_passed:
        return None
    asks = f"asks {gate.ask}, and " if gate.ask else ""
    what = f"{asks}{promoting(state)} answers it"
    if not state.gate_since_ms:
        return Reason.GATE, f"After this stage comes a gate; {what}."
    ends = gate_ends_ms(gate, state)
    if ends is None or gate.default is GateDefault.HOLD:
        return Reason.GATE, f"The gate of stage {state.stage + 1} waits for a person; {what}."
    left_s = max(0, ends - now_ms) // 1_000
    return Reason.GATE, f"The gate of stage {state.stage + 1} is open; {what}, and in {left_s} s its default is {gate.default}."


def gate_ends_ms(gate: Pause | None, state: Judged) -> int | None:
    """Return when an open gate's time is over; None where none is open or it has no end. A pause begins it anew."""
    if gate is None or gate.duration is None or not state.gate_since_ms or state.gate_passed:
        return None
    return max(state.gate_since_ms, state.phase_ms) + duration_ms(gate.duration)


def timed_out(gate: Pause | None, state: Judged, now_ms: int) -> Pause | None:
    """Return the gate whose time is over and that nobody answered; None while there is none."""
    ends = gate_ends_ms(gate, state)
    return gate if ends is not None and now_ms >= ends else None


def awaited(gate: Pause | None, state: SubjectState, now_ms: int) -> bool:
    """Return whether an open gate waits for people: nobody has answered it, and no default has taken their place."""
    if not state.gate_since_ms or state.gate_passed:
        return False
    over = timed_out(gate, state, now_ms)
    return over is None or over.default is GateDefault.HOLD


def ended_ms(gate: Pause | None, state: SubjectState) -> int:
    """Return when an opened gate was answered, or its time is over, in ms; 0 where neither is, or more was decided since."""
    if state.gate_since_ms and state.gate_passed and state.decided_reason in _ANSWERS:
        return state.decided_ms
    return gate_ends_ms(gate, state) or 0


def gate_ending(gate: Pause | None) -> str:
    """Return in words how a gate ends that nobody answers."""
    return f"after {gate.duration} its default is {gate.default}" if gate and gate.duration else "it has no end"


def asked(gate: Pause | None, state: Judged) -> str:
    """Return the name of the outgoing gate that is asked now (I2); empty where none is."""
    waits = state.phase is Phase.RUNNING and state.gate_since_ms and not state.gate_passed
    return gate.ask or "" if gate is not None and waits else ""


def unasked(name: str, intent: Intent) -> str:
    """Return why what a gate's key says counts for nothing; empty where it passes or refuses the one gate that is asked now."""
    if not name or intent.target != name:
        return f"gate {intent.target or intent.actor} is not asked now" + (f"; asked is {name}" if name else "")
    return "" if intent.verb in (Verb.PROMOTE, Verb.ABORT) else f"gate {name} may pass or refuse, and nothing else"


def gate_said(intent: Intent) -> str:
    """Return the answer of an outgoing gate in words."""
    does = "passes" if intent.verb is Verb.PROMOTE else "refuses"
    return f"Gate {intent.target} {does}: {intent.reason or 'it gives no reason'}"


def anew(state: SubjectState) -> SubjectState:
    """Return a state whose stage bakes anew, and asks its gate after that: that it was open or passed is no word on this bake."""
    return replace(state, baking_since_ms=0, gate_since_ms=0, gate_passed=False)


def open_gate(scene: Scene) -> Change:
    """Return the opening of the stage's gate."""
    ending = gate_ending(scene.stage.pause)
    return Change(
        kind=DecisionKind.GATE,
        reason=Reason.GATE_OPENED,
        subject=scene.state.subject,
        message=f"Stage {scene.state.stage + 1} waits at its gate; {ending}.",
        state=replace(scene.state, gate_since_ms=scene.now_ms),
    )


def pass_gate(scene: Scene, reason: Reason, message: str) -> Change:
    """Return the passing of bake and gate of the stage; every other condition of D4 still holds."""
    return Change(
        kind=DecisionKind.GATE,
        reason=reason,
        subject=scene.state.subject,
        message=message,
        state=replace(scene.state, gate_passed=True),
    )
