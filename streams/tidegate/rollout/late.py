"""Who is left over when the last stage has been given to its whole roster: late joiners, nodes that came back or were uncordoned,
nodes that another rollout held when this one began (B6).

Nobody of them is changed in passing: they are taken in, as often as it takes, and go in batches; only then does ``desired`` name
the version for whoever is on no roster. Who is cordoned, away or frozen is not waited for, and converges as soon as that is said.

Nodes that an earlier rollout has in hand are waited for, however long that is paused: a person ends it. A later one has only to
finish its change of a node, so two rollouts never wait for each other (``sharing``).
"""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.rollout.change import Change, counted
from tidegate.rollout.roster import fit, in_order
from tidegate.rollout.scene import Scene
from tidegate.rollout.sharing import busy
from tidegate.rollout.stages import placement
from tidegate.rollout.view import holds
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import digest_of
from tidegate.wire.reasons import Reason

ROUNDS_MAX = 8
"""So often even a single node that is left over is taken in. From then on a batch of them, or less, takes the version by itself,
as newcomers do: a fleet that somebody joins all the time would never be done.
"""


class LeftOver(Struct, frozen=True):
    """Nodes that are on no roster, within reach, and not on the new version."""

    free: tuple[str, ...] = ()
    """To be taken in."""
    held: dict[str, str] = {}
    """Not to be changed now: node to the rollout that has it in hand."""

    def __bool__(self) -> bool:
        """Whether the end of the last stage waits for anybody."""
        return bool(self.free or self.held)


def left_over(scene: Scene) -> LeftOver:
    """Return whom the end of the last stage waits for; nobody before it, and after newcomers have been told to take the version.

    Once the plan has expired no batch is applied any more: then no more than a batch of free nodes are left to themselves.
    """
    state, view = scene.state, scene.view
    if not scene.last_stage or state.watch_ms:
        return LeftOver()
    outside = view.enrolled.difference(scene.roster.nodes)
    found = tuple(
        node
        for node in fit(scene.ledger, view, state.subject, state.settled, scene.now_ms, among=outside)
        if not holds(view.service(node, scene.plan.service), scene.plan.artifact)
    )
    held = busy(scene, found) if found else {}
    free = tuple(node for node in found if node not in held)
    spared = scene.at_once if scene.expired or state.late_rounds >= ROUNDS_MAX else 0
    return LeftOver(free if len(free) > spared else (), held)


def take_in(scene: Scene, left: LeftOver) -> Change | None:
    """Return that free nodes are appended to the roster, after all others; None where there are only such as others hold.

    The stage does not bake anew for those who come while it does, and its gate is not asked again.
    """
    state, plan = scene.state, scene.plan
    if not left.free:
        return None
    late = in_order(state.rollout, left.free, scene.view, plan.waves)
    roster = replace(scene.roster, nodes=scene.roster.nodes + late)
    return Change(
        kind=DecisionKind.RELEASE,
        reason=Reason.NEWCOMERS,
        subject=state.subject,
        message=f"The last stage takes in {counted(len(late), 'node')} more, in batches like the others.",
        facts={"batch": [], "late_joiners": list(late)},
        roster=roster,
        state=replace(
            state,
            roster_digest=digest_of(roster),
            placement=placement(plan, roster, state.attempt, state.stage),
            prefetch_done=False,
            batch_ms=scene.now_ms,
            late_rounds=state.late_rounds + 1,
        ),
    )
