"""What an experiment asks a person to do, from its sums: ship a variant, stop, wait, or throw it away. It does nothing itself.

The chance that anything is ever called better or worse that is neither is at most ``alpha`` for all treatments and metrics of an
experiment together: each comparison gets its part (Bonferroni), as the intervals of ``estimates`` are right at all looks.
"""

import math
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from tidegate.detect.experiments.balance import MISMATCH_ALPHA, doubled, mismatch
from tidegate.detect.experiments.estimates import EXPECTED, Arm, Estimate, compare

ALPHA = 0.05
RUN_S_MIN = 7 * 86_400.0
"""A week has one of each of its days: who comes on a Monday is not who comes on a Sunday."""


class Proposed(StrEnum):
    """What a person is asked to do."""

    KEEP_RUNNING = "keep_running"
    SHIP = "ship"
    STOP_NO_DIFFERENCE = "stop_no_difference"
    INVALID = "invalid"


class Why(StrEnum):
    """The one cause of a proposal."""

    # keep_running
    TOO_SHORT = "too_short"
    TOO_FEW = "too_few"
    UNDECIDED = "undecided"
    GUARD_WORSE = "guard_worse"
    # ship
    BETTER = "better"
    CONTROL_BETTER = "control_better"
    # stop_no_difference
    NEGLIGIBLE = "negligible"
    # invalid
    MISMATCH = "mismatch"
    DOUBLE_EXPOSURES = "double_exposures"


class Standing(StrEnum):
    """Where a treatment stands beside the control in one metric."""

    TOO_FEW = "too_few"
    UNDECIDED = "undecided"
    NEGLIGIBLE = "negligible"
    BETTER = "better"
    WORSE = "worse"


class Metric(Struct, frozen=True, kw_only=True):
    """What is measured of each user. ``increase``: whether more of it is better.

    ``negligible``: a difference of means of at most so much, up or down, is as good as none; 0 where that was not declared.
    ``expected``: as in ``compare``.
    """

    name: str
    binary: bool
    increase: bool = True
    negligible: float = 0.0
    expected: float = EXPECTED


class Design(Struct, frozen=True, kw_only=True):
    """What was settled before the experiment began. ``weights``: of each variant, the control's too; at least two of them.

    ``primary`` alone ships; of the ``guards`` one that is worse keeps a variant from being shipped.
    """

    control: str
    weights: Mapping[str, float]
    primary: Metric
    guards: tuple[Metric, ...] = ()
    alpha: float = ALPHA
    run_s_min: float = RUN_S_MIN

    @property
    def treatments(self) -> tuple[str, ...]:
        """Every variant but the control, in the order of their names."""
        return tuple(sorted(name for name in self.weights if name != self.control))


class Seen(Struct, frozen=True, kw_only=True):
    """What has come in. ``users``: of each variant; ``double``: how many of them saw more than one.

    ``arms``: for each metric, for each variant its sums.
    """

    ran_s: float
    users: Mapping[str, int]
    double: int = 0
    arms: Mapping[str, Mapping[str, Arm]]


class Compared(Struct, frozen=True, kw_only=True):
    """One treatment beside the control in one metric, with the level ``alpha`` at which it was."""

    metric: str
    variant: str
    control: Arm
    treatment: Arm
    estimate: Estimate
    standing: Standing
    alpha: float


class Proposal(Struct, frozen=True, kw_only=True):
    """What to do, why, and all that it rests on.

    ``variant``: what to ship; for ``guard_worse`` what would be shipped otherwise; else None. ``mismatch_log_e``: nats against
    users being dealt as promised. ``double_share``: part of the users that saw more than one variant. ``compared``: the primary
    metric first, treatments in the order of their names.
    """

    outcome: Proposed
    reason: Why
    variant: str | None = None
    mismatch_log_e: float
    double_share: float
    compared: tuple[Compared, ...]


def propose(design: Design, seen: Seen) -> Proposal:
    """Return what to do about an experiment. Total: what is missing is as if nobody had come."""
    metrics = (design.primary, *design.guards)
    alpha = design.alpha / max(1, len(metrics) * len(design.treatments))
    compared = tuple(_compared(metric, variant, design, seen, alpha) for metric in metrics for variant in design.treatments)
    log_e = mismatch(seen.users, design.weights)
    users = sum(seen.users.values())
    outcome, reason, variant = _judged(design, seen, compared, log_e)
    return Proposal(
        outcome=outcome,
        reason=reason,
        variant=variant,
        mismatch_log_e=log_e,
        double_share=seen.double / users if users else 0.0,
        compared=compared,
    )


def _compared(metric: Metric, variant: str, design: Design, seen: Seen, alpha: float) -> Compared:
    arms = seen.arms.get(metric.name, {})
    control, treatment = arms.get(design.control, Arm()), arms.get(variant, Arm())
    estimate = compare(control, treatment, alpha=alpha, binary=metric.binary, expected=metric.expected)
    return Compared(
        metric=metric.name,
        variant=variant,
        control=control,
        treatment=treatment,
        estimate=estimate,
        standing=_standing(metric, estimate),
        alpha=alpha,
    )


def _standing(metric: Metric, estimate: Estimate) -> Standing:
    if math.isinf(estimate.high):
        return Standing.TOO_FEW
    if -metric.negligible <= estimate.low and estimate.high <= metric.negligible:
        return Standing.NEGLIGIBLE
    if estimate.low > 0.0:
        return Standing.BETTER if metric.increase else Standing.WORSE
    if estimate.high < 0.0:
        return Standing.WORSE if metric.increase else Standing.BETTER
    return Standing.UNDECIDED


def _judged(design: Design, seen: Seen, compared: tuple[Compared, ...], log_e: float) -> tuple[Proposed, Why, str | None]:
    """Return outcome, reason and variant: whether it may be believed at all, whether it is over, and what it says."""
    enough_nats = math.log(1.0 / MISMATCH_ALPHA)
    if log_e >= enough_nats:
        return Proposed.INVALID, Why.MISMATCH, None
    if doubled(seen.double, sum(seen.users.values())) >= enough_nats:
        return Proposed.INVALID, Why.DOUBLE_EXPOSURES, None
    if seen.ran_s < design.run_s_min:
        return Proposed.KEEP_RUNNING, Why.TOO_SHORT, None
    width = len(design.treatments)
    primary, guards = compared[:width], compared[width:]
    better = sorted(
        (one for one in primary if one.standing is Standing.BETTER), key=lambda one: abs(one.estimate.difference), reverse=True
    )
    harmed = {one.variant for one in guards if one.standing is Standing.WORSE}
    for one in better:
        if one.variant not in harmed:
            return Proposed.SHIP, Why.BETTER, one.variant
    if better:
        return Proposed.KEEP_RUNNING, Why.GUARD_WORSE, better[0].variant
    return _not_better([one.standing for one in primary], design.control)


def _not_better(standings: list[Standing], control: str) -> tuple[Proposed, Why, str | None]:
    """Return what follows where no treatment is better: every one that may still become so is waited for."""
    if not standings or Standing.TOO_FEW in standings:
        return Proposed.KEEP_RUNNING, Why.TOO_FEW, None
    if Standing.UNDECIDED in standings:
        return Proposed.KEEP_RUNNING, Why.UNDECIDED, None
    if Standing.NEGLIGIBLE in standings:
        return Proposed.STOP_NO_DIFFERENCE, Why.NEGLIGIBLE, None
    return Proposed.SHIP, Why.CONTROL_BETTER, control
