"""Nodes with what they run and the cohort that each is in, for a person."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from tidegate.model.model import Glass, Model
from tidegate.rollout.scene import scene_of
from tidegate.wire.documents import Phase
from tidegate.wire.names import service_subject

UNDER_WAY = (Phase.RUNNING, Phase.PAUSED, Phase.ROLLING_BACK, Phase.WATCHING)


class NodeState(StrEnum):
    """How a node stands to the fleet."""

    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    """No report for 90 s (B5)."""
    CORDONED = "cordoned"
    NEVER_SEEN = "never seen"


class NodeRow(Struct, frozen=True, kw_only=True):
    """One node and service; a node that never reported, or hosts nothing, has one row without a service."""

    node: str
    zone: str = ""
    node_state: NodeState
    service: str = ""
    version: str = ""
    state: str = ""
    cohort: str = ""
    """``canary``, ``control`` or ``rest`` of the rollout under way; empty: there is none."""
    report_age_ms: int | None = None
    break_glass: Glass | None = None
    problem: str = ""


def node_rows(model: Model, now_ms: int, after: str = "") -> Iterator[NodeRow]:
    """Yield the rows of the enrolled nodes whose names come after one, by name."""
    cohorts: dict[str, Mapping[str, str]] = {}
    for node in sorted(one for one in model.view.enrolled if one > after):
        yield from _rows(model, node, now_ms, cohorts)


def cohorts_of(model: Model, subject: str, now_ms: int) -> Mapping[str, str]:
    """Return the cohort of each node of a subject's rollout under way; empty where there is none."""
    scene = scene_of(model.ledger, model.view, subject, now_ms)
    if scene is None or scene.state.phase not in UNDER_WAY:
        return {}
    rest = dict.fromkeys(scene.roster.nodes, "rest")
    return rest | dict.fromkeys(scene.controls, "control") | dict.fromkeys(scene.canaries, "canary")


def node_state(model: Model, node: str, now_ms: int) -> NodeState:
    """Return how an enrolled node stands."""
    if node in model.ledger.cordoned:
        return NodeState.CORDONED
    if node not in model.view.reports:
        return NodeState.NEVER_SEEN
    return NodeState.REACHABLE if model.view.reachable(node, now_ms) else NodeState.UNREACHABLE


def _rows(model: Model, node: str, now_ms: int, cohorts: dict[str, Mapping[str, str]]) -> Iterator[NodeRow]:
    seen = model.view.reports.get(node)
    if seen is None:
        yield NodeRow(node=node, node_state=node_state(model, node, now_ms))
        return
    standing = node_state(model, node, now_ms)
    age_ms = max(0, now_ms - seen.seen_ms)
    zone, frozen = seen.report.zone, seen.report.frozen
    if not seen.report.services:
        yield NodeRow(node=node, zone=zone, node_state=standing, report_age_ms=age_ms, problem=frozen)
    for service in seen.report.services:
        subject = service_subject(service.service)
        if subject not in cohorts:
            cohorts[subject] = cohorts_of(model, subject, now_ms)
        yield NodeRow(
            node=node,
            zone=zone,
            node_state=standing,
            service=service.service,
            version=service.version,
            state=str(service.state),
            cohort=cohorts[subject].get(node, ""),
            report_age_ms=age_ms,
            break_glass=model.glass(subject),
            problem=frozen or service.error,
        )
