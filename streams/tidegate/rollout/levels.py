"""What is published, as functions of the ledger alone: publishing it again gives equal bytes (E3, E4, A6)."""

from typing import assert_never

from tidegate.rollout.ledger import Ledger
from tidegate.rollout.retreat import back
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.stages import canary_token, control_token
from tidegate.rollout.view import View
from tidegate.wire.decisions import Result, SubjectState
from tidegate.wire.documents import Cohort, Desired, Move, Phase, Roster
from tidegate.wire.judgement import Alarm, AlarmState, Severity
from tidegate.wire.names import service_of
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import ControlMode
from tidegate.wire.reasons import Reason

WRITER = "decide"
_UNDER_WAY = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.WATCHING})
STALE_MS = 15_000
"""So long without a verdict, and someone is told. A pass is too old to advance on after 5 s already."""


def desired_of(ledger: Ledger, subject: str, root_version: int, fleet: str) -> Desired:
    """Return the command of a subject. Only an advance expires, ``progressDeadline`` after the decision that made it."""
    state, scene = ledger.subject(subject), scene_of(ledger, View(), subject, ledger.now_ms)
    move = move_of(state.phase)
    under_way = state.phase in _UNDER_WAY
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
        cohorts=_cohorts(scene) if scene is not None else (),
        settled=state.settled,
        # Those outside the roster come last: when the last stage has been given to everyone in it (B6).
        newcomers=scene.plan.artifact
        if scene is not None and under_way and scene.last_stage and state.released >= scene.sizes.canary
        else None,
        prefetch=state.phase in (Phase.RUNNING, Phase.PAUSED),
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


def context_of(ledger: Ledger, subject: str) -> Context:
    """Return what the judge must know: exactly the released nodes by name, and what they are to be compared with (A6).

    There is a placement from the first release on, so that the baseline is learned until then (C3).
    """
    state, scene = ledger.subject(subject), scene_of(ledger, View(), subject, ledger.now_ms)
    settled = state.settled.version if state.settled is not None else ""
    service = service_of(subject) or subject.rpartition("/")[2]
    bare = Context(subject=subject, service=service, epoch=ledger.epoch, generation=state.generation, rest_version=settled)
    if scene is None or not state.placement or not (state.released or state.reached):
        return bare
    plan, cohorts = scene.plan, [CohortMembers(name="canary", version=scene.plan.artifact.version, nodes=scene.canaries)]
    if scene.controls:
        cohorts.append(CohortMembers(name="control", version=settled, nodes=scene.controls))
    return Context(
        subject=subject,
        service=service,
        epoch=ledger.epoch,
        generation=state.generation,
        placement=state.placement,
        rollout=state.rollout,
        attempt=state.attempt,
        stage=state.stage,
        last_stage=scene.last_stage,
        watching=state.phase is Phase.WATCHING,
        retreating=state.phase is Phase.ROLLING_BACK,
        cohorts=tuple(cohorts),
        rest_version=settled,
        control=plan.control,
        guardrails=plan.guardrails,
        default_guardrails=plan.default_guardrails,
        min_requests=scene.stage.min_requests,
        stage_nodes=scene.sizes.canary,
        started_ms=state.started_ms,
    )


def alarms_of(ledger: Ledger, view: View, now_ms: int) -> tuple[Alarm, ...]:
    """Return the alarms of rollouts that are open now; one that is no longer among them is over (I1).

    "Rollback happened" is open until the fleet is back, missing nodes too; "first install failed" until the next plan starts;
    "pipeline stale" while a rollout goes unjudged: intake, judge or broker lag, advances wait (D4) and no fail would be seen.
    """
    found = []
    for subject in sorted(ledger.subjects):
        scene = scene_of(ledger, view, subject, max(now_ms, ledger.now_ms))
        if scene is None:
            continue
        moved_ms = scene.state.phase_ms if scene.state.phase is Phase.ROLLING_BACK else scene.state.decided_ms
        text = _alarm(scene)
        if text is not None:
            found.append(_firing(scene, *text, moved_ms))
        judged_ms = _judged_ms(scene)
        if judged_ms is not None and scene.now_ms - judged_ms > STALE_MS:
            found.append(
                _firing(scene, "pipeline_stale", "No verdict comes: advances wait, and no fail would be seen.", judged_ms)
            )
    return tuple(found)


def _firing(scene: Scene, name: str, summary: str, start_ms: int) -> Alarm:
    return Alarm(
        id=f"{name}/{scene.state.subject}",
        writer=WRITER,
        name=name,
        state=AlarmState.FIRING,
        severity=Severity.CRITICAL,
        start_ms=start_ms,
        service=scene.plan.service,
        subject=scene.state.subject,
        labels={"rollout": scene.state.rollout, "version": scene.plan.artifact.version},
        summary=summary,
    )


def _judged_ms(scene: Scene) -> int | None:
    """Return up to when a rollout has been judged, at least since it last moved; None where nothing is to be judged."""
    if not scene.state.placement or scene.state.phase not in _UNDER_WAY:
        return None
    verdict = scene.view.verdicts.get(scene.state.subject)
    judged = verdict is not None and verdict.placement == scene.state.placement
    return max(scene.state.decided_ms, verdict.last_pane_ms if verdict is not None and judged else 0)


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


def _alarm(scene: Scene) -> tuple[str, str] | None:
    state, version = scene.state, scene.plan.artifact.version
    if state.phase is Phase.ROLLING_BACK:
        return "rollback_happened", f"{version} is being rolled back ({state.decided_reason})."
    if state.phase is not Phase.DONE:
        bad = [node for node in state.missing if _on_quarantined(scene, node)]
        return ("rollback_happened", f"Not back yet from a version that was rolled back: {', '.join(bad)}.") if bad else None
    if _never_settled(state):
        return "first_install_failed", f"The first install {version} failed; nodes keep what they run."
    away = [node for node in state.missing if not back(scene, node)]
    if away and state.result in (Result.ROLLED_BACK, Result.ABORTED):
        return "rollback_happened", f"{version} was rolled back; not back yet: {', '.join(away)}."
    return None


def _never_settled(state: SubjectState) -> bool:
    return state.settled is None and state.result in (Result.FAILED, Result.ABORTED)


def _on_quarantined(scene: Scene, node: str) -> bool:
    """Return whether a node that had not come back still says, or said last, that it runs a version in quarantine."""
    report = scene.view.service(node, scene.plan.service)
    return report is not None and report.version in scene.state.quarantined
