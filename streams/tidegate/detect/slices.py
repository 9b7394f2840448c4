"""One slice of a service, what people ask or what probes ask, as one placement sees it: its panes, limits and windows.

The same rules judge every slice, each on its own counts; what a verdict makes of all of them stands in ``verdicts``.
"""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect import absence, gathering, gross, guard, limits
from tidegate.detect.baseline import freeze
from tidegate.detect.baseline import learn as learn_baseline
from tidegate.detect.bunches import bunching
from tidegate.detect.drift import state as drifting
from tidegate.detect.drift.weigh import Weighed
from tidegate.detect.findings import Finding
from tidegate.detect.limits import Limit
from tidegate.detect.measure import QUANTILES, Measured
from tidegate.detect.neighbours import NOBODY, Neighbours
from tidegate.detect.presence import Watch, watch
from tidegate.detect.state import SubjectJudgement
from tidegate.kpi.pane import PANE_MS, NodePane, ServicePane
from tidegate.kpi.sums import Sums
from tidegate.wire.nodeseconds import Context
from tidegate.wire.probes import Probe, same_question

FADES_PANES = 60
"""Who had telemetry of the rest is missed for about a minute."""


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
    limits: tuple[Limit, ...]
    rest_speaking: int = 0
    """Nodes of the rest that have telemetry."""
    rest_coverage: float = 1.0
    """The same, of as many as had it of late; 1.0 where that is not known. Who never has any is not missed."""
    thin: bool = False
    """A part of the traffic: seconds are gathered until limits can use them, and it has no metrics of its own."""

    @property
    def unasked(self) -> bool:
        """Whether there are others than the canary, and nobody asks them anything either."""
        others = [side for side in (self.control, self.rest) if side is not None]
        return bool(others) and not any(side.requests for side in others)

    @property
    def reference(self) -> Sums | None:
        """What the limits compare with."""
        return self.control if self.compared_with == "control" else self.baseline


class Slice(Struct, frozen=True):
    """What is known of one slice after a pane, and the pane itself."""

    state: SubjectJudgement
    sight: Sight
    weighed: Weighed = Weighed()

    def requests(self, cohort: str) -> dict[str, int]:
        """Return the requests of each node of a cohort in this placement."""
        return {node: seen.requests for node, seen in self.state.watches.items() if seen.cohort == cohort}

    def errors(self, cohort: str) -> int:
        """Return the errors of a cohort in this placement."""
        return sum(seen.errors for seen in self.state.watches.values() if seen.cohort == cohort)


def asked(before: SubjectJudgement | None, probe: Probe | None, *, lost: bool = False) -> SubjectJudgement | None:
    """Return what is known of the answers to a question; answers to another one are none. ``lost``: see the subject's."""
    if probe is None:
        return None
    if before is None or not same_question(before.asked, probe):
        return SubjectJudgement(asked=probe, lost=lost)
    return before


def look(state: SubjectJudgement, context: Context, pane: ServicePane, *, probes: bool = False, whole: bool = True) -> Slice:
    """Return a slice after a pane; ``whole``: a closed one."""
    state = _enter(state, context, pane)
    sight = _see(state, context, pane, probes=probes)
    return Slice(_fold(state, pane, sight, whole=whole), sight)


def weigh(one: Slice, context: Context, pane: ServicePane) -> Slice:
    """Return a slice with its evidence."""
    state, end_ms = one.state, one.sight.end_ms
    ages_s = {node: (end_ms - seen.changed_ms) / 1_000.0 for node, seen in state.watches.items() if seen.changed_ms}
    guardrails = () if one.sight.thin else context.guardrails
    drift, weighed = drifting.observe(state.drift, pane, context.placement, ages_s, guardrails)
    return Slice(replace(state, drift=drift), one.sight, weighed)


def learn(state: SubjectJudgement, pane: ServicePane) -> SubjectJudgement:
    """Return the state after a pane in which nothing was being rolled out: the baseline grows (C3)."""
    return SubjectJudgement(
        baseline=learn_baseline(state.baseline, pane), drift=drifting.learn(state.drift, pane), asked=state.asked
    )


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
            asked=state.asked,
            served=state.served,
        )
    if state.placement != context.placement:
        watches = {node: replace(seen, requests=0, errors=0) for node, seen in state.watches.items()}
        state = replace(
            state,
            placement=context.placement,
            drift=drifting.anew(state.drift) if context.of_flag else state.drift,
            windows=(),
            gross=(),
            gathered=gathering.NOTHING,
            stretch=gathering.NOTHING,
            thin={},
            watches=watches,
            first_pane_ms=pane.start_ms,
            idle_since_ms=0,
            unasked_ms=0,
            rest_usual=0.0,
        )
    return state


def _see(state: SubjectJudgement, context: Context, pane: ServicePane, *, probes: bool = False) -> Sight:
    """Return a pane as the rules see it."""
    canary, control, rest = (pane.cohorts.get(name) for name in ("canary", "control", "rest"))
    speaking = len(rest.reported) if rest is not None else 0
    baseline, before = state.baseline.total, _before(state, context, pane.end_ms)
    if before is not None and guard.burned(before, context, state.baseline):
        baseline = before  # its world burned before it came: it is to be no worse than that
    named = control is not None and bool(control.expected)
    compared_with = "control" if named else "baseline" if baseline is not None and context.rest_version else ""
    rules = limits.limits_of(context)
    return Sight(
        end_ms=pane.end_ms,
        canary=_reporting(canary.nodes) if canary is not None else (),
        controls=_reporting(control.nodes) if control is not None and named else (),
        control=control.sums if control is not None and named else None,
        rest=rest.sums if rest is not None and speaking else None,
        baseline=baseline if context.rest_version else None,
        compared_with=compared_with,
        limits=gathering.limits_of(rules, probes=probes) if probes or context.of_flag else rules,
        rest_speaking=speaking,
        rest_coverage=speaking / state.rest_usual if state.rest_usual else 1.0,
        thin=probes or context.of_flag,
    )


def _reporting(nodes: dict[str, NodePane]) -> tuple[NodePane, ...]:
    return tuple(node for _, node in sorted(nodes.items()) if node.telemetry)


def _fold(state: SubjectJudgement, pane: ServicePane, sight: Sight, *, whole: bool = True) -> SubjectJudgement:
    """Return the state after a pane; ``whole``: a closed one."""
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
    idle = (bool(sight.canary) or sight.thin) and not requests
    idle_since_ms = (state.idle_since_ms or pane.start_ms) if idle else state.idle_since_ms if not sight.canary else 0
    unasked_ms = (state.unasked_ms if idle_since_ms else 0) + (PANE_MS if idle and sight.unasked else 0)
    arrivals = absence.arrived(state.arrivals, pane)
    others = (sight.control, sight.rest)
    service = guard.remember(state.service, sight.canary, others) if whole else state.service
    usual = max(float(sight.rest_speaking), state.rest_usual * (1.0 - 1.0 / FADES_PANES))
    state = replace(
        state,
        watches=watches,
        gross=gross.remember(state.gross, sight.canary, others, neighbours, gathering.GROSS_PANES if sight.thin else gross.PANES),
        service=service,
        rest_usual=usual if whole else state.rest_usual,
        arrivals=arrivals,
        idle_since_ms=idle_since_ms,
        unasked_ms=unasked_ms,
    )
    if not sight.thin:
        return _fold_limits(state, sight, neighbours)
    open_pane = gathering.young(state.gathered, sight.end_ms, gathering.OPEN_MOST_MS)
    gathered = gathering.gather(open_pane, sight.canary, sight.control, sight.end_ms)
    if not gathering.enough(gathered, gathering.pane_requests(sight.limits), compared=sight.compared_with == "control"):
        return replace(state, gathered=gathered)
    reference = gathered.control if sight.compared_with == "control" else sight.baseline
    nodes = gathering.nodes_of(gathered)
    windows = tuple(
        window if waits else limits.remember(limit, window, nodes, (reference, NOBODY))
        for limit, window, waits in zip(sight.limits, _windows_of(state, sight), _waiting(state, sight), strict=True)
    )
    return replace(state, gathered=gathering.NOTHING, windows=windows)


def _fold_limits(state: SubjectJudgement, sight: Sight, neighbours: Neighbours) -> SubjectJudgement:
    """Return the state with a second of a service in the windows of its limits: of each when its pane is full."""
    compared = sight.compared_with == "control"
    alone = (sight.canary, (sight.reference, neighbours))
    second = (sight.canary, sight.control, neighbours)
    said, stretch = gathering.stretch(state.stretch, second, sight.end_ms, compared=compared)
    panes: dict[int, tuple[tuple[NodePane, ...], tuple[Sums | None, Neighbours]] | None] = {}
    thin = dict(state.thin)
    for least in sorted(
        {gathering.least(limit.guardrail) for limit in sight.limits if limit.guardrail.metric in gathering.METRICS}
    ):
        open_pane, panes[least] = state.thin.get(least, gathering.NOTHING), None
        if not open_pane.since_ms and gathering.is_full(sight.canary, sight.control, least, compared=compared):
            panes[least] = alone
        elif said is not None:
            canary, control, beside = said
            open_pane = gathering.gather(open_pane, canary, control, sight.end_ms, beside)
            if gathering.enough(open_pane, least, compared=compared):
                reference = open_pane.control if compared else sight.reference
                panes[least] = gathering.nodes_of(open_pane), (reference, gathering.neighbours_of(open_pane))
                open_pane = gathering.NOTHING
            thin[least] = open_pane
    windows = list(_windows_of(state, sight))
    for place, (limit, waits) in enumerate(zip(sight.limits, _waiting(state, sight), strict=True)):
        added_up = limit.guardrail.metric in gathering.METRICS
        pane = panes[gathering.least(limit.guardrail)] if added_up else alone
        if pane is not None and not waits:
            windows[place] = limits.remember(limit, windows[place], *pane)
    return replace(state, windows=tuple(windows), stretch=stretch, thin=thin)


def _waiting(state: SubjectJudgement, sight: Sight) -> list[bool]:
    """Return for each limit whether it does not count this second."""
    canary = [seen for seen in state.watches.values() if seen.cohort == "canary"]
    cold_ms = 1_000.0 * state.drift.learned.cold_s
    cold = any(sight.end_ms - seen.changed_ms < cold_ms for seen in canary)
    return [limits.waits(limit, len(canary), cold=cold) for limit in sight.limits]


def compare(one: Slice, context: Context) -> list[Finding]:
    """Return what the gross trip and the limits find."""
    state, sight = one.state, one.sight
    size = len(one.requests("canary"))
    others = gross.Others(sight.baseline, _before(state, context, sight.end_ms))
    bunched = bunching(state.drift.past)
    found = [gross.judge_gross(state.gross, size, others, bunched)]
    for limit, window in zip(sight.limits, _windows_of(state, sight), strict=True):
        found.append(limits.finding_of(limit, limits.judge(limit, window, size, bunched), sight.compared_with))
    return [finding for finding in found if finding is not None]


def filling(one: Slice) -> bool:
    """Return whether seconds are added up and a window that they go into is not full yet; of latency, once anybody tells any."""
    state, sight = one.state, one.sight
    timed = any(sums.counts for open_pane in state.thin.values() for sums in open_pane.nodes.values())
    return bool(state.thin) and any(
        len(window) < limits.length(limit) and (bool(window) or timed or limit.guardrail.metric not in QUANTILES)
        for limit, window in zip(sight.limits, _windows_of(state, sight), strict=True)
        if limit.guardrail.metric in gathering.METRICS
    )


def _windows_of(state: SubjectJudgement, sight: Sight) -> tuple[tuple[Measured, ...], ...]:
    """Return one window for each limit: empty ones where a plan with other limits has begun."""
    return state.windows if len(state.windows) == len(sight.limits) else ((),) * len(sight.limits)


def _new_version(context: Context) -> str:
    return next((cohort.version for cohort in context.cohorts if cohort.name == "canary"), "")


def _before(state: SubjectJudgement, context: Context, end_ms: int) -> Sums | None:
    """Return what failed just before this rollout, while it may be the same fault."""
    return state.baseline.before if end_ms - context.started_ms <= gross.BEFORE_MS else None
