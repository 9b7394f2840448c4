"""How large a stage is, how many controls it gets, and the digest of who runs what (B1, B2, B8).

Nothing is everywhere at once unless an operator has signed a plan of one stage (Cloudflare, 2019-07-02 and 2025-12-05: settings
that were everywhere in seconds).
"""

from itertools import pairwise

from msgspec import Struct

from tidegate.wire.documents import Roster, digest_of
from tidegate.wire.names import share_of
from tidegate.wire.plans import ControlMode, Plan, Stage

CONTROLS_MAX = 20


class Sizes(Struct, frozen=True):
    """Nodes of a complete stage: ``canary`` from the roster's beginning, ``control`` after them."""

    canary: int
    control: int


def size_of(stage: Stage, whole: int, waves: tuple[int, ...] = ()) -> int:
    """Return how many nodes of a roster of ``whole`` a stage reaches (B1): percent rounded down, at least 1, at most all.

    ``waves``: how many nodes are in the plan's waves up to each.
    """
    if stage.set_wave is not None:
        return waves[stage.set_wave - 1] if stage.set_wave <= len(waves) else whole
    return share_of(f"{stage.set_weight}%" if stage.set_weight is not None else str(stage.set_nodes), whole)


def control_size(canary: int, whole: int, end: int) -> int:
    """Return how many controls stand beside a canary (B2); 0 means that there is only the baseline (C3).

    ``end``: how many nodes are in the first wave, where there are waves. Zones differ by more than a release does, so nobody is
    compared with another wave.

    >>> control_size(1, 12, 12), control_size(3, 12, 12), control_size(4, 12, 12), control_size(100, 1000, 1000)
    (1, 3, 0, 20)
    >>> control_size(1, 24, 4), control_size(3, 24, 4), control_size(5, 24, 4)
    (1, 0, 0)
    """
    return min(canary, CONTROLS_MAX, max(0, end - canary) // 2) if canary * 4 <= whole else 0


def sizes(plan: Plan, stage: int, whole: int, waves: tuple[int, ...] = ()) -> Sizes:
    """Return the sizes of a stage on a roster of ``whole``, with waves as in ``size_of``. A first plan has no controls (B7)."""
    canary = size_of(plan.stages[stage], whole, waves)
    compared = plan.rollback is not None and plan.control is not ControlMode.NONE
    return Sizes(canary, control_size(canary, whole, waves[0] if waves else whole) if compared else 0)


def shrinking(plan: Plan, whole: int, waves: tuple[int, ...]) -> str:
    """Return what is wrong where a stage would be smaller than the one before it on this roster, or a wave has no node; empty
    where nothing is.
    """
    empty = next((number for number, (first, end) in enumerate(pairwise((0, *waves))) if first == end), None)
    if empty is not None:
        return f"waves[{empty}]: no eligible node is in {', '.join(plan.waves[empty])}"
    for index in range(1, len(plan.stages)):
        before, after = (size_of(plan.stages[at], whole, waves) for at in (index - 1, index))
        if after < before:
            return f"stages[{index}]: {after} of {whole} eligible nodes, fewer than the {before} of the stage before it"
    return ""


def placement(plan: Plan, roster: Roster, attempt: int, stage: int) -> str:
    """Return the digest of who runs what (B8). Batches do not change it; rollout, attempt, stage, sizes and versions do."""
    size = sizes(plan, stage, len(roster.nodes), roster.waves)
    cohorts: list[list[str | int]] = [["canary", plan.artifact.version, plan.artifact.sha256, size.canary]]
    if plan.rollback is not None and size.control:
        cohorts.append(["control", plan.rollback.artifact.version, plan.rollback.artifact.sha256, size.control])
    return digest_of({"rollout": roster.rollout, "attempt": attempt, "stage": stage, "cohorts": cohorts})


def canary_token(rollout: str) -> str:
    """Return the run token of the canary: one for each attempt (B3)."""
    return rollout


def control_token(rollout: str, stage: int) -> str:
    """Return the run token of the controls: a new one for each stage (B3)."""
    return f"{rollout}/{stage}"
