"""How large a stage is, how many controls it gets, and the digest of who runs what (B1, B2, B8).

Nothing is everywhere at once unless an operator has signed a plan of one stage (Cloudflare, 2019-07-02 and 2025-12-05: settings
that were everywhere in seconds).
"""

from msgspec import Struct

from tidegate.wire.documents import digest_of
from tidegate.wire.names import share_of
from tidegate.wire.plans import ControlMode, Plan, Stage

CONTROLS_MAX = 20


class Sizes(Struct, frozen=True):
    """Nodes of a complete stage: ``canary`` from the roster's beginning, ``control`` after them."""

    canary: int
    control: int


def size_of(stage: Stage, whole: int) -> int:
    """Return how many nodes of a roster of ``whole`` a stage reaches (B1): percent rounded down, at least 1, at most all."""
    return share_of(f"{stage.set_weight}%" if stage.set_weight is not None else str(stage.set_nodes), whole)


def control_size(canary: int, whole: int) -> int:
    """Return how many controls stand beside a canary (B2); 0 means that there is only the baseline (C3).

    >>> control_size(1, 12), control_size(3, 12), control_size(4, 12), control_size(100, 1000)
    (1, 3, 0, 20)
    """
    return min(canary, CONTROLS_MAX, (whole - canary) // 2) if canary * 4 <= whole else 0


def sizes(plan: Plan, stage: int, whole: int) -> Sizes:
    """Return the sizes of a stage on a roster of ``whole``. A first plan has no controls (B7)."""
    canary = size_of(plan.stages[stage], whole)
    compared = plan.rollback is not None and plan.control is not ControlMode.NONE
    return Sizes(canary, control_size(canary, whole) if compared else 0)


def shrinking(plan: Plan, whole: int) -> str:
    """Return what is wrong where a stage would be smaller than the one before it on this roster; empty where none is."""
    for index in range(1, len(plan.stages)):
        before, after = size_of(plan.stages[index - 1], whole), size_of(plan.stages[index], whole)
        if after < before:
            return f"stages[{index}]: {after} of {whole} eligible nodes, fewer than the {before} of the stage before it"
    return ""


def placement(plan: Plan, rollout: str, attempt: int, stage: int, whole: int) -> str:
    """Return the digest of who runs what (B8). Batches do not change it; rollout, attempt, stage, sizes and versions do."""
    size = sizes(plan, stage, whole)
    cohorts: list[list[str | int]] = [["canary", plan.artifact.version, plan.artifact.sha256, size.canary]]
    if plan.rollback is not None and size.control:
        cohorts.append(["control", plan.rollback.artifact.version, plan.rollback.artifact.sha256, size.control])
    return digest_of({"rollout": rollout, "attempt": attempt, "stage": stage, "cohorts": cohorts})


def canary_token(rollout: str) -> str:
    """Return the run token of the canary: one for each attempt (B3)."""
    return rollout


def control_token(rollout: str, stage: int) -> str:
    """Return the run token of the controls: a new one for each stage (B3)."""
    return f"{rollout}/{stage}"
