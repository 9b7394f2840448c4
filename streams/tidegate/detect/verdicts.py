"""One verdict for each pane of each subject with a placement: the rules in their order, and a pass only when nothing is missing.

Order: start and crash, gross trip, limits, evidence, absence, environment, holds, pass; and what asks for a retreat goes before
what asks for a pause. Judgement never stops, not while a rollout is paused or watched.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect import absence, gross, guard, limits
from tidegate.detect.baseline import freeze
from tidegate.detect.baseline import learn as learn_baseline
from tidegate.detect.bunches import bunching
from tidegate.detect.drift import state as drifting
from tidegate.detect.drift.weigh import Weighed
from tidegate.detect.evidence import deviating_of, evidence_of, judge_evidence
from tidegate.detect.findings import Finding, hold, rolls_back
from tidegate.detect.measure import Measured
from tidegate.detect.neighbours import Neighbours
from tidegate.detect.presence import Watch, watch
from tidegate.detect.state import SubjectJudgement
from tidegate.kpi.pane import NodePane, ServicePane
from tidegate.kpi.sums import Sums
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.reasons import Reason


class Judged(Struct, frozen=True):
    """What a verdict is made of beside its pane."""

    chosen: Finding
    silent: tuple[str, ...] = ()
    weighed: Weighed = Weighed()


class Sight(Struct, frozen=True):
    """One pane as the rules see it: reporting nodes on both sides, and what there is to compare with."""

    end_ms: int
    canary: tuple[NodePane, ...]
    controls: tuple[NodePane, ...]
    control: Sums | None
    """None: no control cohort in this placement."""
    rest: Sums | None
    baseline: Sums | None
    compared_with: str


def learn(state: SubjectJudgement, pane: ServicePane) -> SubjectJudgement:
    """Return the state after a pane in which nothing was being rolled out: the baseline grows (C3)."""
    return SubjectJudgement(baseline=learn_baseline(state.baseline, pane), drift=drifting.learn(state.drift, pane))


def judge(
    state: SubjectJudgement,
    context: Context,
    pane: ServicePane,
    clock_ms: int,
    *,
    telemetry_down: bool = False,
    resumed_ms: int = 0,
) -> tuple[SubjectJudgement, Verdict]:
    """Return the state after a closed pane and the verdict on its placement. Total; the same input gives the same verdict.

    ``telemetry_down``: the watermarks stand apart (A3), so that silence means nothing; nor does it soon after ``resumed_ms``, the
    end of the last outage.
    """
    state = _enter(state, context, pane)
    sight = _see(state, context, pane)
    state = _fold(state, context, pane, sight)
    if context.retreating:
        back = hold(Reason.RETREATING, "The fleet is retreating.")
        return state, _verdict(state, context, sight, Judged(back), clock_ms)
    drift, weighed = drifting.observe(state.drift, pane, context.placement, _ages_s(state, sight.end_ms), context.guardrails)
    state = replace(state, drift=drift)
    canary = {node: seen for node, seen in state.watches.items() if seen.cohort == "canary"}
    control = {node: seen for node, seen in state.watches.items() if seen.cohort == "control"}
    absent = absence.judge_absence(
        absence.Sight(
            canary=canary,
            control=control,
            now_ms=sight.end_ms,
            rules=context.absence,
            arrivals=state.arrivals,
            resumed_ms=resumed_ms,
        )
    )
    if telemetry_down:
        down = hold(Reason.TELEMETRY_DOWN, "Parts of the telemetry have stopped: silence says nothing now.")
        absent = replace(absent, findings=(down,))
    found = [
        *_starts_and_errors(state, context, sight, canary),
        *_evidence(state, sight, weighed),
        *absent.findings,
        *_burning(state, context),
        *_waiting(state, context, sight, absent, canary),
    ]
    chosen = _strongest(found) or _passed(context, sight)
    return state, _verdict(state, context, sight, Judged(chosen, absent.silent, weighed), clock_ms)


def judge_open(state: SubjectJudgement, context: Context, pane: ServicePane, clock_ms: int) -> Verdict | None:
    """Return the retreat that the rows so far of a pane which is still open already ask for, or None (C4: never a pass).

    It saves the second of grace. ``state`` is that of the last closed pane and stays so; to be asked at watermark records only
    (A3). Only failed starts, the gross trip and limits speak: what is missing now may still come, and sequential evidence
    counts whole panes.
    """
    if context.retreating:
        return None
    state = _enter(state, context, pane)
    sight = _see(state, context, pane)
    state = _fold(state, context, pane, sight, whole=False)
    canary = {node: seen for node, seen in state.watches.items() if seen.cohort == "canary"}
    chosen = _strongest(_starts_and_errors(state, context, sight, canary))
    if chosen is None or not rolls_back(chosen):
        return None
    return _verdict(state, context, sight, Judged(chosen), clock_ms)


def _enter(state: SubjectJudgement, context: Context, pane: ServicePane) -> SubjectJudgement:
    """Begin what a new rollout or a new placement begins; the baseline is frozen by the first pane of a rollout."""
    if state.rollout != context.rollout:
        # Without its state the judge took every row for rest until the context came: that is no baseline (C3, C7).
        lost = state.lost and not state.rollout
        blocks = () if lost else state.baseline.blocks
        state = SubjectJudgement(
            baseline=freeze(replace(state.baseline, blocks=blocks), context.rollout, context.rest_version, pane.start_ms),
            drift=drifting.begin(state.drift, context.rollout, _new_version(context)),
            rollout=context.rollout,
            lost=lost,
        )
    if state.placement != context.placement:
        watches = {node: replace(seen, requests=0, errors=0) for node, seen in state.watches.items()}
        state = replace(
            state,
            placement=context.placement,
            windows=(),
            gross=(),
            watches=watches,
            first_pane_ms=pane.start_ms,
            idle_since_ms=0,
        )
    return state


def _new_version(context: Context) -> str:
    return next((cohort.version for cohort in context.cohorts if cohort.name == "canary"), "")


def _see(state: SubjectJudgement, context: Context, pane: ServicePane) -> Sight:
    canary, control, rest = (pane.cohorts.get(name) for name in ("canary", "control", "rest"))
    baseline, before = state.baseline.total, _before(state, context, pane.end_ms)
    if before is not None and guard.burned(before, context, state.baseline):
        baseline = before  # its world burned before it came: it is to be no worse than that
    named = control is not None and bool(control.expected)
    compared_with = "control" if named else "baseline" if baseline is not None and context.rest_version else ""
    return Sight(
        end_ms=pane.end_ms,
        canary=_reporting(canary.nodes) if canary is not None else (),
        controls=_reporting(control.nodes) if control is not None and named else (),
        control=control.sums if control is not None and named else None,
        rest=rest.sums if rest is not None and rest.reported else None,
        baseline=baseline if context.rest_version else None,
        compared_with=compared_with,
    )


def _reporting(nodes: dict[str, NodePane]) -> tuple[NodePane, ...]:
    return tuple(node for _, node in sorted(nodes.items()) if node.telemetry)


def _fold(state: SubjectJudgement, context: Context, pane: ServicePane, sight: Sight, *, whole: bool = True) -> SubjectJudgement:
    watches: dict[str, Watch] = {}
    for name in ("canary", "control"):
        cohort = pane.cohorts.get(name)
        for node in sorted(cohort.expected) if cohort is not None else ():
            row = cohort.nodes.get(node) if cohort is not None else None
            version = cohort.version if cohort is not None else ""
            late, skewed = node in pane.late_nodes, node in pane.skewed_nodes
            before = state.watches.get(node)
            watches[node] = watch(before, (name, version), row, sight.end_ms, late=late, skewed=skewed)
    rest = pane.cohorts.get("rest")
    neighbours = Neighbours(rest.crowd.table if rest is not None else None, state.drift.past.edges)
    requests = sum(node.requests for node in sight.canary)
    idle = bool(sight.canary) and not requests
    idle_since_ms = (state.idle_since_ms or pane.start_ms) if idle else state.idle_since_ms if not sight.canary else 0
    arrivals = absence.arrived(state.arrivals, pane)
    service = guard.remember(state.service, sight.canary, (sight.control, sight.rest)) if whole else state.service
    return replace(
        state,
        watches=watches,
        windows=_windows(replace(state, watches=watches), context, sight, neighbours),
        gross=gross.remember(state.gross, sight.canary, (sight.control, sight.rest), neighbours),
        service=service,
        arrivals=arrivals,
        idle_since_ms=idle_since_ms,
    )


def _windows(state: SubjectJudgement, context: Context, sight: Sight, neighbours: Neighbours) -> tuple[tuple[Measured, ...], ...]:
    """Return the windows of the limits with this pane."""
    rules = limits.limits_of(context)
    windows = state.windows if len(state.windows) == len(rules) else ((),) * len(rules)
    reference = sight.control if sight.compared_with == "control" else sight.baseline
    canary = [seen for seen in state.watches.values() if seen.cohort == "canary"]
    cold_ms = 1_000.0 * state.drift.learned.cold_s
    cold = any(sight.end_ms - seen.changed_ms < cold_ms for seen in canary)
    return tuple(
        window
        if limits.waits(limit, len(canary), cold=cold)
        else limits.remember(limit, window, sight.canary, (reference, neighbours))
        for limit, window in zip(rules, windows, strict=True)
    )


def _starts_and_errors(state: SubjectJudgement, context: Context, sight: Sight, canary: dict[str, Watch]) -> list[Finding]:
    others = gross.Others(sight.baseline, _before(state, context, sight.end_ms))
    bunched = bunching(state.drift.past)
    found = [
        absence.judge_starts(canary, sight.end_ms, first_install=not context.rest_version),
        gross.judge_gross(state.gross, len(canary), others, bunched),
    ]
    for limit, window in zip(limits.limits_of(context), state.windows, strict=True):
        found.append(limits.finding_of(limit, limits.judge(limit, window, len(canary), bunched), sight.compared_with))
    return [finding for finding in found if finding is not None]


def _evidence(state: SubjectJudgement, sight: Sight, weighed: Weighed) -> Sequence[Finding]:
    finding = judge_evidence(weighed, state.drift, compared=sight.control is not None)
    return [finding] if finding is not None else []


def _ages_s(state: SubjectJudgement, end_ms: int) -> dict[str, float]:
    """Return how long ago each compared node restarted, as far as its agent has said."""
    return {node: (end_ms - seen.changed_ms) / 1_000.0 for node, seen in state.watches.items() if seen.changed_ms}


def _before(state: SubjectJudgement, context: Context, end_ms: int) -> Sums | None:
    """Return what failed just before this rollout, while it may be the same fault."""
    return state.baseline.before if end_ms - context.started_ms <= gross.BEFORE_MS else None


def _burning(state: SubjectJudgement, context: Context) -> Sequence[Finding]:
    finding = guard.judge_service(state.service, context, state.baseline)
    return [finding] if finding is not None else []


def _waiting(
    state: SubjectJudgement, context: Context, sight: Sight, absent: absence.Absence, canary: dict[str, Watch]
) -> Sequence[Finding]:
    """Return what a pass still waits for, the gravest first."""
    found: list[Finding] = []
    idle_ms = sight.end_ms - state.idle_since_ms if state.idle_since_ms else 0
    idle = absence.judge_idle(idle_ms, context.absence.idle, compared=sight.compared_with == "control", watching=context.watching)
    if idle is not None:
        found.append(idle)
    if absent.changing:
        found.append(hold(Reason.WARMING_UP, f"{len(absent.changing)} of {len(canary)} canaries are still changing."))
    if len(canary) < context.stage_nodes or not canary:
        found.append(hold(Reason.WARMING_UP, f"{len(canary)} of the stage's {context.stage_nodes} nodes have been released."))
    canary_requests, control_requests = _requests(state, "canary"), _requests(state, "control")
    few = Reason.STATE_LOST if state.lost else Reason.TOO_FEW_REQUESTS
    controls = len(state.watches) - len(canary)
    needed = context.min_requests * controls // max(1, len(canary)) if controls else 0
    if state.lost and sight.end_ms - state.first_pane_ms < limits.longest_ms(context):
        found.append(hold(Reason.STATE_LOST, "What was seen before is lost; the limits' windows are filled anew."))
    elif canary_requests < context.min_requests:
        found.append(hold(few, f"{canary_requests} of {context.min_requests} requests so far."))
    elif control_requests < needed:
        found.append(hold(few, f"{control_requests} of {needed} requests on the control so far."))
    elif len(canary) > 1 and canary_requests - max(seen.requests for seen in canary.values()) < context.min_requests:
        found.append(
            hold(Reason.ONE_NODE_ONLY, "Without its busiest node the canary has too few requests; one node carries no pass.")
        )
    return found


def _requests(state: SubjectJudgement, cohort: str) -> int:
    return sum(seen.requests for seen in state.watches.values() if seen.cohort == cohort)


def _strongest(found: Sequence[Finding]) -> Finding | None:
    """Return what asks for a retreat, else what asks for a pause, else the first hold; of equals, the first."""

    def rank(finding: Finding) -> int:
        return 0 if rolls_back(finding) else 1 if finding.outcome is Outcome.FAIL else 2

    return min(found, key=rank, default=None)


def _passed(context: Context, sight: Sight) -> Finding:
    compared = {"control": "the control", "baseline": "the baseline"}.get(sight.compared_with, "")
    if compared:
        return Finding(outcome=Outcome.PASS, reason=Reason.CLEAN, sentence=f"The canary is no worse than {compared}.")
    sentence = (
        "The first version of this service is up." if not context.rest_version else "Nothing is wrong; there was no baseline."
    )
    return Finding(outcome=Outcome.PASS, reason=Reason.CLEAN_WITHOUT_BASELINE, sentence=sentence)


def _verdict(state: SubjectJudgement, context: Context, sight: Sight, judged: Judged, clock_ms: int) -> Verdict:
    chosen, weighed = judged.chosen, judged.weighed
    canary = [seen for seen in state.watches.values() if seen.cohort == "canary"]
    control = [seen for seen in state.watches.values() if seen.cohort == "control"]
    # No part of a canary is worse than the rest while nothing at all speaks against the whole.
    suspect = any(family.log_e_pause > 0 for family in weighed.families)
    return Verdict(
        subject=context.subject,
        service=context.service,
        epoch=context.epoch,
        generation=context.generation,
        rollout=context.rollout,
        placement=context.placement,
        stage=context.stage,
        outcome=chosen.outcome,
        reason=chosen.reason,
        action=chosen.action,
        metric=chosen.metric,
        canary=_rounded(chosen.canary),
        control=_rounded(chosen.control),
        limit=_rounded(chosen.limit),
        compared_with=sight.compared_with,
        canary_requests=sum(seen.requests for seen in canary),
        control_requests=sum(seen.requests for seen in control),
        canary_errors=sum(seen.errors for seen in canary),
        control_errors=sum(seen.errors for seen in control),
        coverage=len(sight.canary) / len(canary) if canary else 0.0,
        silent_nodes=judged.silent,
        first_pane_ms=state.first_pane_ms,
        last_pane_ms=sight.end_ms,
        clock_ms=clock_ms,
        log_e=_rounded(max((family.log_e for family in weighed.families), default=None)),
        sentence=chosen.sentence,
        evidence=evidence_of(weighed, state.drift),
        deviating=deviating_of(state.drift, sight.end_ms) if suspect else (),
        certified=weighed.certified,
    )


def _rounded(value: float | None) -> float | None:
    """Six significant digits: beyond them numbers differ between mathematical libraries, and records must not."""
    return None if value is None else float(f"{value:.6g}")
