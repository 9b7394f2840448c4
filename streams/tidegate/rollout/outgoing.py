"""Outgoing gates: what is asked when one opens, and what its answer does (I2). ``notify`` asks, with a key of its own (H1)."""

from collections.abc import Iterator

from msgspec import Struct

from tidegate.rollout.change import Change, refusal
from tidegate.rollout.flag_steps import lively
from tidegate.rollout.gates import asked, gate_ends_ms, gate_said, pass_gate, unasked
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.ramp import Ramp
from tidegate.rollout.retreat import rollback
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.view import View
from tidegate.wire.decisions import Result
from tidegate.wire.documents import Intent, Phase, Verb
from tidegate.wire.flagstates import spec_digest
from tidegate.wire.reasons import Reason


class OpenGate(Struct, frozen=True, kw_only=True):
    """A gate that waits for an answer: the question, as it is sent. Times are milliseconds since the epoch."""

    gate: str
    fleet: str
    subject: str
    service: str
    rollout: str
    generation: int
    stage: int
    """Counted from 1."""
    stages: int
    version: str
    """Of a flag the digest of its spec."""
    before: str
    """The version that a refusal goes back to; empty: none, of a flag the safe variant."""
    canaries: tuple[str, ...]
    opened_ms: int
    ends_ms: int
    default: str
    """What happens then."""


def open_gates(ledger: Ledger) -> list[OpenGate]:
    """Return the gates that ask, by subject."""
    found = []
    for subject in sorted(ledger.subjects):
        scene = scene_of(ledger, View(), subject, ledger.now_ms)
        name = asked(scene.stage.pause, scene.state) if scene is not None else ""
        if scene is None or not name or scene.stage.pause is None:
            continue
        state, plan = scene.state, scene.plan
        found.append(
            OpenGate(
                gate=name,
                fleet=plan.fleet,
                subject=subject,
                service=plan.service,
                rollout=state.rollout,
                generation=state.generation,
                stage=state.stage + 1,
                stages=len(plan.stages),
                version=plan.artifact.version,
                before=state.settled.version if state.settled is not None else "",
                canaries=scene.canaries,
                opened_ms=state.gate_since_ms,
                ends_ms=gate_ends_ms(scene.stage.pause, state) or 0,
                default=str(scene.stage.pause.default),
            )
        )
    return found + [gate for subject in lively(ledger) for gate in _of_flag(ledger, subject)]


def _of_flag(ledger: Ledger, subject: str) -> Iterator[OpenGate]:
    ramp = Ramp(ledger.flags[subject], View(), ledger, ledger.now_ms)
    state = ramp.state
    if state.phase is not Phase.RUNNING or not ramp.gate_asked or ramp.stage.pause is None:
        return
    yield OpenGate(
        gate=ramp.gate_asked,
        fleet=state.fleet,
        subject=subject,
        service=ramp.services[0],
        rollout=state.rollout,
        generation=state.generation,
        stage=state.stage + 1,
        stages=len(ramp.course.stages),
        version=spec_digest(state.spec),
        before=spec_digest(state.before) if state.before is not None else "",
        canaries=(),
        opened_ms=state.gate_since_ms,
        ends_ms=gate_ends_ms(ramp.stage.pause, state) or 0,
        default=str(ramp.stage.pause.default),
    )


def answer_gate(scene: Scene | None, intent: Intent) -> Change:
    """Return what the answer of an outgoing gate does: it passes this one gate, or the rollout goes back."""
    problem = unasked(asked(scene.stage.pause, scene.state) if scene is not None else "", intent)
    if scene is None or problem:
        return refusal(intent, Reason.NOT_ALLOWED, problem)
    if intent.verb is Verb.PROMOTE:
        return pass_gate(scene, Reason.GATE_PASSED, gate_said(intent))
    return rollback(scene, Reason.GATE_REFUSED, gate_said(intent), Result.ROLLED_BACK)
