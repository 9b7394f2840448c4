"""What sequential evidence asks for: a retreat, a pause, or nothing; in numbers and words that a person can check (C4, C5)."""

from tidegate.detect.drift.deviating import Deviation, deviations
from tidegate.detect.drift.learned import RESTARTS_MIN
from tidegate.detect.drift.metrics import SLOW
from tidegate.detect.drift.state import Drift
from tidegate.detect.drift.weigh import LICENCE_THRESHOLD, Family, Weighed
from tidegate.detect.findings import Finding, hold, names, percent
from tidegate.kpi.buckets import UPPER_EDGES_S
from tidegate.wire.judgement import Evidence, Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

BURNING_S = 60.0
"""A burst that lasts longer is no burst: no stage passes while it lasts."""
FEW = 3
"""Of a service that nobody has seen restart, fewer canaries than these are never rolled back by evidence: it pauses."""
_WHAT = {"errors": "errors", "errorSeconds": "seconds with errors"}


def judge_evidence(weighed: Weighed, drift: Drift, *, compared: bool, flag: bool = False) -> Finding | None:
    """Return what the evidence so far asks for; None where it asks for nothing.

    ``compared``: whether controls stand beside the canary. Without them, and for a service of which no restart is known, what
    restarting does is a guess, so evidence pauses at most. ``flag``: nothing restarts, and both sides are on the same servers.
    """
    known = flag or drift.learned.restarts >= RESTARTS_MIN
    sure = known or (weighed.canaries >= FEW and compared)
    for family in sorted(weighed.families, key=lambda family: family.pauses):
        if family.log_e >= family.threshold:
            action = Action.ROLLBACK if sure and not family.pauses else Action.PAUSE
            return _finding(family, drift, action, "the control" if flag else "")
    for family in sorted(weighed.families, key=lambda family: -family.log_e_pause):
        if family.log_e_pause >= family.threshold_pause:
            return _finding(family, drift, Action.PAUSE, "the control" if flag else "", carried=True)
    if weighed.burning_s >= BURNING_S:
        told = f"All servers, old version and new, have been in trouble for {weighed.burning_s:.0f} s: nothing can be said."
        return hold(Reason.ENVIRONMENT, told)
    return None


def evidence_of(weighed: Weighed, drift: Drift) -> tuple[Evidence, ...]:
    """Return the evidence as the verdict carries it, the strongest family first."""
    return tuple(
        Evidence(
            family=family.family,
            metric=family.metric,
            log_e=_rounded(family.log_e),
            threshold=_rounded(family.threshold),
            canary_events=_rounded(family.canary_events),
            control_events=_rounded(family.control_events),
            canary_requests=drift.counts.requests[0],
            control_requests=drift.counts.requests[1],
            share=_rounded(family.share),
            expected_share=_rounded(family.expected_share),
            bound_ms=_rounded(_bound_ms(family, drift)),
            onset_ms=family.onset_ms,
            deleted=family.deleted,
            compared_with="controls" if family.cold else "fleet",
            log_e_pause=_rounded(family.log_e_pause),
            log_licence=None if family.log_licence is None else _rounded(family.log_licence),
            licence_threshold=_rounded(LICENCE_THRESHOLD),
        )
        for family in weighed.families
    )


def deviating_of(drift: Drift, now_ms: int) -> tuple[str, ...]:
    """Return the sub-cohorts that deviate from the rest of the canary, each in a few words."""
    return tuple(_words(one, drift) for one in deviations(drift.counts, drift.past, drift.learned, now_ms))


def _words(one: Deviation, drift: Drift) -> str:
    where = f"zone {one.zone}" if one.zone else one.hardware
    bound_ms = _slower_ms(one.metric, drift)
    what = f"slower than {bound_ms:.0f} ms" if bound_ms else "errors"
    return f"{where}: {'over ' if one.capped else ''}{percent(one.share)} {what}, elsewhere {percent(one.elsewhere)}"


def _finding(family: Family, drift: Drift, action: Action, beside: str, *, carried: bool = False) -> Finding:
    bound_ms = _bound_ms(family, drift)
    what = _WHAT.get(family.metric, f"requests slower than {bound_ms:.0f} ms")
    with_whom = beside or ("servers of the same age" if family.cold else "the old version")
    left_out = f", {names(family.deleted)} left out" if family.deleted else ""
    log_e = family.log_e_pause if carried else family.log_e
    threshold = family.threshold_pause if carried else family.threshold
    said = (
        f"{family.metric} is {_times(family):.2g} times as high as on {with_whom}{left_out}"
        if family.metric.startswith(("ratio.", "gauge."))
        else f"{percent(family.share)} of all {what} are the canary's, {percent(family.expected_share)} would be fair beside "
        f"{with_whom} ({family.canary_events:.0f} to {family.control_events:.0f}{left_out})"
    )
    told = f"{said}: e^{log_e:.1f} against chance, e^{threshold:.1f} is enough"
    why = "; one server or one half minute alone makes it so much, so a person looks at it" if carried else ""
    return Finding(
        outcome=Outcome.FAIL,
        reason=Reason.EVIDENCE,
        action=action,
        metric="errorRatio" if family.family == "errors" else family.metric,
        canary=family.share,
        control=family.expected_share,
        sentence=f"{told}{why}.",
    )


def _times(family: Family) -> float:
    """Return how many times as many events the canary has as would be fair."""
    fair = family.expected_share / (1.0 - family.expected_share)
    return family.canary_events / max(fair * family.control_events, 1e-12)


def _bound_ms(family: Family, drift: Drift) -> float:
    return _slower_ms(family.metric, drift)


def _slower_ms(metric: str, drift: Drift) -> float:
    edges = drift.past.edges
    if metric not in SLOW or not edges:
        return 0.0
    return UPPER_EDGES_S[edges[SLOW.index(metric)]] * 1_000.0


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
