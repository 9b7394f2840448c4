"""A KPI that is unlike its own past (``tidegate.detect``'s scores)."""

from collections.abc import Iterable

from tidegate.alarms.conditions import WRITER, Condition, Rule, Seen
from tidegate.wire.judgement import AlarmKind, Severity

NAME = "anomaly"
STILL_P = 0.01
"""An anomaly goes on while scores stay among the highest hundredth of the series' own past: a lower threshold than the first
crossing has, so that a KPI on the edge is one alarm.
"""


def find(seen: Seen) -> Iterable[Condition]:
    """Yield the KPIs that have just become unusual, and those that still are."""
    for score in seen.scores:
        still = 0.0 < score.conformal <= STILL_P
        if score.crossing or still:
            yield Condition(
                name=NAME,
                service=seen.pane.service,
                cohort=score.cohort,
                metric=score.metric,
                sustains=not score.crossing,
                summary=f"{score.metric} of {score.cohort} is {score.value:.4g}: {score.score:.1f} deviations from the usual.",
            )


RULES = (
    Rule(
        kind=AlarmKind(
            name=NAME,
            severity=Severity.INFO,
            writer=WRITER,
            meaning="A KPI is unlike its own past. It decides nothing.",
            remedy="Look at the KPI beside what changed at that time; most have a cause outside of a release.",
            timing="at the first crossing, 30 s",
        ),
        find=find,
        for_ms=1_000,
        keep_ms=30_000,
    ),
)
