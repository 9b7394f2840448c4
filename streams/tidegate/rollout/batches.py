"""How a stage is reached: artifacts first, then batches, each after the one before is ready (B3, B4, B5)."""

from msgspec.structs import replace

from tidegate.rollout.change import Change, counted
from tidegate.rollout.gates import awaited, ended_ms
from tidegate.rollout.late import left_over
from tidegate.rollout.restraint import freed_ms, restraint
from tidegate.rollout.scene import Scene, Standing
from tidegate.rollout.sharing import busy, let_go_ms
from tidegate.rollout.view import UNREACHABLE_MS, holds
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.names import duration_ms
from tidegate.wire.plans import ControlMode
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

NAMED_MAX = 5
"""So many nodes are named in a sentence."""


def complete(scene: Scene) -> bool:
    """Return whether every node and control of the stage has been released."""
    return scene.state.released >= scene.sizes.canary and scene.state.controls >= scene.sizes.control


def stopped_by_expiry(scene: Scene) -> bool:
    """Return whether the plan's expiry stops its rollout: it does while nodes still have to apply an advance of it."""
    return scene.expired and not (scene.last_stage and complete(scene) and not left_over(scene).free)


def next_batch(scene: Scene) -> Change | None:
    """Return the release of the stage's next batch, if the one before is ready (B4); None while it is not, or none is left."""
    if complete(scene) or not scene.standing.clear or busy(scene, _following(scene)):
        return None
    state, (canaries, controls) = scene.state, _batch(scene)
    new = replace(
        state,
        released=state.released + canaries,
        controls=state.controls + controls,
        prefetch_done=True,
        batch_ms=scene.now_ms,
    )
    first = state.batch_ms == 0
    given = counted(canaries, "node")
    restarted = f" and restarts {counted(controls, 'control')}" if controls and scene.plan.control is ControlMode.RESTART else ""
    return Change(
        kind=DecisionKind.RELEASE,
        reason=Reason.STARTED if first else Reason.BATCH_READY,
        subject=state.subject,
        message=f"Stage {state.stage + 1} gives {given} {scene.plan.artifact.version}{restarted}: "
        f"{new.released} of {scene.sizes.canary} nodes have it.",
        facts={
            "batch": named(scene.roster.nodes[state.released : new.released]),
            "controls": named(replaced(scene, new.controls)),
        },
        state=new,
    )


def busy_with(scene: Scene) -> str:
    """Return, as a sentence, which other rollouts the next batch waits for; empty where it waits for none."""
    found = busy(scene, _following(scene)) if not complete(scene) else {}
    rollouts = ", ".join(sorted(set(found.values())))
    return f"{sentence(tuple(found))} must not be changed now: {rollouts} has them in hand." if found else ""


def reaffirm(scene: Scene) -> Change | None:
    """Return a renewed release for nodes who joined or came back after the last one had expired: they could apply nothing of it,
    neither the version that they were given nor, being none of those, what is settled (B6).
    """
    if scene.now_ms < scene.state.decided_ms + scene.deadline_ms or scene.expired:
        return None
    waiting = scene.standing.unready or _unsettled(scene)
    if not waiting:
        return None
    return Change(
        kind=DecisionKind.RELEASE,
        reason=Reason.NOT_READY,
        subject=scene.state.subject,
        message=f"The release is renewed for {sentence(waiting)}, who came back after it had expired.",
        facts={"batch": named(waiting)},
        state=scene.state,
    )


def _unsettled(scene: Scene) -> tuple[str, ...]:
    """Return the nodes within reach that were given nothing, do not run what is settled, and have not taken the last command: who
    has taken it, or takes none (frozen), is not helped by another.
    """
    state, view = scene.state, scene.view
    if state.settled is None:
        return ()
    found = []
    for node in sorted(view.enrolled.difference(scene.canaries, scene.cordoned)):
        report = view.service(node, scene.plan.service)
        if report is not None and scene.reachable(node) and not view.reports[node].report.frozen:
            waits = report.order.generation < state.generation and report.state is not ServiceState.FAILED
            if waits and not holds(report, state.settled):
                found.append(node)
    return tuple(found)


def overdue(scene: Scene) -> str:
    """Return, as a sentence, what the stage has waited for longer than ``progressDeadline`` (B5); empty where nothing is.

    While a stage bakes, a policy, an alarm or another rollout holds it up, or the last one is given out, the time counts from
    when its nodes went away; before, from its last batch. An open gate waits for people, not for nodes: it counts from its end.
    """
    state, gate = scene.state, scene.stage.pause
    since = max(state.stage_ms, state.batch_ms, state.phase_ms, ended_ms(gate, state))
    if awaited(gate, state, scene.now_ms) or scene.now_ms - since < scene.deadline_ms:
        return ""  # what is looked at below only makes it later
    now = scene.standing
    if now.clear:
        return ""
    about = (scene.ledger, scene.view, scene.plan, scene.now_ms)
    following = () if complete(scene) else _following(scene)
    since = max(since, freed_ms(*about), let_go_ms(scene, (*now.fetching, *now.unready, *now.unreachable, *following)))
    given_out = scene.last_stage and complete(scene)  # and may have waited long for those that others held
    held_up = restraint(*about) is not None or bool(busy_with(scene))
    if held_up and not now.unready and not now.lost:
        return ""  # whoever came back meanwhile has as long to fetch as the others had, from when the stage goes on
    if state.baking_since_ms or given_out or held_up:
        since = max(since, state.baking_since_ms, *_away_since(scene, (*now.unready, *now.unreachable)))
    if scene.now_ms - since < scene.deadline_ms:
        return ""
    return f"{waits_for(now)} within {scene.plan.progress_deadline}.{complaint(scene)}"


def complaint(scene: Scene) -> str:
    """Return what the first of the nodes that are waited for says of its trouble, as a sentence; empty where none says any."""
    for node in scene.standing.unready or scene.standing.fetching:
        report = scene.view.service(node, scene.plan.service)
        if report is not None and report.error:
            return f" {node} says: {report.error}"
    return ""


def waits_for(now: Standing) -> str:
    """Return what a stage waits for on its nodes, as the beginning of a sentence."""
    if now.unready:
        return f"{sentence(now.unready)} did not become ready"
    if now.fetching:
        return f"{sentence(now.fetching)} did not fetch the artifact"
    if now.deserted:
        return "Every node of the stage was retired: none reported"
    return f"{sentence(now.unreachable)} cannot be reached, {now.tolerated} such nodes are tolerated; no report came"


def sentence(nodes: tuple[str, ...]) -> str:
    """Return a few nodes by name and how many more there are.

    >>> sentence(("n1", "n2"))
    'n1, n2'
    """
    more = len(nodes) - NAMED_MAX
    return ", ".join(nodes[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def named(nodes: tuple[str, ...]) -> list[str]:
    """Return nodes as a fact."""
    return list(nodes)


def replaced(scene: Scene, controls: int) -> tuple[str, ...]:
    """Return the controls that a release adds."""
    first = scene.sizes.canary
    return scene.roster.nodes[first + scene.state.controls : first + controls]


def _following(scene: Scene) -> tuple[str, ...]:
    """Return the nodes of the next batch, controls among them."""
    state, (canaries, controls) = scene.state, _batch(scene)
    restarted = replaced(scene, state.controls + controls) if scene.plan.control is ControlMode.RESTART else ()
    return (*scene.roster.nodes[state.released : state.released + canaries], *restarted)


def _batch(scene: Scene) -> tuple[int, int]:
    """Return how many canaries and controls go next: together at most maxUnavailable, controls beside their canaries (B3)."""
    canaries = scene.sizes.canary - scene.state.released
    controls = scene.sizes.control - scene.state.controls
    most = scene.at_once
    if scene.plan.control is not ControlMode.RESTART:
        return min(canaries, most), controls
    now = min(canaries, max(1, most - min(controls, most // 2)))
    return now, min(controls, most - now)


def _away_since(scene: Scene, nodes: tuple[str, ...]) -> list[int]:
    found = []
    for node in nodes:
        seen = scene.view.reports.get(node)
        if seen is not None:
            found.append(seen.steady_ms.get(scene.plan.service, 0) if scene.reachable(node) else seen.seen_ms + UNREACHABLE_MS)
    return found


def wakes(scene: Scene) -> list[int]:
    """Return when nodes or the deadline may change what a stage does, in ms; times already past among them."""
    state = scene.state
    nodes = (*scene.roster.nodes, *left_over(scene).held)
    lost = [scene.view.reports[node].seen_ms + UNREACHABLE_MS for node in nodes if node in scene.view.reports]
    times = [*lost, *(at + scene.deadline_ms for at in lost)]
    times.append(max(state.stage_ms, state.batch_ms, state.phase_ms, state.baking_since_ms) + scene.deadline_ms)
    times += [state.decided_ms + scene.deadline_ms, ended_ms(scene.stage.pause, state) + scene.deadline_ms]
    if state.baking_since_ms:
        times.append(state.baking_since_ms + duration_ms(scene.stage.bake))
    return times
