"""The evidence in a verdict as a person reads it: a line of numbers for each family of metrics, and a sentence about it."""

from collections.abc import Iterator

from tidegate.cli.output import table
from tidegate.cli.tell import age, clock
from tidegate.wire.judgement import Evidence, Verdict

WITH_WHOM = {"controls": "the controls of the same age", "fleet": "the old version's nodes"}
WHAT = {"errors": "errors", "errorSeconds": "seconds with errors"}


def evidence_lines(verdict: Verdict) -> list[str]:
    """Return evidence, sentences and deviating sub-cohorts in lines of plain text; none where the verdict has none."""
    found = [f"  {line}" for line in table([_row(one, verdict) for one in verdict.evidence])]
    return found + [f"  {line}" for line in sentences(verdict)]


def sentences(verdict: Verdict) -> tuple[str, ...]:
    """Return one plain sentence for each family, for each sub-cohort that deviates, and for the licence."""
    return (*(_sentence(one, verdict) for one in verdict.evidence), *_others(verdict))


def _row(one: Evidence, verdict: Verdict) -> dict[str, object]:
    return {
        "evidence": one.metric,
        "canary": _count(one.canary_events),
        "others": f"{_count(one.control_events)} ({one.compared_with})" if one.compared_with else _count(one.control_events),
        "requests": f"{one.canary_requests} / {one.control_requests}",
        "share": f"{_percent(one.share)} ({_percent(one.expected_share)} expected)",
        "since": f"{clock(one.onset_ms)} ({_ago(one, verdict)})" if one.onset_ms else "",
        "log e": f"{one.log_e:.2f} of {one.threshold:.2f}",
        "with all nodes": f"{one.log_e_pause:.2f}",
        "licence": "" if one.log_licence is None else f"{one.log_licence:.2f} of {one.licence_threshold:.2f}",
        "left out": one.deleted,
    }


def _sentence(one: Evidence, verdict: Verdict) -> str:
    custom = f"that {one.metric} counts"
    what = f"requests slower than {one.bound_ms:.0f} ms" if one.bound_ms else WHAT.get(one.metric, custom)
    whom = WITH_WHOM.get(one.compared_with, "who could be compared")
    since = f"since {clock(one.onset_ms)}, {_ago(one, verdict)} before the verdict, " if one.onset_ms else ""
    left = f" ({', '.join(one.deleted)} left out)" if one.deleted else ""
    return (
        f"{one.family}: {since}{_percent(one.share)} of all {what} are the canary's; beside {whom} "
        f"{_percent(one.expected_share)} would be its part{left}. {_weight(one)}"
    )


def _weight(one: Evidence) -> str:
    """Return what the weight of evidence means, in words."""
    if one.log_e >= one.threshold:
        return "That is no chance."
    if one.log_e_pause >= one.threshold:
        return "Only with every node counted is that no chance: one node or one moment makes it."
    return "That may be chance." if one.share > one.expected_share else "Nothing speaks against the canary."


def _others(verdict: Verdict) -> Iterator[str]:
    for deviating in verdict.deviating:
        yield f"deviates: {deviating}"
    weighed = [one for one in verdict.evidence if one.log_licence is not None]
    if verdict.certified:
        yield "licence: the canary is certified to be no worse than is tolerated."
    elif weighed:
        lacking = [one.family for one in weighed if (one.log_licence or 0.0) < one.licence_threshold]
        yield f"licence: not given yet; lacking: {', '.join(lacking) or 'a fresh pass'}."


def _ago(one: Evidence, verdict: Verdict) -> str:
    return age(max(0, verdict.last_pane_ms - one.onset_ms))


def _count(events: float) -> str:
    return f"{events:.0f}" if events >= 10 or events == int(events) else f"{events:.1f}"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
