"""What is known of experiments, for a person: what flags declare, what has been counted, and what is proposed."""

import math
from collections.abc import Iterator

from msgspec import Struct

from tidegate.detect.experiments import MISMATCH_ALPHA, Compared, Proposal, Proposed, Why, compare, propose
from tidegate.experiments.pooled import Pooled, arm_of, design_of, seen_of
from tidegate.model.model import Model
from tidegate.rollout.flag_levels import had_by_everyone
from tidegate.wire.documents import Phase
from tidegate.wire.experiments import Experiment, MetricKind, Point, Trial, trial_of
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.flagstates import FlagState
from tidegate.wire.names import FLAG_PREFIX, duration_ms

RUNS, ENDED = "runs", "ended"


class VariantRow(Struct, frozen=True, kw_only=True):
    """One variant. Shares are of 1, of all users; ``doubles`` saw it first and then another one."""

    variant: str
    users: int
    share: float
    declared: float
    doubles: int


class MetricRow(Struct, frozen=True, kw_only=True):
    """One treatment beside the control in one metric. Means are per user; ``low`` and ``high`` hold the true difference at every
    look with probability 1 - ``alpha``, and are None, like ``p_value``, while too little was seen.
    """

    metric: str
    kind: MetricKind
    variant: str
    control_mean: float | None
    mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    relative: float | None
    p_value: float | None
    alpha: float
    standing: str


class Status(Struct, frozen=True, kw_only=True):
    """One experiment. Times are append times of exposures, in ms; 0: there was none."""

    experiment: str
    flag: str
    run: str
    state: str
    """``runs``, ``ended``, or why nobody is counted now."""
    control: str
    first_ms: int
    last_ms: int
    min_run_ms: int
    users: int
    doubles: int
    double_share: float
    refused: int
    """Exposures of users for whom there was no room."""
    mismatch_log_e: float
    """Nats against users being dealt as declared; from ``mismatch_threshold`` on the numbers mean nothing."""
    mismatch_threshold: float
    variants: tuple[VariantRow, ...]
    metrics: tuple[MetricRow, ...]
    outcome: Proposed
    reason: Why
    proposed_variant: str | None


class Look(Struct, frozen=True):
    """What was known of one treatment at one time: the difference of the primary metric from the control, and the confidence
    sequence that holds the true one at every look.
    """

    at_ms: int
    difference: float
    low: float
    high: float


class Known(Struct, frozen=True, kw_only=True):
    """One experiment with all that a report is made of."""

    declared: Experiment
    trial: Trial
    subject: str
    state: str
    counted: Pooled | None
    proposal: Proposal

    @property
    def status(self) -> Status:
        """Return it in the words of the output."""
        found, proposal = self.counted, self.proposal
        users = found.users if found is not None else 0
        return Status(
            experiment=self.declared.name,
            flag=self.subject.removeprefix(FLAG_PREFIX),
            run=self.trial.run,
            state=self.state,
            control=self.declared.control,
            first_ms=found.first_ms if found is not None else 0,
            last_ms=found.last_ms if found is not None else 0,
            min_run_ms=duration_ms(self.declared.min_run_time),
            users=users,
            doubles=found.doubles if found is not None else 0,
            double_share=proposal.double_share,
            refused=found.refused if found is not None else 0,
            mismatch_log_e=proposal.mismatch_log_e,
            mismatch_threshold=math.log(1.0 / MISMATCH_ALPHA),
            variants=tuple(_variants(self.trial, found)),
            metrics=tuple(_metric(self.declared, one) for one in proposal.compared),
            outcome=proposal.outcome,
            reason=proposal.reason,
            proposed_variant=proposal.variant,
        )


def known(model: Model, counted: dict[str, Pooled]) -> list[Known]:
    """Return what is known of each experiment, given what was counted of it."""
    found = {}
    for subject, state in sorted(model.ledger.flags.items()):
        spec = had_by_everyone(state) or state.spec
        declared = spec.experiment
        if declared is not None and not state.archived:
            found[declared.name] = _known(declared, subject, spec, _state(state), counted.get(declared.name))
    for name, one in counted.items():
        once = None if name in found else _once(model, one)
        if once is not None and once.experiment is not None:
            found[name] = _known(once.experiment, one.subject, once, ENDED, one)
    return [one for _, one in sorted(found.items())]


def looks_of(one: Known) -> dict[str, list[Look]]:
    """Return by treatment the estimates of the past and of now, each as it was then; those that said nothing yet are left out."""
    if one.counted is None:
        return {}
    treatments = (variant for variant in one.trial.shares if variant != one.declared.control)
    return {variant: list(_looks(one, one.counted, variant)) for variant in treatments}


def _looks(one: Known, found: Pooled, variant: str) -> Iterator[Look]:
    primary = one.declared.primary
    places = {name: at for at, name in enumerate(one.trial.shares)}
    now = Point(found.last_ms, tuple((arm.users, arm.metrics[0]) for arm in found.arms.values()))
    alpha = next(each.alpha for each in one.proposal.compared)
    for point in (*found.past, now):
        control, treatment = (arm_of(primary, *point.arms[places[name]]) for name in (one.declared.control, variant))
        binary, expected = primary.kind is MetricKind.BINARY, one.declared.expected_users
        estimate = compare(control, treatment, alpha=alpha, binary=binary, expected=expected)
        if math.isfinite(estimate.high):
            yield Look(point.at_ms, estimate.difference, estimate.low, estimate.high)


def _known(declared: Experiment, subject: str, spec: FlagSpec, state: str, counted: Pooled | None) -> Known:
    trial = trial_of(declared, spec.decoded(), subject)
    # What was counted under another definition says nothing of this one.
    one = counted if counted is not None and counted.trial == trial else None
    empty = Pooled(trial=trial, set_id="", flag="", generation=0, arms={}, refused=0, full=(), first_ms=0, last_ms=0, past=())
    proposal = propose(design_of(declared, trial), seen_of(declared, one or empty))
    return Known(declared=declared, trial=trial, subject=subject, state=state, counted=one, proposal=proposal)


def _once(model: Model, one: Pooled) -> FlagSpec | None:
    """Return the spec under which a run that is over was counted, as far back as decisions are remembered."""
    for told in reversed(model.decisions(one.subject)):
        state = told.decision.flag
        for spec in () if state is None else (state.spec, *([state.before] if state.before is not None else [])):
            if spec.experiment is not None and trial_of(spec.experiment, spec.decoded(), one.subject) == one.trial:
                return spec
    return None


def _state(state: FlagState) -> str:
    if state.killed:
        return "flag is killed"
    if state.pinned:
        return "flag is switched off"
    if had_by_everyone(state) is not None:
        return RUNS
    return "waits to begin" if state.phase is Phase.IDLE else "waits until everyone has the flag"


def _variants(trial: Trial, found: Pooled | None) -> Iterator[VariantRow]:
    weights, dealt = sum(trial.shares.values()), found.dealt if found is not None else {}
    whole = sum(dealt.values())
    for variant, weight in trial.shares.items():
        arm = found.arms.get(variant) if found is not None else None
        yield VariantRow(
            variant=variant,
            users=arm.users if arm is not None else 0,
            share=dealt.get(variant, 0) / whole if whole else 0.0,
            declared=weight / weights,
            doubles=arm.doubles if arm is not None else 0,
        )


def _metric(declared: Experiment, one: Compared) -> MetricRow:
    kind = next(metric.kind for metric in declared.metrics if metric.name == one.metric)
    estimate, seen = one.estimate, one.control.users > 0 and one.treatment.users > 0
    says = seen and math.isfinite(estimate.high)
    return MetricRow(
        metric=one.metric,
        kind=kind,
        variant=one.variant,
        control_mean=one.control.total / one.control.users if one.control.users else None,
        mean=one.treatment.total / one.treatment.users if one.treatment.users else None,
        difference=estimate.difference if seen else None,
        low=estimate.low if says else None,
        high=estimate.high if says else None,
        relative=estimate.relative,
        p_value=estimate.p_value if says else None,
        alpha=one.alpha,
        standing=one.standing,
    )
