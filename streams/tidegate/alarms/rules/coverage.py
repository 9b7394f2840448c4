"""Absence: nodes that should report and do not (C6)."""

from collections.abc import Iterable

from tidegate.alarms.conditions import WRITER, Condition, Rule, Seen
from tidegate.kpi.pane import CohortPane, ServicePane
from tidegate.wire.judgement import AlarmKind, Severity
from tidegate.wire.telemetry import ServiceState

NAME = "coverage_lost"
NAMED = 5


def find(seen: Seen) -> Iterable[Condition]:
    """Yield the cohorts of which nodes are missing."""
    for _, cohort in sorted(seen.pane.cohorts.items()):
        missing = _missing(cohort, seen.pane.probe)
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            named = ", ".join(missing[:NAMED]) + more
            summary = f"{len(missing)} of {len(cohort.expected)} nodes of {cohort.name} do not report: {named}"
            yield Condition(name=NAME, service=seen.pane.service, cohort=cohort.name, summary=summary)


def _missing(cohort: CohortPane, probe: ServicePane | None) -> tuple[str, ...]:
    """Return the expected nodes without telemetry whose agent does not say that they are on their way or meant to be down.

    Where nobody but probes speaks of a service (I2), a probed node is there.
    """
    waiting = (ServiceState.STARTING, ServiceState.DRAINING, ServiceState.STOPPED)
    found = []
    reported = cohort.reported
    if probe is not None and not reported and cohort.name in probe.cohorts:
        reported = probe.cohorts[cohort.name].reported
    for node in sorted({*cohort.expected} - reported):
        row = cohort.nodes.get(node)
        if row is None or not (row.agent and (row.state in waiting or row.version not in {"", cohort.version})):
            found.append(node)
    return tuple(found)


RULES = (
    Rule(
        kind=AlarmKind(
            name=NAME,
            severity=Severity.WARNING,
            writer=WRITER,
            meaning="Nodes of a cohort that should report do not; a node silent for a minute is no longer expected.",
            remedy="Look at the nodes it names: process, agent, network. Whether a rollout waits is the verdict's business.",
            timing="3 s, 3 s",
        ),
        find=find,
    ),
)
