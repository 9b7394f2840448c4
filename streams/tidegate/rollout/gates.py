"""The gate after a stage: a person, or its default when the time is over, lets the rollout go on (D4, D5)."""

from msgspec.structs import replace

from tidegate.rollout.change import Change
from tidegate.rollout.scene import Scene
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.names import duration_ms, service_of
from tidegate.wire.plans import GateDefault, Pause
from tidegate.wire.reasons import Reason


def gate_blocker(scene: Scene) -> tuple[Reason, str] | None:
    """Return why the gate of the stage holds the rollout; None where there is none or it was passed."""
    gate, state = scene.stage.pause, scene.state
    if gate is None or state.gate_passed:
        return None
    asks = f"asks {gate.ask}, and " if gate.ask else ""
    what = f"{asks}rollout promote {service_of(state.subject) or state.subject} answers it"
    if not state.gate_since_ms:
        return Reason.GATE, f"After this stage comes a gate; {what}."
    ends = gate_ends_ms(scene)
    if ends is None or gate.default is GateDefault.HOLD:
        return Reason.GATE, f"The gate of stage {state.stage + 1} waits for a person; {what}."
    left_s = max(0, ends - scene.now_ms) // 1_000
    return Reason.GATE, f"The gate of stage {state.stage + 1} is open; {what}, and in {left_s} s its default is {gate.default}."


def gate_ends_ms(scene: Scene) -> int | None:
    """Return when an open gate's time is over; None where none is open or it has no end. A pause begins it anew."""
    gate, state = scene.stage.pause, scene.state
    if gate is None or gate.duration is None or not state.gate_since_ms or state.gate_passed:
        return None
    return max(state.gate_since_ms, state.phase_ms) + duration_ms(gate.duration)


def timed_out(scene: Scene) -> Pause | None:
    """Return the gate whose time is over and that nobody answered; None while there is none."""
    ends = gate_ends_ms(scene)
    return scene.stage.pause if ends is not None and scene.now_ms >= ends else None


def open_gate(scene: Scene) -> Change:
    """Return the opening of the stage's gate."""
    gate = scene.stage.pause
    ending = f"after {gate.duration} its default is {gate.default}" if gate and gate.duration else "it has no end"
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
