"""One service's rollout in full: its plan's stages with where each stands, the batches, and the decisions with their reasons."""

from enum import StrEnum

from msgspec import Struct

from tidegate.model.model import Model, Told
from tidegate.model.nodes import UNDER_WAY
from tidegate.model.summary import Summary, last_rollout, summary
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.stages import sizes
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Gate, Pause, Plan
from tidegate.wire.reasons import Reason

DECISIONS_TOLD = 500


class DecisionRow(Struct, frozen=True, kw_only=True):
    """A decision without the documents in it: those stand in the log."""

    at_ms: int
    seq: int
    epoch: int
    generation: int
    kind: DecisionKind
    reason: Reason
    actor: str
    message: str
    facts: dict[str, str | int | float | list[str] | None]
    subject: str = ""
    answers: str = ""
    """Plan digest or intent id that it answers."""


class Standing(StrEnum):
    """Where a stage stands."""

    PASSED = "passed"
    CURRENT = "current"
    AHEAD = "ahead"


class StageRow(Struct, frozen=True, kw_only=True):
    """One stage of a plan; ``canary`` and ``control`` are the nodes of each when the stage is complete."""

    stage: int
    """Counted from 1."""
    standing: Standing
    canary: int
    control: int
    bake: str
    min_requests: int
    gate: Gate
    pause: Pause | None


class RolloutRow(Struct, frozen=True, kw_only=True):
    """The current or last rollout of a service. Times are milliseconds since the epoch; 0: not yet."""

    summary: Summary
    plan: Plan | None
    stages: tuple[StageRow, ...]
    released: int
    """Nodes that have been given the new version, of those the roster has."""
    roster: int
    started_ms: int
    baking_since_ms: int
    gate_since_ms: int
    gate_passed: bool
    queue: tuple[str, ...]
    """Ids of the plans that wait."""
    batches: tuple[DecisionRow, ...]
    decisions: tuple[DecisionRow, ...]
    """Of this rollout, oldest first; the last 500."""


def decision_row(told: Told) -> DecisionRow:
    """Return a decision as a flat object."""
    one = told.decision
    return DecisionRow(
        at_ms=told.at_ms,
        seq=one.seq,
        epoch=one.epoch,
        generation=one.generation,
        kind=one.kind,
        reason=one.reason,
        actor=one.actor,
        message=one.message,
        facts=one.facts,
        subject=one.subject,
        answers=one.answers,
    )


def rollout_row(model: Model, service: str, now_ms: int) -> RolloutRow | None:
    """Return where the rollout of a service stands; None where nothing was ever decided of it."""
    subject = service_subject(service)
    state = model.ledger.subjects.get(subject)
    if state is None:
        return None
    scene = scene_of(model.ledger, model.view, subject, now_ms)
    waiting = (model.ledger.plans.get(name) for name in state.queue)
    told = last_rollout(model, subject)[-DECISIONS_TOLD:]
    return RolloutRow(
        summary=summary(model, subject, now_ms),
        plan=scene.plan if scene is not None else None,
        stages=_stages(scene) if scene is not None else (),
        released=state.released,
        roster=len(scene.roster.nodes) if scene is not None else 0,
        started_ms=state.started_ms,
        baking_since_ms=state.baking_since_ms,
        gate_since_ms=state.gate_since_ms,
        gate_passed=state.gate_passed,
        queue=tuple(one.plan.id for one in waiting if one is not None),
        batches=tuple(decision_row(one) for one in told if one.decision.kind is DecisionKind.RELEASE),
        decisions=tuple(map(decision_row, told)),
    )


def _stages(scene: Scene) -> tuple[StageRow, ...]:
    found = []
    for index, stage in enumerate(scene.plan.stages):
        size = sizes(scene.plan, index, len(scene.roster.nodes), scene.roster.waves)
        found.append(
            StageRow(
                stage=index + 1,
                standing=_standing(scene, index),
                canary=size.canary,
                control=size.control,
                bake=stage.bake,
                min_requests=stage.min_requests,
                gate=stage.gate,
                pause=stage.pause,
            )
        )
    return tuple(found)


def _standing(scene: Scene, index: int) -> Standing:
    state = scene.state
    passed_all = state.phase is Phase.WATCHING or (state.phase is Phase.DONE and state.settled == scene.plan.artifact)
    if index < state.stage or passed_all:
        return Standing.PASSED
    return Standing.CURRENT if index == state.stage and state.phase in UNDER_WAY else Standing.AHEAD
