"""The way back on one node, rung by rung: what it may go back to, and what it never goes back to.

A rollback target that does not start is tried three times, ever more slowly; then what was good here before it. Where none of
them starts, what is to be left is stopped: nothing is better than what the fleet has rejected. Then the target is tried again
every 30 s, while the report says FAILED and people are told. A version that this node has been told to leave is never started
again on the way: neither for want of anything better, nor because it ran last. (nomad 10465, argo-rollouts 1774: a broken stable
version ended in the bad one.)
"""

from msgspec.structs import replace

from tidegate.reconcile.held import BAD_KEPT, EARLIER_KEPT, Bad, Failure, Held, identity, same
from tidegate.reconcile.target import Target, is_advance
from tidegate.wire.plans import Artifact

TRIES = 3
"""So often one rung is tried before the next one is."""


def barred(held: Held, target: Target, artifact: Artifact | None) -> bool:
    """Return whether an artifact is never started here now: it was left, or the fleet tells this node to leave it."""
    if held.accepted is None or artifact is None or same(artifact, target.artifact):
        return is_left(held, artifact)
    return is_left(held, artifact) or (target.artifact is not None and is_advance(held.accepted, artifact))


def is_left(held: Held, artifact: Artifact | None) -> bool:
    """Return whether this node has left an artifact for as long as the rollout at hand lasts."""
    bad = bad_of(held, artifact)
    return bad is not None and bad.never


def revivable(held: Held, target: Target, cached: frozenset[tuple[str, str, str]]) -> bool:
    """Return whether what ran last may run again: while what is asked for is a step forward, or it is where the way back led."""
    before = held.applied
    if barred(held, target, before):
        return False
    if held.accepted is None or target.artifact is None or is_advance(held.accepted, target.artifact):
        return True
    return same(before, rung(held, target, cached))


def bad_of(held: Held, artifact: Artifact | None) -> Bad | None:
    """Return why an artifact is not started any more in the rollout at hand; None where nothing is known against it."""
    if not held.bad:
        return None
    rollout = held.accepted.document.rollout if held.accepted is not None else ""
    return next((one for one in held.bad if one.rollout == rollout and same(one.artifact, artifact)), None)


def rung(held: Held, target: Target, cached: frozenset[tuple[str, str, str]]) -> Artifact | None:
    """Return what to go back to now; None where nothing is known that could be.

    Where every rung was given up, it is the first one again.
    """
    rungs = _rungs(held, target, cached)
    left = [one for one in rungs if bad_of(held, one) is None]
    return next(iter(left or rungs), None)


def exhausted(held: Held, target: Target, cached: frozenset[tuple[str, str, str]]) -> bool:
    """Return whether there were ways back and each was given up."""
    rungs = _rungs(held, target, cached)
    return bool(rungs) and all(bad_of(held, one) is not None for one in rungs)


def _rungs(held: Held, target: Target, cached: frozenset[tuple[str, str, str]]) -> list[Artifact]:
    known = (target.artifact, known_good(held), *held.earlier)
    named = [one for one in known if one is not None and not barred(held, target, one)]
    # Only the target is worth a download: what was good before is a help in need, or none.
    return [one for one in named if same(one, target.artifact) or identity(one) in cached]


def known_good(held: Held) -> Artifact | None:
    """Return last-known-good; where nothing ran long enough to be that, what was seen to start in the rollout at hand."""
    seen = held.proof.artifact if held.proof is not None and is_proven(held, held.proof.artifact) else None
    return held.good if held.good is not None else seen


def way_back(held: Held) -> Artifact | None:
    """Return the rollback target of the plan at hand."""
    plan = held.accepted.plan if held.accepted is not None else None
    return plan.rollback.artifact if plan is not None and plan.rollback is not None else None


def unproven(held: Held, artifact: Artifact) -> Artifact | None:
    """Return the way back that must be seen to start before an artifact on trial does; None where nothing is owed."""
    accepted, back = held.accepted, way_back(held)
    if accepted is None or back is None or not is_advance(accepted, artifact) or same(accepted.document.settled, artifact):
        return None
    return None if is_proven(held, back) else back


def is_proven(held: Held, artifact: Artifact) -> bool:
    """Return whether a way back was seen to start in the rollout at hand."""
    rollout = held.accepted.document.rollout if held.accepted is not None else ""
    return held.proof is not None and held.proof.rollout == rollout and same(held.proof.artifact, artifact)


def noted_bad(held: Held, failure: Failure, *, never: bool = False) -> Held:
    """Return the memory that knows what failed as bad in its rollout. The oldest are forgotten first."""
    others = [one for one in held.bad if one.rollout != failure.rollout or not same(one.artifact, failure.artifact)]
    bad = Bad(artifact=failure.artifact, rollout=failure.rollout, last_ms=failure.last_ms, error=failure.error, never=never)
    return replace(held, bad=(*others, bad)[-BAD_KEPT:])


def no_longer_bad(held: Held, artifact: Artifact) -> Held:
    """Return the memory after a start of an artifact that took place."""
    kept = tuple(one for one in held.bad if not same(one.artifact, artifact) or one.never)
    return replace(held, bad=kept)


def no_longer_good(held: Held, artifact: Artifact) -> Held:
    """Return the memory for which an artifact is no way back: the fleet goes back from it."""
    kept = tuple(one for one in (held.good, *held.earlier) if one is not None and not same(one, artifact))
    return replace(held, good=kept[0] if kept else None, earlier=kept[1:])


def proven(held: Held, good: Artifact) -> Held:
    """Return the memory that has a new last-known-good; the one before is kept as a rung."""
    before = [one for one in (held.good, *held.earlier) if one is not None and not same(one, good)]
    return replace(held, good=good, earlier=tuple(before[:EARLIER_KEPT]))
