"""One verdict for each pane of each subject with a placement: the rules in their order, and a pass only when nothing is missing.

Order: start and crash, gross trip, limits, evidence, absence, environment, holds, pass; and what asks for a retreat goes before
what asks for a pause. Judgement never stops, not while a rollout is paused or watched.

A service with a probe is judged on two slices, what people ask and what probes ask (I2): each by the same rules on its own
counts, and the graver finding wins. Whether probes can carry a pass, the plan says (``probe.counts``).
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect import absence, gathering, guard, limits, slices
from tidegate.detect.evidence import deviating_of, evidence_of, judge_evidence
from tidegate.detect.findings import Finding, hold, rolls_back
from tidegate.detect.slices import Slice
from tidegate.detect.state import SubjectJudgement
from tidegate.kpi.pane import ServicePane
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.probes import Probe, question_of
from tidegate.wire.reasons import Reason

PROBE = "probe"
REST_PART = 0.5
"""Of the rest that had telemetry of late: where fewer have it, its way is not open."""
OPEN_REST = 0.9
"""Of the same: so many must have rows in an open pane, or those of the canary's neighbours may be among what still comes."""


class Seen(Struct, frozen=True):
    """Both slices after a pane. ``probes`` None: the plan has none."""

    people: Slice
    probes: Slice | None
    counts: bool
    """Whether probes may carry a pass."""

    @property
    def lead(self) -> Slice:
        """The slice that says who is there: probes, where they may and nobody else has ever spoken."""
        state = self.people.state
        silent = not state.baseline.blocks and not any(seen.telemetry_ms for seen in state.watches.values())
        return self.probes if self.probes is not None and self.counts and silent else self.people

    @property
    def alone(self) -> bool:
        """Whether nothing but probes can be said of the canary: people have asked it nothing in this placement."""
        return self.counts and self.probes is not None and not any(self.people.requests("canary").values())

    @property
    def state(self) -> SubjectJudgement:
        """What is to be remembered."""
        return replace(self.people.state, probe=self.probes.state if self.probes is not None else None)

    def requests(self, cohort: str) -> dict[str, int]:
        """Return the requests of each node of a cohort that count toward ``minRequests``."""
        found = self.people.requests(cohort)
        if self.probes is not None and self.counts:
            found = {node: requests + self.probes.requests(cohort).get(node, 0) for node, requests in found.items()}
        return found


def learn(state: SubjectJudgement, pane: ServicePane, probe: Probe | None = None) -> SubjectJudgement:
    """Return the state after a pane in which nothing was being rolled out: the baseline grows (C3). ``probe``: what is asked."""
    known = slices.asked(state.probe, probe)
    if known is not None and pane.probe is not None:
        known = slices.learn(known, pane.probe)
    return replace(slices.learn(state, pane), probe=known)


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
    seen = _look(state, context, pane)
    if context.retreating:
        back = hold(Reason.RETREATING, "The fleet is retreating.")
        return seen.state, _verdict(seen, context, back, clock_ms)
    seen = _weigh(seen, context, pane)
    watches, end_ms = seen.lead.state.watches, seen.people.sight.end_ms
    sight = absence.Sight(
        canary={node: watch for node, watch in watches.items() if watch.cohort == "canary"},
        control={node: watch for node, watch in watches.items() if watch.cohort == "control"},
        now_ms=end_ms,
        rules=context.absence,
        arrivals=seen.lead.state.arrivals,
        resumed_ms=resumed_ms,
        rest_reports=seen.lead.sight.rest is not None and seen.lead.sight.rest_coverage >= REST_PART,
    )
    # Who crashes or falls silent does so on both sides of a flag: that is for the releases of the service to judge.
    absent = absence.Absence() if context.of_flag else absence.judge_absence(sight)
    if telemetry_down:
        down = hold(Reason.TELEMETRY_DOWN, "Parts of the telemetry have stopped: silence says nothing now.")
        absent = replace(absent, findings=(down,))
    found = [
        *_starts_and_errors(seen, context),
        *_each(seen, context, _evidence),
        *absent.findings,
        *_each(seen, context, _burning),
        *_waiting(seen, context, absent),
    ]
    chosen = _strongest(found) or _passed(seen, context)
    return seen.state, _verdict(seen, context, chosen, clock_ms, absent.silent)


def judge_open(state: SubjectJudgement, context: Context, pane: ServicePane, clock_ms: int) -> Verdict | None:
    """Return the retreat that the rows so far of a pane which is still open already ask for, or None (C4: never a pass).

    It saves the second of grace. ``state`` is that of the last closed pane and stays so; to be asked at watermark records only
    (A3). Only failed starts, the gross trip and limits speak: what is missing now may still come, and sequential evidence
    counts whole panes. What is compared waits for the rest, which is a witness too (C2).
    """
    if context.retreating:
        return None
    seen = _look(state, context, pane, whole=False)
    chosen = _strongest(_starts_and_errors(seen, context, least=OPEN_REST))
    if chosen is None or not rolls_back(chosen):
        return None
    return _verdict(seen, context, chosen, clock_ms)


def _look(state: SubjectJudgement, context: Context, pane: ServicePane, *, whole: bool = True) -> Seen:
    people = slices.look(state, context, pane, whole=whole)
    known = slices.asked(state.probe, context.probe, lost=state.lost)
    if known is None or pane.probe is None or context.probe is None:
        return Seen(people, None, counts=False)
    return Seen(people, slices.look(known, context, pane.probe, probes=True, whole=whole), counts=context.probe.counts)


def _weigh(seen: Seen, context: Context, pane: ServicePane) -> Seen:
    probes = seen.probes
    if probes is not None and pane.probe is not None:
        probes = slices.weigh(probes, context, pane.probe)
    return Seen(slices.weigh(seen.people, context, pane), probes, seen.counts)


def _each(seen: Seen, context: Context, rule: Callable[[Slice, Context], Iterable[Finding]]) -> list[Finding]:
    """Return what a rule finds in each slice; of probes it says that they say so."""
    found = [*rule(seen.people, context)]
    if seen.probes is not None and context.probe is not None:
        asked = f"Probes ({question_of(context.probe)}): "
        told = rule(seen.probes, context)
        found += [replace(finding, slice=PROBE, sentence=asked + finding.sentence) for finding in told]
    return found


def _starts_and_errors(seen: Seen, context: Context, least: float = 0.0) -> list[Finding]:
    """Return what starts, the gross trip and limits say; ``least``: nothing is compared where less of the rest is there."""

    def compare(one: Slice, context: Context) -> list[Finding]:
        return slices.compare(one, context) if one.sight.rest_coverage >= least else []

    canary = {node: watch for node, watch in seen.people.state.watches.items() if watch.cohort == "canary"}
    started = absence.judge_starts(canary, seen.people.sight.end_ms, first_install=not context.rest_version)
    return [*([started] if started is not None else []), *_each(seen, context, compare)]


def _evidence(one: Slice, context: Context) -> Sequence[Finding]:
    compared = one.sight.control is not None
    finding = judge_evidence(one.weighed, one.state.drift, compared=compared, flag=context.of_flag)
    return [finding] if finding is not None else []


def _burning(one: Slice, context: Context) -> Sequence[Finding]:
    finding = guard.judge_service(one.state.service, context, one.state.baseline)
    return [finding] if finding is not None else []


def _waiting(seen: Seen, context: Context, absent: absence.Absence) -> Sequence[Finding]:
    """Return what a pass still waits for, the gravest first."""
    found: list[Finding] = []
    state, sight = seen.people.state, seen.people.sight
    idle_ms = sight.end_ms - state.idle_since_ms if state.idle_since_ms else 0
    compared, waits = sight.compared_with == "control", context.watching or context.of_flag
    idle = absence.judge_idle(idle_ms, context.absence.idle, compared=compared, waits=waits, unasked_ms=state.unasked_ms)
    if idle is not None and (context.probe is None or not context.probe.counts):
        found.append(idle)
    canary, control = seen.requests("canary"), seen.requests("control")
    if absent.changing:
        found.append(hold(Reason.WARMING_UP, f"{len(absent.changing)} of {len(canary)} canaries are still changing."))
    if context.of_flag and not canary:
        found.append(hold(Reason.IDLE, "Nobody has had the new variants yet on a server that serves the safe one, too."))
    elif len(canary) < context.stage_nodes or not canary:
        found.append(hold(Reason.WARMING_UP, f"{len(canary)} of the stage's {context.stage_nodes} nodes have been released."))
    canary_requests, control_requests = sum(canary.values()), sum(control.values())
    few = Reason.STATE_LOST if state.lost else Reason.TOO_FEW_REQUESTS
    # How many have the safe variant is what a ramp makes smaller and smaller.
    needed = 0 if context.of_flag else context.min_requests * len(control) // max(1, len(canary))
    # Where seconds are added up, a pane takes many of them; a minute is waited for each.
    longest_ms = limits.longest_ms(context) * (gathering.LOST_PANES if slices.filling(seen.people) else 1)
    if state.lost and sight.end_ms - state.first_pane_ms < longest_ms:
        found.append(hold(Reason.STATE_LOST, "What was seen before is lost; the limits' windows are filled anew."))
    elif canary_requests < context.min_requests:
        found.append(hold(few, f"{canary_requests} of {context.min_requests} requests so far."))
    elif control_requests < needed:
        found.append(hold(few, f"{control_requests} of {needed} requests on the control so far."))
    elif len(canary) > 1 and canary_requests - max(canary.values()) < context.min_requests:
        found.append(
            hold(Reason.ONE_NODE_ONLY, "Without its busiest node the canary has too few requests; one node carries no pass.")
        )
    return found


def _strongest(found: Sequence[Finding]) -> Finding | None:
    """Return what asks for a retreat, else what asks for a pause, else the first hold; of equals, the first."""

    def rank(finding: Finding) -> int:
        return 0 if rolls_back(finding) else 1 if finding.outcome is Outcome.FAIL else 2

    return min(found, key=rank, default=None)


def _passed(seen: Seen, context: Context) -> Finding:
    asked, counted = sum(seen.people.requests("canary").values()), sum(seen.requests("canary").values())
    shown = seen.probes if seen.probes is not None and seen.alone else seen.people
    compared = {"control": "the control", "baseline": "the baseline"}.get(shown.sight.compared_with, "")
    sentence, reason = f"The canary is no worse than {compared}", Reason.CLEAN
    if not compared:
        sentence = (
            "Nothing is wrong; there was no baseline" if context.rest_version else "The first version of this service is up"
        )
        reason = Reason.CLEAN_WITHOUT_BASELINE
    if counted > asked and (not asked or asked < context.min_requests) and context.probe is not None:
        reason = Reason.CLEAN_ON_PROBES
        sentence += f"; {counted - asked} of its {counted} requests were probes ({question_of(context.probe)})"
    return Finding(outcome=Outcome.PASS, reason=reason, sentence=f"{sentence}.")


def _verdict(seen: Seen, context: Context, chosen: Finding, clock_ms: int, silent: tuple[str, ...] = ()) -> Verdict:
    people, probes = seen.people, seen.probes
    on_probes = chosen.slice == PROBE or seen.alone
    shown = probes if probes is not None and on_probes else people
    weighed, members = shown.weighed, seen.requests("canary")
    # No part of a canary is worse than the rest while nothing at all speaks against the whole.
    suspect = not context.of_flag and any(family.log_e_pause > 0 for family in weighed.families)
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
        compared_with=shown.sight.compared_with,
        canary_requests=sum(members.values()),
        control_requests=sum(seen.requests("control").values()),
        canary_errors=_errors(seen, "canary"),
        control_errors=_errors(seen, "control"),
        canary_probes=sum(probes.requests("canary").values()) if probes is not None else 0,
        control_probes=sum(probes.requests("control").values()) if probes is not None else 0,
        canary_probe_errors=probes.errors("canary") if probes is not None else 0,
        control_probe_errors=probes.errors("control") if probes is not None else 0,
        slice=PROBE if shown is probes else "",
        coverage=len(seen.lead.sight.canary) / len(members) if members else 0.0,
        silent_nodes=silent,
        first_pane_ms=people.state.first_pane_ms,
        last_pane_ms=people.sight.end_ms,
        clock_ms=clock_ms,
        log_e=_rounded(max((family.log_e for family in weighed.families), default=None)),
        sentence=chosen.sentence,
        evidence=evidence_of(weighed, shown.state.drift),
        deviating=deviating_of(shown.state.drift, people.sight.end_ms) if suspect else (),
        certified=weighed.certified,
    )


def _errors(seen: Seen, cohort: str) -> int:
    """Return the errors of what counts toward ``minRequests``."""
    return seen.people.errors(cohort) + (seen.probes.errors(cohort) if seen.probes is not None and seen.counts else 0)


def _rounded(value: float | None) -> float | None:
    """Six significant digits: beyond them numbers differ between mathematical libraries, and records must not."""
    return None if value is None else float(f"{value:.6g}")
