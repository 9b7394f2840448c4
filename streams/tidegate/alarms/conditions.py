"""What the judge alarms about, seen in one closed pane and its verdict (C2, C6)."""

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

from msgspec import Struct

from tidegate.kpi.pane import CohortPane, ServicePane
from tidegate.wire.judgement import Severity, Verdict
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState


class Name(StrEnum):
    """The judge's alarms."""

    COVERAGE_LOST = "coverage_lost"
    """Nodes of a cohort that should report do not."""
    ENVIRONMENT = "environment"
    """Canary and control break a limit together: not the release but its world."""
    TELEMETRY_DOWN = "telemetry_down"
    """The watermarks of the telemetry partitions stand apart (A3): parts of the telemetry have stopped."""
    CLOCK_WRONG = "clock_wrong"
    """Nodes whose clock is minutes off: nothing they say is counted (A4)."""
    BOTH_SILENT = "both_silent"
    """Neither canary nor control reports."""
    CARDINALITY_EXCEEDED = "cardinality_exceeded"
    """More names of a kind than are kept: what exceeds is summed up elsewhere (``tidegate.kpi.caps``)."""


class Condition(Struct, frozen=True, kw_only=True):
    """One thing that is true now. Its identity is (name, service, cohort, cap)."""

    name: Name
    service: str
    summary: str
    cohort: str = ""
    subject: str = ""
    cap: str = ""

    @property
    def id(self) -> str:
        """Deterministic identity, the same for every time it fires."""
        return "/".join(part for part in (self.name, self.service, self.cohort, self.cap) if part)


def severity_of(name: Name) -> Severity:
    """Return how loud an alarm is. Critical ones stop every advance of the service (D4); for a missing node the verdict does."""
    match name:
        case Name.COVERAGE_LOST | Name.CLOCK_WRONG | Name.CARDINALITY_EXCEEDED:
            return Severity.WARNING
        case Name.ENVIRONMENT | Name.TELEMETRY_DOWN | Name.BOTH_SILENT:
            return Severity.CRITICAL
        case _:
            assert_never(name)


def conditions_of(pane: ServicePane, verdicts: Sequence[Verdict] = (), *, telemetry_down: bool = False) -> tuple[Condition, ...]:
    """Return what is true of a service in one pane, given the verdicts on it."""
    found: list[Condition] = []
    if telemetry_down:
        summary = "Some telemetry partitions have stopped; silence of a node says nothing meanwhile."
        return (Condition(name=Name.TELEMETRY_DOWN, service=pane.service, summary=summary),)
    for _, cohort in sorted(pane.cohorts.items()):
        missing = _missing(cohort)
        if missing:
            summary = f"{len(missing)} of {len(cohort.expected)} nodes of {cohort.name} do not report: {', '.join(missing[:5])}"
            found.append(Condition(name=Name.COVERAGE_LOST, service=pane.service, cohort=cohort.name, summary=summary))
    if pane.excluded_nodes:
        summary = f"The clocks of {', '.join(pane.excluded_nodes[:5])} are more than 5 minutes off; their rows are left out."
        found.append(Condition(name=Name.CLOCK_WRONG, service=pane.service, summary=summary))
    for cap, exceeded in sorted(pane.exceeded.items()):
        summary = f"More {cap.replace('_', ' ')} than are kept; summed up as overflow: {', '.join(exceeded.names)}"
        found.append(Condition(name=Name.CARDINALITY_EXCEEDED, service=pane.service, cap=cap, summary=summary))
    for verdict in verdicts:
        for reason, name in ((Reason.ENVIRONMENT, Name.ENVIRONMENT), (Reason.BOTH_SILENT, Name.BOTH_SILENT)):
            if verdict.reason is reason:
                found.append(Condition(name=name, service=pane.service, subject=verdict.subject, summary=verdict.sentence))
    return tuple(found)


def _missing(cohort: CohortPane) -> tuple[str, ...]:
    """Return the expected nodes without telemetry whose agent does not say that they are on their way or meant to be down."""
    waiting = (ServiceState.STARTING, ServiceState.DRAINING, ServiceState.STOPPED)
    found = []
    for node in sorted({*cohort.expected} - cohort.reported):
        row = cohort.nodes.get(node)
        if row is None or not (row.agent and (row.state in waiting or row.version not in {"", cohort.version})):
            found.append(node)
    return tuple(found)
