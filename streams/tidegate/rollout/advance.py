"""Forward: batches, bake, gate, the next stage, watching, the end. Each needs every condition of D4 at once.

Every reachable node must report the measured digest (Knight Capital, 2012: one of eight servers had missed the deploy), and the
bake begins after the last of them (Azure Front Door, 2025-10: the crashes came after the checks had passed).
"""

from collections.abc import Iterator

from msgspec.structs import replace

from tidegate.rollout.batches import (
    busy_with,
    complaint,
    complete,
    named,
    next_batch,
    reaffirm,
    sentence,
    stopped_by_expiry,
    waits_for,
)
from tidegate.rollout.change import Change, Fact
from tidegate.rollout.gates import gate_blocker, open_gate, pass_gate, timed_out
from tidegate.rollout.late import LeftOver, left_over, take_in
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.restraint import restraint, restraints
from tidegate.rollout.roster import eligible, in_order
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.stages import placement
from tidegate.rollout.verdicts import Blocker, verdict_blockers
from tidegate.rollout.view import View
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, digest_of
from tidegate.wire.names import duration_ms
from tidegate.wire.plans import Gate, GateDefault
from tidegate.wire.reasons import Reason


def blockers(ledger: Ledger, view: View, subject: str, now_ms: int) -> list[Blocker]:
    """Return every condition that a subject's rollout still lacks to advance (D4), each with a sentence for a person.

    Empty where nothing is running, or where the next step advances.
    """
    scene = scene_of(ledger, view, subject, now_ms)
    if scene is None or scene.state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return []
    return [*_missing(scene), *_left_over(scene)]


def forward(ledger: Ledger, scene: Scene) -> Change | None:
    """Return the next forward change of a running rollout, or None while something is missing."""
    state = scene.state
    if stopped_by_expiry(scene):
        return Change(
            kind=DecisionKind.PAUSE,
            reason=Reason.EXPIRED,
            subject=state.subject,
            message="The plan has expired: nodes apply no advance of it any more. Abort it, or start a plan that lasts longer.",
            state=replace(state, phase=Phase.PAUSED, paused_reason=Reason.EXPIRED),
        )
    restrained = restraint(ledger, scene.view, scene.plan, scene.now_ms) is not None
    change = reaffirm(scene) or (None if restrained else next_batch(scene))
    if change is not None or not complete(scene) or not scene.standing.clear:
        return change
    if not state.baking_since_ms:
        left = left_over(scene)
        return _bake(scene) if not left else None if restrained else take_in(scene, left)
    gate = timed_out(scene.stage.pause, scene.state, scene.now_ms)
    if gate is not None and gate.default is GateDefault.PROMOTE:
        return pass_gate(
            scene, Reason.GATE_TIMED_OUT, f"Nobody answered the gate within {gate.duration}; its default is promote."
        )
    missing = [reason for reason, _ in _missing(scene)]
    if missing == [Reason.GATE] and not state.gate_since_ms:
        return open_gate(scene)
    if missing:
        return None
    if not scene.last_stage:
        return _promote(ledger, scene)
    left = left_over(scene)
    return take_in(scene, left) if left else _watch(scene)


def watched(scene: Scene) -> Change | None:
    """Return the end of a rollout that was watched for long enough, or None."""
    if scene.now_ms < scene.state.watch_ms + duration_ms(scene.plan.watch):
        return None
    return complete_rollout(scene, Reason.WATCH_OVER, f"{scene.plan.artifact.version} was watched for {scene.plan.watch}.")


def complete_rollout(scene: Scene, reason: Reason, message: str) -> Change:
    """Return the end of a rollout in which everything was promoted: its version is what is settled from now on."""
    missing = tuple(node for node in scene.enrolled(scene.roster.nodes) if not scene.canary_ready(node))
    result = Result.SUPERSEDED if reason is Reason.SUPERSEDED else Result.PROMOTED
    return Change(
        kind=DecisionKind.COMPLETE,
        reason=reason,
        subject=scene.state.subject,
        message=message + (f" Not on it: {sentence(missing)}." if missing else ""),
        state=replace(
            scene.state,
            phase=Phase.DONE,
            result=result,
            settled=scene.plan.artifact,
            placement="",
            released=0,
            controls=0,
            missing=missing,
        ),
    )


def _missing(scene: Scene) -> Iterator[Blocker]:
    state, now = scene.state, scene.standing
    if state.phase is Phase.PAUSED:
        yield state.paused_reason or Reason.ASKED, f"The rollout is paused ({state.paused_reason}); rollout resume goes on."
    if stopped_by_expiry(scene):
        yield Reason.EXPIRED, "The plan has expired."
    if now.fetching:
        yield Reason.PREFETCHING, f"{sentence(now.fetching)} must still fetch {scene.plan.artifact.version}.{complaint(scene)}"
    if now.unready:
        yield Reason.NOT_READY, f"Not reported ready yet: {sentence(now.unready)}.{complaint(scene)}"
    if now.lost:
        yield Reason.UNREACHABLE, f"{waits_for(now)} for 90 s."
    if not complete(scene):
        yield Reason.NOT_READY, f"{state.released} of {scene.sizes.canary} nodes of this stage have been released."
    if others := busy_with(scene):
        yield Reason.NODES_BUSY, others
    yield from _bake_blocker(scene)
    yield from _verdict_blockers(scene)
    yield from restraints(scene.ledger, scene.view, scene.plan, scene.now_ms)
    gate = None if scene.plan.fast else gate_blocker(scene.stage.pause, state, scene.now_ms)
    if gate is not None:
        yield gate


def _left_over(scene: Scene) -> Iterator[Blocker]:
    """Yield whom the end of the last stage waits for, once its roster has the version (B6)."""
    left = left_over(scene) if complete(scene) else LeftOver()
    if left.held:
        rollouts = ", ".join(sorted(set(left.held.values())))
        yield Reason.NODES_BUSY, f"{sentence(tuple(left.held))} must not be changed now: {rollouts} has them in hand."
    if left.free:
        yield Reason.NEWCOMERS, f"{sentence(left.free)} must be taken in before the stage ends."


def _bake_blocker(scene: Scene) -> Iterator[Blocker]:
    state = scene.state
    if state.gate_passed or not state.baking_since_ms or scene.plan.fast:
        return
    left_ms = state.baking_since_ms + duration_ms(scene.stage.bake) - scene.now_ms
    if left_ms > 0:
        yield Reason.BAKING, f"The stage bakes for {left_ms / 1_000:.0f} s more."


def _verdict_blockers(scene: Scene) -> Iterator[Blocker]:
    """Yield what is lacking of a fresh pass of this placement over enough requests (D4).

    A first install needs none (B7), and neither does a fast plan (H2).
    """
    if scene.first_install or scene.plan.fast:
        return
    stage, verdict = scene.stage, scene.view.verdicts.get(scene.state.subject)
    yield from verdict_blockers(verdict, scene.state, stage.gate, stage.min_requests, scene.now_ms)


def _bake(scene: Scene) -> Change:
    left_out = scene.standing.unreachable
    return Change(
        kind=DecisionKind.BAKE,
        reason=Reason.BATCH_READY,
        subject=scene.state.subject,
        message=f"Every reachable node of stage {scene.state.stage + 1} runs "
        + scene.plan.artifact.version
        + ("." if scene.plan.fast else f"; it bakes for {scene.stage.bake}.")
        + (f" Left out, unreachable: {sentence(left_out)}." if left_out else ""),
        facts={"ready": named(tuple(node for node in scene.canaries if scene.reachable(node))), "unreachable": named(left_out)},
        state=replace(scene.state, baking_since_ms=scene.now_ms),
    )


def _promote(ledger: Ledger, scene: Scene) -> Change:
    """Return the beginning of the next stage; before the last one, late joiners are appended to the roster (B6)."""
    state, stage = scene.state, scene.state.stage + 1
    roster = scene.roster
    late: tuple[str, ...] = ()
    if stage == len(scene.plan.stages) - 1:
        free = eligible(ledger, scene.view, state.subject, state.settled, scene.now_ms).free
        late = in_order(
            state.rollout, tuple(node for node in free if node not in set(roster.nodes)), scene.view, scene.plan.waves
        )
        roster = replace(roster, nodes=roster.nodes + late) if late else roster
    facts = _evidence(scene)
    if late:
        facts["late_joiners"] = named(late)
    return Change(
        kind=DecisionKind.PROMOTE,
        reason=Reason.STAGE_PASSED,
        subject=state.subject,
        message=f"Stage {state.stage + 1} of {len(scene.plan.stages)} passed.",
        facts=facts,
        roster=roster if late else None,
        state=replace(
            state,
            stage=stage,
            stage_ms=scene.now_ms,
            controls=0,
            prefetch_done=False,
            batch_ms=0,
            baking_since_ms=0,
            gate_since_ms=0,
            gate_passed=False,
            roster_digest=digest_of(roster),
            placement=placement(scene.plan, roster, state.attempt, stage),
        ),
    )


def _watch(scene: Scene) -> Change:
    return Change(
        kind=DecisionKind.WATCH,
        reason=Reason.STAGE_PASSED,
        subject=scene.state.subject,
        message=f"Every stage passed: {scene.plan.artifact.version} is everywhere and watched for {scene.plan.watch}.",
        facts=_evidence(scene),
        state=replace(scene.state, phase=Phase.WATCHING, watch_ms=scene.now_ms),
    )


def _evidence(scene: Scene) -> dict[str, Fact]:
    """Return the facts that licensed an advance (D1, C5)."""
    facts: dict[str, Fact] = {
        "ready": named(tuple(node for node in scene.canaries if scene.reachable(node))),
        "unreachable": named(scene.standing.unreachable),
    }
    verdict = scene.view.verdicts.get(scene.state.subject)
    if scene.first_install or scene.plan.fast or verdict is None:
        return facts | {"gate": "readiness"}
    certified = scene.stage.gate is Gate.CERTIFIED and verdict.certified
    return facts | {
        "gate": str(Gate.CERTIFIED if certified else Gate.NO_EVIDENCE),
        "verdict": verdict.id,
        "verdict_reason": str(verdict.reason),
        "canary_requests": verdict.canary_requests,
        "last_pane_ms": verdict.last_pane_ms,
    }
