"""What the world last said: reports, verdicts, open alarms, enrolled nodes (D1).

Rebuilt at start by reading the topics again. Nothing here was decided; a fact that matters is copied into the record that
used it. A view may be folded from many events before one ``step`` with a ``Tick``: rules look at levels, never at edges.
"""

from collections.abc import Mapping
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from tidegate.rollout.events import (
    AlarmArrived,
    AlarmForgotten,
    Event,
    GroupArrived,
    IntentArrived,
    NodesEnrolled,
    PlanArrived,
    PolicyArrived,
    ReportArrived,
    Tick,
    VerdictArrived,
)
from tidegate.rollout.seen_alarms import Alarms, forgotten, told
from tidegate.wire.documents import Report, ServiceReport
from tidegate.wire.judgement import Alarm, Outcome, Verdict
from tidegate.wire.names import judged
from tidegate.wire.plans import Action, Artifact
from tidegate.wire.telemetry import ServiceState

UNREACHABLE_MS = 90_000
"""B5: so long without a report, and a node is unreachable."""


class SeenReport(Struct, frozen=True):
    """The last report of a node and when it was seen."""

    report: Report
    seen_ms: int
    services: dict[str, ServiceReport]
    steady_ms: dict[str, int]
    """Service to when it was first seen, without a gap, running what it runs and as ready or unready as it is."""


class View(Struct, frozen=True, kw_only=True):
    """The last word of everyone. Bounded by nodes, subjects and open alarms."""

    fleet: str = ""
    """Plans for another fleet are refused; empty: the shell has looked."""
    enrolled: frozenset[str] = frozenset()
    reports: dict[str, SeenReport] = {}
    verdicts: dict[str, Verdict] = {}
    """Subject to its newest verdict; of a flag one for each service of its guard, under ``judged``."""
    fails: dict[str, dict[Action, Verdict]] = {}
    """Likewise to its newest fails by action, of the newest placement that failed: a fail never goes stale (D5)."""
    signals: Alarms = Alarms()

    @property
    def alarms(self) -> Mapping[str, Alarm]:
        """Open ones by key."""
        return self.signals.open.by_key

    @property
    def ended(self) -> Mapping[str, Alarm]:
        """The last record of those that are over and remembered, by key: it holds their history."""
        return self.signals.over.by_key

    def service(self, node: str, service: str) -> ServiceReport | None:
        """Return what a node last said of a service; None where it never named it."""
        seen = self.reports.get(node)
        return seen.services.get(service) if seen is not None else None

    def reachable(self, node: str, now_ms: int) -> bool:
        """Return whether a node has reported lately (B5)."""
        seen = self.reports.get(node)
        return seen is not None and now_ms - seen.seen_ms < UNREACHABLE_MS


def runs(report: ServiceReport | None, artifact: Artifact) -> bool:
    """Return whether a report says: ready, and what was measured is this artifact."""
    return (
        report is not None
        and report.state is ServiceState.READY
        and report.digest == artifact.sha256
        and report.version == artifact.version
    )


def holds(report: ServiceReport | None, artifact: Artifact) -> bool:
    """Return whether a report says that a node is on an artifact, be it ready, starting or broken: a broken old version must not
    keep out its successor.
    """
    return report is not None and report.version == artifact.version and report.digest in ("", artifact.sha256)


def see(view: View, event: Event) -> View:
    """Return the view after an event. Total; older news never replaces newer; seeing an event twice changes nothing."""
    match event:
        case ReportArrived():
            return _see_report(view, event)
        case VerdictArrived():
            return _see_verdict(view, event.verdict)
        case AlarmArrived():
            return replace(view, signals=told(view.signals, event.alarm))
        case AlarmForgotten():
            return replace(view, signals=forgotten(view.signals, event.key))
        case NodesEnrolled():
            reports = {node: seen for node, seen in view.reports.items() if node in event.nodes}
            return replace(view, enrolled=event.nodes, reports=reports)
        case PlanArrived() | PolicyArrived() | GroupArrived() | IntentArrived() | Tick():
            return view
        case _:
            assert_never(event)


def _see_report(view: View, event: ReportArrived) -> View:
    report, before = event.report, view.reports.get(event.report.node)
    if before is not None and report.boot == before.report.boot and report.counter < before.report.counter:
        return view
    services = {service.service: service for service in report.services}
    steady = {name: _steady_ms(before, service, event.seen_ms) for name, service in services.items()}
    return replace(view, reports=view.reports | {report.node: SeenReport(report, event.seen_ms, services, steady)})


def _steady_ms(before: SeenReport | None, service: ServiceReport, seen_ms: int) -> int:
    last = before.services.get(service.service) if before is not None else None
    if before is None or last is None:
        return seen_ms
    same = last.digest == service.digest and (last.state is ServiceState.READY) == (service.state is ServiceState.READY)
    # Who was unreachable begins anew: what it failed to do while it was away is not held against it.
    return before.steady_ms[service.service] if same and seen_ms - before.seen_ms < UNREACHABLE_MS else seen_ms


def _see_verdict(view: View, verdict: Verdict) -> View:
    subject = judged(verdict.subject, verdict.service)
    last = view.verdicts.get(subject)
    if last is None or _age(verdict) >= _age(last):
        view = replace(view, verdicts=view.verdicts | {subject: verdict})
    if verdict.outcome is not Outcome.FAIL:
        return view
    action, fails = verdict.action or Action.ROLLBACK, view.fails.get(subject, {})
    kept = {key: fail for key, fail in fails.items() if fail.placement == verdict.placement}
    newer = [fail for fail in fails.values() if fail.placement != verdict.placement and _age(fail) > _age(verdict)]
    if newer or (action in kept and _age(kept[action]) > _age(verdict)):
        return view
    return replace(view, fails=view.fails | {subject: kept | {action: verdict}})


def _age(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.epoch, verdict.generation, verdict.last_pane_ms
