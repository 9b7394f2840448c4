"""What an accepted document asks of one node: its cohort, artifact and run token.

An empty target means nobody: the node keeps what it runs and starts nothing (Google's "Diskerase": an empty set was read as all).
Absence of a document changes nothing (F1; AWS DynamoDB, 2025-10-19: a clean-up had deleted the newest plan).
"""

from enum import StrEnum

from msgspec import Struct

from tidegate.reconcile.held import Accepted, same
from tidegate.wire.plans import Artifact


class CohortName(StrEnum):
    """Which group of the comparison a node is in."""

    CANARY = "canary"
    CONTROL = "control"
    REST = "rest"


class Target(Struct, frozen=True, kw_only=True):
    """What one node owes. No ``artifact``: nothing is asked. ``prefetch``: fetch these, start nothing."""

    cohort: CohortName = CohortName.REST
    artifact: Artifact | None = None
    token: str = ""
    prefetch: tuple[Artifact, ...] = ()


def target_of(accepted: Accepted | None, node: str) -> Target:
    """Return what a node owes under the document accepted last; nothing where there is none."""
    if accepted is None:
        return Target()
    document, plan, roster = accepted.document, accepted.plan, accepted.roster
    if roster is None or plan is None:
        return Target(artifact=_from_plan(accepted, document.settled))
    if node not in roster.nodes:
        # B6: who comes late takes what the document names for newcomers, and what is settled until it names something.
        return Target(artifact=_from_plan(accepted, document.newcomers or document.settled))
    position = roster.nodes.index(node)
    rollback = plan.rollback.artifact if plan.rollback is not None else None
    wanted = tuple(one for one in (rollback, plan.artifact) if one is not None) if document.prefetch else ()
    for cohort in document.cohorts:
        if cohort.first <= position < cohort.first + cohort.count:
            artifact = plan.artifact if cohort.version == plan.artifact.version else rollback
            return Target(cohort=CohortName(cohort.name), artifact=artifact, token=cohort.token, prefetch=wanted)
    return Target(artifact=_from_plan(accepted, document.settled), prefetch=wanted)


def is_advance(accepted: Accepted, artifact: Artifact) -> bool:
    """Return whether running an artifact goes forward: it is the plan's new version."""
    return accepted.plan is not None and same(artifact, accepted.plan.artifact)


def _from_plan(accepted: Accepted, artifact: Artifact | None) -> Artifact | None:
    """Take the operator's own words for where an artifact comes from; the identity is the same by acceptance."""
    plan = accepted.plan
    if artifact is None or plan is None:
        return artifact
    return plan.artifact if same(artifact, plan.artifact) else plan.rollback.artifact if plan.rollback else artifact
