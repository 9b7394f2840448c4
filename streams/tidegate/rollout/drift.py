"""Nodes that run what nobody wants, told by what they measure, whoever brought it there (Datadog, 2023-03-08: an update from
elsewhere changed tens of thousands of hosts).

One report changes what is known of one node: who looks at every report is asked to keep what it has found (``Drift``), and then a
look costs as much as has changed since the last one, besides one comparison for each node.
"""

from collections.abc import Iterable

from msgspec import Struct

from tidegate.rollout.ledger import Ledger
from tidegate.rollout.scene import Scene
from tidegate.rollout.view import SeenReport, View
from tidegate.wire.decisions import SubjectState
from tidegate.wire.documents import Phase
from tidegate.wire.names import service_of
from tidegate.wire.plans import Artifact

DRIFT_MS = 120_000
"""So long a node may run what nobody wants: one that was away fetches and swaps within it."""
UNDER_WAY = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.WATCHING})

Wanted = tuple[Artifact, ...]


class Drift(Struct, frozen=True):
    """What nodes report of services beside what is wanted there, and what that was found in."""

    reports: dict[str, SeenReport] = {}
    wanted: dict[str, Wanted] = {}
    """By service what ``desired`` names; a service is missing where any version may run."""
    astray: dict[str, dict[str, str]] = {}
    """By service the nodes that say they run something else, and what; not asked is since when, and who is reachable."""


def drifted(ledger: Ledger, view: View, before: Drift | None = None) -> Drift:
    """Return what nodes report beside what is wanted. ``before``: what was found earlier, of any ledger and view."""
    before = before or Drift()
    reports, last = view.reports, before.reports
    wanted = {
        service: artifacts
        for subject, state in ledger.subjects.items()
        if (service := service_of(subject)) is not None and (artifacts := _wanted(ledger, state))
    }
    if reports is last and wanted == before.wanted:
        return before
    changed = [node for node, seen in reports.items() if last.get(node) is not seen] if reports is not last else []
    astray: dict[str, dict[str, str]] = {}
    for service, artifacts in wanted.items():
        if before.wanted.get(service) == artifacts:
            known = before.astray[service]
            kept = {node: version for node, version in known.items() if reports.get(node) is last[node]}
            astray[service] = kept | _found(reports, changed, service, artifacts)
        else:
            astray[service] = _found(reports, reports, service, artifacts)
    return Drift(reports, wanted, astray)


def astray(scene: Scene, drift: Drift) -> list[tuple[str, str, int]]:
    """Return the reachable nodes, with version and since when, that have long run what is not wanted of the scene's service, by
    name.
    """
    service, found = scene.plan.service, []
    for node, version in sorted(drift.astray.get(service, {}).items()):
        since_ms = max(scene.view.reports[node].steady_ms[service], scene.state.phase_ms)
        if scene.now_ms - since_ms > DRIFT_MS and scene.reachable(node):
            found.append((node, version, since_ms))
    return found


def _wanted(ledger: Ledger, state: SubjectState) -> Wanted:
    """Return what ``desired`` names of a service. Whoever is on its way back is ``rollback_happened``'s."""
    if state.settled is None or state.phase is Phase.ROLLING_BACK:
        return ()
    accepted = ledger.plans.get(state.plan_digest) if state.phase in UNDER_WAY else None
    return (state.settled, accepted.plan.artifact) if accepted is not None else (state.settled,)


def _found(reports: dict[str, SeenReport], nodes: Iterable[str], service: str, wanted: Wanted) -> dict[str, str]:
    return {node: version for node in nodes if (version := _unwanted(reports[node], service, wanted))}


def _unwanted(seen: SeenReport, service: str, wanted: Wanted) -> str:
    report = seen.services.get(service)
    if report is None or not report.version or not report.digest:
        return ""
    named = [one for one in wanted if one.version == report.version]
    if any(one.sha256 == report.digest for one in named):
        return ""
    return f"{report.version}, other bytes" if named else report.version
