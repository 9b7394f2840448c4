"""Stop and back: fails, the deadline, rollback, and when the fleet is back (D5, D6). None of D4 is needed for these.

Back is everyone on one measured digest, and over when all report it (Knight Capital, 2012: backing out on seven of eight servers
made it worse).
"""

from msgspec.structs import replace

from tidegate.rollout.batches import named, overdue, sentence
from tidegate.rollout.change import Change, Fact
from tidegate.rollout.gates import anew, timed_out
from tidegate.rollout.scene import Scene
from tidegate.rollout.verdicts import facts_of, fails_of, lifted, outweighs
from tidegate.wire.decisions import DecisionKind, Result, SubjectState
from tidegate.wire.documents import Phase, digest_of
from tidegate.wire.judgement import Verdict
from tidegate.wire.names import share_of
from tidegate.wire.plans import Action, Artifact, GateDefault
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

QUARANTINED_MAX = 64
"""So many versions of a subject are kept in quarantine; the oldest leaves first."""


def failing(scene: Scene) -> Change | None:
    """Return what a fail asks for, while running, paused or watching: back, or a pause; None where nothing failed."""
    fails = _fails(scene)
    if Action.ROLLBACK in fails:
        verdict = fails[Action.ROLLBACK]
        return _fail(scene, verdict.reason, verdict.sentence or f"The verdict is {verdict.reason}.", facts_of(verdict))
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
        gate = timed_out(scene.stage.pause, scene.state, scene.now_ms)
        if gate is not None and gate.default is GateDefault.ROLLBACK:
            what = f"Nobody answered the gate within {gate.duration}; its default is rollback."
            return rollback(scene, Reason.GATE_TIMED_OUT, what, Result.ROLLED_BACK)
    if Action.PAUSE in fails:
        verdict = fails[Action.PAUSE]
        return _pause(scene, verdict.reason, verdict.sentence or f"The verdict is {verdict.reason}.", facts_of(verdict))
    return None


def recovered(scene: Scene) -> Change | None:
    """Return that a paused rollout goes on where what paused it is over (``lifted``), else None.

    What burns everyone alike is no word about the release: its stage begins to bake anew, its gate with it, so that it advances
    only after a whole bake without a burn.
    """
    fails = _fails(scene)
    if Action.ROLLBACK in fails:
        return None
    over = lifted(scene.state.paused_reason, fails.get(Action.PAUSE), scene.view.verdicts.get(scene.state.subject))
    if over is None:
        return None
    change = resume(scene, *over)
    if over[0] is not Reason.BURNED_OUT or change.state is None:
        return change
    return replace(change, state=anew(change.state))


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
    outside = _outside(scene)
    if outside:
        roster = replace(scene.roster, nodes=scene.roster.nodes + outside)
        whole = len(roster.nodes)
        scene = replace(
            scene, roster=roster, state=replace(scene.state, released=whole, reached=whole, roster_digest=digest_of(roster))
        )
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
    return Change(
        kind=DecisionKind.ROLLBACK,
        reason=reason,
        subject=state.subject,
        message=message,
        state=new,
        roster=scene.roster if outside else None,
    )


def _outside(scene: Scene) -> tuple[str, ...]:
    """Return the nodes on no roster that took the version as newcomers and have to go back by the same batches; none where all go
    back at once.
    """
    rollback = scene.plan.rollback
    if rollback is None or rollback.max_unavailable is None or scene.state.released < len(scene.roster.nodes):
        return ()
    others = scene.view.enrolled.difference(scene.roster.nodes)
    return tuple(node for node in sorted(others) if scene.measured_new(node))


def undone(scene: Scene, target: Artifact) -> Scene:
    """Return the scene of a rollout that was promoted, as it is when its whole roster has to go back to ``target`` (H2)."""
    whole = len(scene.roster.nodes)
    return replace(scene, state=replace(scene.state, settled=target, released=whole, reached=whole, missing=()))


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
    return fails_of(scene.view.fails.get(scene.state.subject, {}), scene.state, scene.plan.on_fail)


def _fail(scene: Scene, reason: Reason, message: str, facts: dict[str, Fact]) -> Change | None:
    if scene.plan.on_fail is Action.PAUSE:
        return _pause(scene, reason, f"{message} The plan says onFail: pause.", facts)
    return replace(rollback(scene, reason, message, Result.ROLLED_BACK), facts=facts)


def _pause(scene: Scene, reason: Reason, message: str, facts: dict[str, Fact]) -> Change | None:
    if scene.state.phase is Phase.PAUSED and not outweighs(reason, scene.state.paused_reason):
        return None
    return Change(
        kind=DecisionKind.PAUSE,
        reason=reason,
        subject=scene.state.subject,
        message=message,
        facts=facts,
        state=replace(scene.state, phase=Phase.PAUSED, paused_reason=reason),
    )
