"""Break-glass on a node: which document holds, and what the accepted one becomes under it (E5).

It names no version and no node: it takes away from what the fleet's author and its operators have allowed already. So whoever
steals such a key can stop and roll back, and nothing else; and a node needs nobody but the log to obey (Facebook, 2021-10-04:
the tools that should have mended it went down with it).
"""

from msgspec.structs import replace

from tidegate.reconcile.held import Accepted, same
from tidegate.wire.documents import BreakGlass, Desired, GlassAction, Move, Phase
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason


def greater(one: BreakGlass | None, other: BreakGlass | None) -> BreakGlass | None:
    """Return which of two counts: the one that names the greater generation; of equal ones, a rollback before a pause."""
    if one is None or other is None:
        return one or other
    return other if _rank(other) > _rank(one) else one


def holding(heard: BreakGlass | None, held: Accepted | None, base: Accepted) -> BreakGlass | None:
    """Return the document that beats ``base``, None where none does.

    ``heard``: the greatest in the log whose key counts now. One that was accepted before holds on without its record, for absence
    changes nothing (F1), until a later root version: so a revoked key's word ends with the key.
    """
    document = base.document
    if heard is not None and document.generation > heard.generation:
        heard = None
    before = held.glass if held is not None else None
    if before is not None and (document.root_version > before.root_version or document.generation > before.generation):
        before = None
    return greater(before, heard)


def under(base: Accepted, glass: BreakGlass) -> Accepted:
    """Return what is accepted in the place of ``base``: nobody goes forward, or everybody goes back to the plan's target.

    Nothing to go back to: a rollback pauses. A pause stops no retreat (D5).
    """
    plan, document = base.plan, base.document
    if glass.action is GlassAction.ROLLBACK and plan is not None and plan.rollback is not None:
        emptied = _emptied(document, Move.RETREAT, Phase.ROLLING_BACK)
        return replace(base, glass=glass, document=replace(emptied, settled=plan.rollback.artifact))
    if _goes_forward(document, plan):
        # An empty target: each node keeps what it runs, the canaries too, and starts nothing.
        document = _emptied(document, Move.HOLD, Phase.PAUSED)
    return replace(base, glass=glass, document=document)


def _emptied(document: Desired, move: Move, phase: Phase) -> Desired:
    nobody = replace(document, cohorts=(), settled=None, newcomers=None, prefetch=False)
    return replace(nobody, move=move, phase=phase, reason=Reason.ASKED, expires_ms=0)


def _goes_forward(document: Desired, plan: Plan | None) -> bool:
    if document.move is Move.RETREAT or plan is None:
        return False
    return bool(document.cohorts) or same(document.settled, plan.artifact) or same(document.newcomers, plan.artifact)


def _rank(glass: BreakGlass) -> tuple[int, bool]:
    return glass.generation, glass.action is GlassAction.ROLLBACK
