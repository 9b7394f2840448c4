"""What is published, as functions of the ledger: publishing it again gives equal bytes (E3, E4). The judge's context leaves out
who has left the fleet as well (A6).
"""

from typing import assert_never

from msgspec.structs import replace

from tidegate.rollout.ledger import Ledger
from tidegate.rollout.restored import is_unsure
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.stages import canary_token, control_token
from tidegate.rollout.view import View
from tidegate.wire.documents import Cohort, Desired, Move, Phase, Roster
from tidegate.wire.names import service_of
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import ControlMode
from tidegate.wire.reasons import Reason

_UNDER_WAY = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.WATCHING})


def desired_of(ledger: Ledger, subject: str, root_version: int, fleet: str) -> Desired:
    """Return the command of a subject. Only an advance expires, ``progressDeadline`` after the decision that made it.

    After a restore it names nobody until a person has spoken: each node keeps what it runs.
    """
    state, scene = ledger.subject(subject), scene_of(ledger, View(), subject, ledger.now_ms)
    move = move_of(state.phase)
    under_way = state.phase in _UNDER_WAY
    nobody = is_unsure(state)
    return Desired(
        fleet=fleet,
        subject=subject,
        service=service_of(subject) or subject.rpartition("/")[2],
        root_version=root_version,
        epoch=ledger.epoch,
        generation=state.generation,
        phase=state.phase,
        move=move,
        reason=state.decided_reason or Reason.NOTHING_TO_DO,
        plan_digest=state.plan_digest,
        roster_digest=state.roster_digest,
        rollout=state.rollout,
        stage=state.stage,
        placement=state.placement,
        released=state.released,
        cohorts=_cohorts(scene) if scene is not None and not nobody else (),
        settled=state.settled if not nobody else None,
        # Those outside the roster come last: when all who are within reach have it, and it has passed every stage (B6).
        newcomers=scene.plan.artifact if scene is not None and under_way and not nobody and state.watch_ms else None,
        prefetch=state.phase in (Phase.RUNNING, Phase.PAUSED) and not nobody,
        issued_ms=state.decided_ms,
        expires_ms=state.decided_ms + scene.deadline_ms if scene is not None and move is Move.ADVANCE else 0,
    )


def roster_of(ledger: Ledger, subject: str) -> Roster | None:
    """Return the roster that ``desired`` names; None where no rollout ever started."""
    return ledger.rosters.get(subject)


def plan_of(ledger: Ledger, subject: str) -> bytes | None:
    """Return the operator's envelope that ``desired`` names, verbatim (E4); None where no rollout ever started."""
    accepted = ledger.plans.get(ledger.subject(subject).plan_digest)
    return accepted.envelope.encode() if accepted is not None else None


def context_of(ledger: Ledger, view: View, subject: str) -> Context:
    """Return what the judge must know: exactly the released nodes by name, and what they are to be compared with (A6).

    There is a placement where ``Scene.placed``. Of the view only who is enrolled counts: a node that was retired is neither
    silent nor missing.
    """
    state, scene = ledger.subject(subject), scene_of(ledger, view, subject, ledger.now_ms)
    settled = state.settled.version if state.settled is not None else ""
    bare = Context(
        subject=subject,
        service=service_of(subject) or subject.rpartition("/")[2],
        epoch=ledger.epoch,
        generation=state.generation,
        rest_version=settled,
        slo=scene.plan.slo if scene is not None else None,
        probe=scene.plan.probe if scene is not None else None,
    )
    if scene is None or not scene.placed:
        return bare
    plan, canaries, controls = scene.plan, scene.enrolled(scene.canaries), scene.enrolled(scene.controls)
    cohorts = [CohortMembers(name="canary", version=plan.artifact.version, nodes=canaries)]
    if controls:
        cohorts.append(CohortMembers(name="control", version=settled, nodes=controls))
    return replace(
        bare,
        placement=state.placement,
        rollout=state.rollout,
        attempt=state.attempt,
        stage=state.stage,
        last_stage=scene.last_stage,
        watching=state.phase is Phase.WATCHING,
        retreating=state.phase is Phase.ROLLING_BACK,
        cohorts=tuple(cohorts),
        control=plan.control,
        guardrails=plan.guardrails,
        default_guardrails=plan.default_guardrails,
        min_requests=scene.stage.min_requests,
        stage_nodes=len(scene.enrolled(scene.members)),
        started_ms=state.started_ms,
        absence=plan.absence,
    )


def move_of(phase: Phase) -> Move:
    """Return which way a subject in a phase moves the fleet."""
    match phase:
        case Phase.RUNNING:
            return Move.ADVANCE
        case Phase.ROLLING_BACK:
            return Move.RETREAT
        case Phase.IDLE | Phase.PAUSED | Phase.WATCHING | Phase.DONE:
            return Move.HOLD
        case _:
            assert_never(phase)


def _cohorts(scene: Scene) -> tuple[Cohort, ...]:
    state, plan = scene.state, scene.plan
    found = []
    if state.released:
        token = canary_token(state.rollout)
        found.append(Cohort(name="canary", first=0, count=state.released, version=plan.artifact.version, token=token))
    if state.controls and state.settled is not None:
        token = control_token(state.rollout, state.stage) if plan.control is ControlMode.RESTART else ""
        first = scene.sizes.canary
        found.append(Cohort(name="control", first=first, count=state.controls, version=state.settled.version, token=token))
    return tuple(found)
