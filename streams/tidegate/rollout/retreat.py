"""Stop and back: fails, the deadline, rollback, and when the fleet is back (D5, D6). None of D4 is needed for these.

Back is everyone on one measured digest, and over when all report it (Knight Capital, 2012: backing out on seven of eight servers
made it worse).
"""

import math

from msgspec.structs import replace

from tidegate.rollout.batches import named, overdue, sentence
from tidegate.rollout.change import Change, Fact
from tidegate.rollout.gates import timed_out
from tidegate.rollout.scene import Scene
from tidegate.wire.decisions import DecisionKind, Result, SubjectState
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import share_of
from tidegate.wire.plans import Action, GateDefault
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

REPORTING_FOR_MS = 5_000
"""So long after the last silent second a pause for silence lifts itself."""
BURNED_OUT_MS = 30_000
"""So long after the last second in which its whole world burned (C2): a burn that flickers is one."""
FADED_FOR_MS = 60_000
FADED_LOG_E = math.log(10.0)
"""A pause for evidence lifts itself when it has not been enough for a minute and is below this by now: what one server or one
half minute did is no word about the release once the rest has had time to speak. Far below what pauses, so that it does not
flicker.
"""
UNSEEN = frozenset(
    {
        Reason.SILENT,
        Reason.PARTLY_SILENT,
        Reason.BOTH_SILENT,
        Reason.TELEMETRY_DOWN,
        Reason.STATE_LOST,
        Reason.LATE,
        Reason.SKEWED,
    }
)
"""Reasons of verdicts that did not see everyone."""
QUARANTINED_MAX = 64
"""So many versions of a subject are kept in quarantine; the oldest leaves first."""


def failing(scene: Scene) -> Change | None:
    """Return what a fail asks for, while running, paused or watching: back, or a pause; None where nothing failed."""
    fails = _fails(scene)
    if Action.ROLLBACK in fails:
        verdict = fails[Action.ROLLBACK]
        return _fail(scene, verdict.reason, verdict.sentence or f"The verdict is {verdict.reason}.", _facts(verdict))
    # Cordoning is how a person lets go of a node on which a one-way release does not start.
    broken = tuple(node for node in scene.canaries if scene.failed(node) and node not in scene.cordoned)
    if broken:
        report = scene.view.service(broken[0], scene.plan.service)
        error = f": {report.error}" if report is not None and report.error else ""
        what = f"{scene.plan.artifact.version} does not start or stay up on {sentence(broken)}{error}"
        return _fail(scene, Reason.START_FAILED, what, {"nodes": named(broken)})
    if scene.state.phase is Phase.RUNNING:
        late = overdue(scene)
        if late:
            return _fail(scene, Reason.DEADLINE, late, {})
        gate = timed_out(scene)
        if gate is not None and gate.default is GateDefault.ROLLBACK:
            what = f"Nobody answered the gate within {gate.duration}; its default is rollback."
            return rollback(scene, Reason.GATE_TIMED_OUT, what, Result.ROLLED_BACK)
    if Action.PAUSE in fails:
        verdict = fails[Action.PAUSE]
        return _pause(scene, verdict.reason, verdict.sentence or f"The verdict is {verdict.reason}.", _facts(verdict))
    return None


def recovered(scene: Scene) -> Change | None:
    """Return that a rollout goes on which was paused because nodes were silent, once all have reported for 5 s, or because its
    world burned, once that has been over for 30 s, or because of evidence that one server or one half minute carried, once it has
    faded; else None.

    No other pause lifts itself. Silence of 3 s is a network's hiccup far more often than a fault, and that of 10 s was a fail
    already; a person would be called for each of them (C6). What burns everyone alike is no word about the release: its stage
    begins to bake anew, so that it advances only after a whole bake without a burn.
    """
    fails, verdict = _fails(scene), scene.view.verdicts.get(scene.state.subject)
    fail = fails.get(Action.PAUSE)
    reason = scene.state.paused_reason
    if (
        reason not in (Reason.SILENT, Reason.ENVIRONMENT, Reason.EVIDENCE)
        or Action.ROLLBACK in fails
        or fail is None
        or verdict is None
    ):
        return None
    if fail.reason is not reason:
        return None
    seen = verdict.placement == fail.placement and verdict.outcome is not Outcome.FAIL and verdict.reason not in UNSEEN
    if not seen or verdict.silent_nodes:
        return None
    well_ms = verdict.last_pane_ms - fail.last_pane_ms
    if reason is Reason.SILENT and well_ms >= REPORTING_FOR_MS:
        return resume(scene, Reason.REPORTING_AGAIN, "Every node that was silent has reported again for 5 s.")
    if reason is Reason.ENVIRONMENT and verdict.reason is not Reason.ENVIRONMENT and well_ms >= BURNED_OUT_MS:
        change = resume(scene, Reason.BURNED_OUT, "What burned old version and new alike has been over for 30 s.")
        anew = replace(change.state, baking_since_ms=0) if change.state is not None else None
        return replace(change, state=anew)
    if reason is Reason.EVIDENCE and well_ms >= FADED_FOR_MS and _faded(verdict):
        return resume(
            scene, Reason.EVIDENCE_FADED, "What spoke against the canary has faded: the rest has had a minute to speak."
        )
    return None


def _faded(verdict: Verdict) -> bool:
    return all(evidence.log_e_pause < FADED_LOG_E for evidence in verdict.evidence)


def resume(scene: Scene, reason: Reason, message: str) -> Change:
    """Return that a paused rollout goes on; the pauses that verdicts have asked for so far are overruled."""
    state = scene.state
    phase = Phase.WATCHING if state.watch_ms else Phase.RUNNING
    return Change(
        kind=DecisionKind.RESUME,
        reason=reason,
        subject=state.subject,
        message=message,
        state=replace(state, phase=phase, paused_reason=None, resumed_generation=state.generation + 1),
    )


def rollback(scene: Scene, reason: Reason, message: str, result: Result) -> Change:
    """Return the way back: to the settled version, at once unless ``rollback.maxUnavailable`` says otherwise (D6).

    The version is quarantined. A first install has nothing to go back to (B7): it ends as failed, its nodes keep what they
    run and start nothing, and the next plan is again a first one.
    """
    state = scene.state
    version = scene.plan.artifact.version
    ended = replace(
        state,
        result=result,
        paused_reason=None,
        controls=0,
        reached=max(state.reached, state.released),
        quarantined=(*(one for one in state.quarantined if one != version), version)[-QUARANTINED_MAX:],
        since_generation=state.generation + 1,
    )
    if scene.first_install:
        failed = Result.FAILED if result is Result.ROLLED_BACK else result
        what = f"{message} There is nothing to go back to: nodes keep what they run."
        new = replace(ended, phase=Phase.DONE, result=failed, placement="", released=0)
        return Change(kind=DecisionKind.ROLLBACK, reason=reason, subject=state.subject, message=what, state=new)
    new = replace(ended, phase=Phase.ROLLING_BACK, released=_released_after_batch(scene, ended), batch_ms=scene.now_ms)
    return Change(kind=DecisionKind.ROLLBACK, reason=reason, subject=state.subject, message=message, state=new)


def returning(scene: Scene) -> Change | None:
    """Return the next batch of a retreat, or its end when every reachable node is back; None while some are not (D6).

    Not waited for are cordoned nodes, and after ``progressDeadline`` those that say that the old version does not start on them:
    they are named and alarmed, and what mends them may begin. A batch waits no longer than that for the one before: where the way
    back hangs on some nodes, the rest goes on (CodeDeploy, whose rollbacks run the same hooks, leaves a split fleet).
    """
    state = scene.state
    behind = _behind(scene)
    awaited = [node for node in behind if scene.reachable(node) and node not in scene.cordoned and not _given_up(scene, node)]
    if state.released:
        held = set(scene.canaries)
        overdue_ms = state.batch_ms + scene.deadline_ms
        if scene.now_ms < overdue_ms and any(node not in held and not _hangs(scene, node) for node in awaited):
            return None
        released = _released_after_batch(scene, state)
        return Change(
            kind=DecisionKind.RELEASE,
            reason=Reason.BATCH_READY,
            subject=state.subject,
            message=f"{state.released - released} more nodes go back; {released} still run {scene.plan.artifact.version}.",
            facts={"batch": named(scene.roster.nodes[released : state.released])},
            state=replace(state, released=released, batch_ms=scene.now_ms),
        )
    if awaited or state.settled is None:
        return None
    return Change(
        kind=DecisionKind.RETURNED,
        reason=Reason.FLEET_PARTLY_BACK if behind else Reason.FLEET_BACK,
        subject=state.subject,
        message=_ended(scene, state.settled.version, behind),
        facts={"missing": named(behind)},
        state=replace(state, phase=Phase.DONE, placement="", missing=behind),
    )


def _given_up(scene: Scene, node: str) -> bool:
    settled, late_ms = scene.state.settled, scene.state.phase_ms + scene.deadline_ms
    return settled is not None and scene.now_ms >= late_ms and scene.stays_down(node, settled)


def _hangs(scene: Scene, node: str) -> bool:
    """Return whether a node has not been ready for as long as the deadline."""
    report, seen = scene.view.service(node, scene.plan.service), scene.view.reports.get(node)
    if report is None or seen is None or report.state is ServiceState.READY:
        return False
    return scene.now_ms - seen.steady_ms[scene.plan.service] >= scene.deadline_ms


def back(scene: Scene, node: str) -> bool:
    """Return whether a node runs what is settled, by a document of the retreat."""
    return scene.state.settled is not None and scene.back_on(node, scene.state.settled)


def _ended(scene: Scene, version: str, behind: tuple[str, ...]) -> str:
    broken = tuple(node for node in behind if scene.reachable(node) and node not in scene.cordoned)
    away = tuple(node for node in behind if node not in broken)
    found = [f"Every {'other ' if broken else ''}reachable node runs {version}."]
    if broken:
        found.append(f"It does not start on {sentence(broken)}.")
    if away:
        found.append(f"Not reached: {sentence(away)}; they return to it when they come back.")
    return " ".join(found)


def _behind(scene: Scene) -> tuple[str, ...]:
    """Return who must come back and is not: nodes that had been given the new version, and any that says it runs it.

    Who was retired is no part of the fleet that has to be back.
    """
    given = scene.enrolled(scene.roster.nodes[: scene.state.reached])
    elsewhere = [node for node in sorted(scene.view.reports.keys() - set(given)) if scene.measured_new(node)]
    return tuple(node for node in (*given, *elsewhere) if not back(scene, node))


def _released_after_batch(scene: Scene, state: SubjectState) -> int:
    most = scene.plan.rollback.max_unavailable if scene.plan.rollback is not None else None
    if most is None:
        return 0
    return max(0, state.released - share_of(most, len(scene.roster.nodes)))


def _fails(scene: Scene) -> dict[Action, Verdict]:
    """Return the fails of the current placement (D5). What a person has resumed over asks for no further pause."""
    state = scene.state
    found = {}
    for action, verdict in scene.view.fails.get(state.subject, {}).items():
        if not state.placement or verdict.placement != state.placement:
            continue
        pauses = action is Action.PAUSE or scene.plan.on_fail is Action.PAUSE
        if not pauses or verdict.generation >= state.resumed_generation:
            found[action] = verdict
    return found


def _fail(scene: Scene, reason: Reason, message: str, facts: dict[str, Fact]) -> Change | None:
    if scene.plan.on_fail is Action.PAUSE:
        return _pause(scene, reason, f"{message} The plan says onFail: pause.", facts)
    return replace(rollback(scene, reason, message, Result.ROLLED_BACK), facts=facts)


def _pause(scene: Scene, reason: Reason, message: str, facts: dict[str, Fact]) -> Change | None:
    if scene.state.phase is Phase.PAUSED:
        return None
    return Change(
        kind=DecisionKind.PAUSE,
        reason=reason,
        subject=scene.state.subject,
        message=message,
        facts=facts,
        state=replace(scene.state, phase=Phase.PAUSED, paused_reason=reason),
    )


def _facts(verdict: Verdict) -> dict[str, Fact]:
    return _weighed(verdict) | {
        "verdict": verdict.id,
        "metric": verdict.metric,
        "canary": verdict.canary,
        "control": verdict.control,
        "limit": verdict.limit,
        "compared_with": verdict.compared_with,
        "canary_requests": verdict.canary_requests,
        "canary_errors": verdict.canary_errors,
        "last_pane_ms": verdict.last_pane_ms,
    }


def _weighed(verdict: Verdict) -> dict[str, Fact]:
    """Return the numbers of the strongest evidence, where a fail rests on it."""
    if verdict.reason is not Reason.EVIDENCE or not verdict.evidence:
        return {}
    strongest = verdict.evidence[0]
    return {
        "family": strongest.family,
        "log_e": strongest.log_e,
        "threshold": strongest.threshold,
        "share": strongest.share,
        "expected_share": strongest.expected_share,
        "onset_ms": strongest.onset_ms,
        "left_out": named(strongest.deleted),
    }
