"""The gross trip (C1): one pane is enough when a fifth of the canary's requests fail and the others' do not."""

from collections.abc import Sequence

from msgspec import Struct

from tidegate.detect.findings import Finding, percent
from tidegate.kpi.pane import NodePane
from tidegate.kpi.sums import Sums
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

ERRORS_MIN = 10
RATIO_MIN = 0.20
CONTROL_PART = 0.25
BEFORE_MS = 600_000
"""So long after its start a rollout may find a fault that was there already: later a new one may have come."""
REQUESTS_MIN = 10
"""Fewer requests of a control say nothing about a quarter of a fifth."""


class Others(Struct, frozen=True):
    """With whom a canary may be compared in a pane; None where there is no such cohort."""

    control: Sums | None = None
    baseline: Sums | None = None
    rest: Sums | None = None
    before: Sums | None = None
    """The last minute before the rollout: what failed then is not its fault."""


def judge_gross(nodes: Sequence[NodePane], size: int, others: Others) -> Finding | None:
    """Return what the gross trip says of one pane of a canary of ``size`` nodes, those of ``nodes`` reporting; or None.

    It compares with the control of the same pane, or, without one that answers, with the baseline (C3); then others that suffer
    at the same time make it the environment. With nothing to compare it pauses (B7). No single node of three or more carries it
    (C4).
    """
    requests, errors = sum(node.requests for node in nodes), sum(node.errors for node in nodes)
    counts = (requests, errors)
    if not _gross(requests, errors):
        return None
    worst = max(nodes, key=lambda node: (node.errors, node.node))
    if size >= 3 and not _gross(requests - worst.requests, errors - worst.errors):
        return _told(Reason.ONE_NODE_ONLY, None, counts, None, f"nearly all of them on {worst.node}, one node alone")
    witnesses = ((others.control, "but other nodes fail too"), (others.rest, "but other nodes fail too"))
    control = others.control
    if control is None or control.requests < REQUESTS_MIN:
        witnesses = (*witnesses, (others.before, "but as many did before the rollout"))
    for witness, why in witnesses:
        if witness is not None and witness.requests >= REQUESTS_MIN and witness.error_ratio >= CONTROL_PART * errors / requests:
            return _told(Reason.ENVIRONMENT, None, counts, witness, why)
    baseline = others.baseline
    if control is not None and control.requests >= REQUESTS_MIN:
        return _told(Reason.GROSS_ERRORS, Action.ROLLBACK, counts, control, "the control does not")
    if baseline is not None and baseline.error_ratio < CONTROL_PART * errors / requests:
        return _told(Reason.GROSS_ERRORS, Action.ROLLBACK, counts, baseline, "the baseline did not")
    return _told(Reason.GROSS_ERRORS, Action.PAUSE, counts, baseline, "and nothing healthy stands beside it")


def _gross(requests: int, errors: int) -> bool:
    return errors >= ERRORS_MIN and errors >= RATIO_MIN * requests


def _told(reason: Reason, action: Action | None, counts: tuple[int, int], other: Sums | None, why: str) -> Finding:
    requests, errors = counts
    return Finding(
        outcome=Outcome.FAIL if action else Outcome.HOLD,
        reason=reason,
        action=action,
        metric="errorRatio",
        canary=errors / requests,
        control=other.error_ratio if other is not None and other.requests else None,
        limit=RATIO_MIN,
        sentence=f"{percent(errors / requests)} of the canary's requests failed in one pane ({errors} of {requests}); {why}.",
    )
