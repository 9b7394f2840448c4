"""Services that share nodes: no node is changed by two rollouts at once, and none judges where another experiments (B1, D7).

Who began first waits only for a change under way on a node; who began later waits until the earlier one lets go of its nodes. So
two rollouts never wait for each other.
"""

from collections.abc import Iterator

from tidegate.rollout.scene import Scene, scene_of
from tidegate.wire.documents import Phase

HOLDING = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.ROLLING_BACK})
"""Phases in which a rollout holds its nodes and its subject (D7)."""


def held_nodes(scene: Scene) -> tuple[str, ...]:
    """Return the nodes that a rollout holds: its stage's, released or not; a retreat still holds those that must come back."""
    size = scene.sizes
    return scene.roster.nodes[: max(size.canary + size.control, scene.state.reached)]


def changing(scene: Scene) -> tuple[str, ...]:
    """Return the nodes on which a change of a rollout is under way: given something, and not reported ready on it."""
    if scene.state.phase is Phase.ROLLING_BACK:
        given = scene.roster.nodes[: scene.state.reached]
        settled = scene.state.settled
        found = [node for node in given if settled is not None and not scene.back_on(node, settled)]
    else:
        found = [node for node in scene.canaries if not scene.canary_ready(node)]
        found += [node for node in scene.controls if not scene.control_ready(node)]
    return tuple(node for node in found if scene.reachable(node) and node not in scene.cordoned)


def busy(scene: Scene, nodes: tuple[str, ...]) -> dict[str, str]:
    """Return which of these nodes must not be changed now, each with the rollout that has it."""
    wanted = set(nodes)
    found: dict[str, str] = {}
    for other in others(scene):
        earlier = (other.state.started_ms, other.state.subject) < (scene.state.started_ms, scene.state.subject)
        for node in held_nodes(other) if earlier else changing(other):
            if node in wanted:
                found.setdefault(node, other.state.rollout)
    return found


def let_go_ms(scene: Scene, nodes: tuple[str, ...]) -> int:
    """Return when another rollout with some of these nodes last began or let go: nobody of them can be blamed for the time
    before.
    """
    mine, found = set(nodes), [0]
    for subject, state in scene.ledger.subjects.items():
        roster = scene.ledger.rosters.get(subject)
        if subject != scene.state.subject and roster is not None and not mine.isdisjoint(roster.nodes):
            found.append(state.phase_ms)
    return max(found)


def others(scene: Scene) -> Iterator[Scene]:
    """Yield the scenes of other rollouts that hold nodes now, by subject."""
    for subject, state in sorted(scene.ledger.subjects.items()):
        if subject != scene.state.subject and state.phase in HOLDING:
            other = scene_of(scene.ledger, scene.view, subject, scene.now_ms)
            if other is not None:
                yield other
