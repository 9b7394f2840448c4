"""Everything at a glance: so many nodes of each service, cohort, version and state, and where every rollout and flag stands."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from tidegate.model.flags import ramp_stage
from tidegate.model.model import Model
from tidegate.model.nodes import NodeState, cohorts_of, node_state
from tidegate.model.summary import last_verdict
from tidegate.rollout.advance import blockers
from tidegate.rollout.scene import Scene, scene_of
from tidegate.wire.decisions import Result
from tidegate.wire.documents import Phase
from tidegate.wire.flagstates import FlagState, Off, RampResult
from tidegate.wire.judgement import Outcome
from tidegate.wire.names import duration_ms, service_of, service_subject
from tidegate.wire.plans import Gate
from tidegate.wire.reasons import Reason

Sees = Callable[[str], bool]
"""Whether somebody may see a subject."""


class Group(Struct, frozen=True, kw_only=True):
    """So many nodes that are alike in one service. ``cohort`` is empty where no rollout is under way."""

    service: str
    cohort: str
    version: str
    state: str
    """As the nodes say, or ``unreachable``: what they said last is old."""
    nodes: int


class FleetGlance(Struct, frozen=True, kw_only=True):
    """The enrolled nodes by their state, and what they run; without those that host only what one may not see."""

    nodes: int
    states: dict[NodeState, int]
    groups: tuple[Group, ...]


class RolloutGlance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service. Times are milliseconds since the epoch; 0: not yet. What is left out is as its default."""

    service: str
    phase: Phase
    result: Result
    generation: int
    rollout: str = ""
    version: str = ""
    settled: str = ""
    stage: int = 0
    """Counted from 1; 0: no rollout."""
    stages: int = 0
    gate: Gate | None = None
    """What licenses the promotion out of this stage."""
    released: int = 0
    roster: int = 0
    """Nodes that have been given the new version, of those of the rollout."""
    started_ms: int = 0
    baking_since_ms: int = 0
    bake_ms: int = 0
    gate_since_ms: int = 0
    """Since when somebody's answer is waited for."""
    gate_passed: bool = False
    paused_reason: Reason | None = None
    outcome: Outcome | None = None
    """Of the verdict that tells most, with its reason and sentence."""
    reason: Reason | None = None
    sentence: str = ""
    lacks: tuple[Reason, ...] = ()
    """What the advance still lacks (D4)."""
    alarms: int = 0
    queued: int = 0
    quarantined: int = 0
    missing: int = 0
    break_glass: bool = False


class FlagGlance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One flag. Weights are of 10,000; ``at_ms`` is when it became as it is."""

    flag: str
    """``<set>/<flag>``."""
    generation: int
    phase: Phase
    result: RampResult = RampResult.NONE
    weight: int = 0
    held: int = 0
    """The weight that stages have given."""
    stage: int = 0
    """Counted from 1; 0: no ramp is under way."""
    stages: int = 0
    paused_reason: Reason | None = None
    killed: bool = False
    off: Off = Off.NONE
    archived: bool = False
    guard: tuple[str, ...] = ()
    set_by: str = ""
    at_ms: int = 0
    alarms: int = 0


def fleet_glance(model: Model, now_ms: int, sees: Sees) -> FleetGlance:
    """Return the fleet, counted."""
    states: Counter[NodeState] = Counter()
    groups: Counter[tuple[str, str, str, str]] = Counter()
    cohorts: dict[str, Mapping[str, str] | None] = {}
    """None: of a service that may not be seen."""
    for node in model.view.enrolled:
        report = model.view.reports.get(node)
        hosted = report.services.values() if report is not None else ()
        for name in {one.service for one in hosted} - cohorts.keys():
            subject = service_subject(name)
            cohorts[name] = cohorts_of(model, subject, now_ms) if sees(subject) else None
        mine = [(one, of) for one in hosted if (of := cohorts[one.service]) is not None]
        if hosted and not mine:
            continue
        states[node_state(model, node, now_ms)] += 1
        away = None if model.view.reachable(node, now_ms) else NodeState.UNREACHABLE
        groups.update((one.service, of.get(node, ""), one.version, away or str(one.state)) for one, of in mine)
    found = (
        Group(service=service, cohort=cohort, version=version, state=state, nodes=nodes)
        for (service, cohort, version, state), nodes in sorted(groups.items())
    )
    return FleetGlance(nodes=states.total(), states=dict(sorted(states.items())), groups=tuple(found))


def rollout_glances(model: Model, now_ms: int, sees: Sees) -> Iterator[RolloutGlance]:
    """Yield every service of which anything was decided, by name."""
    alarms = _alarms(model)
    for subject in sorted(model.ledger.subjects):
        service = service_of(subject)
        if service is not None and sees(subject):
            yield _rollout(model, service, now_ms, alarms)


def flag_glances(model: Model, sees: Sees) -> Iterator[FlagGlance]:
    """Yield every flag by name."""
    alarms = _alarms(model)
    for subject, state in sorted(model.ledger.flags.items()):
        if sees(subject):
            yield _flag(state, alarms[subject])


def _alarms(model: Model) -> Counter[str]:
    """Return how many alarms fire, by subject; those of a service are of its rollouts too."""
    found: Counter[str] = Counter()
    for alarm in model.view.alarms.values():
        found.update({alarm.subject, service_subject(alarm.service) if alarm.service else ""} - {""})
    return found


def _rollout(model: Model, service: str, now_ms: int, alarms: Counter[str]) -> RolloutGlance:
    subject = service_subject(service)
    state = model.ledger.subjects[subject]
    scene = scene_of(model.ledger, model.view, subject, now_ms)
    verdict = last_verdict(model, subject)
    return RolloutGlance(
        service=service,
        phase=state.phase,
        result=state.result,
        generation=state.generation,
        rollout=state.rollout,
        settled=state.settled.version if state.settled else "",
        started_ms=state.started_ms,
        gate_since_ms=state.gate_since_ms,
        gate_passed=state.gate_passed,
        paused_reason=state.paused_reason,
        outcome=verdict.outcome if verdict is not None else None,
        reason=verdict.reason if verdict is not None else None,
        sentence=verdict.sentence if verdict is not None else "",
        lacks=tuple(reason for reason, _ in blockers(model.ledger, model.view, subject, now_ms)),
        alarms=alarms[subject],
        queued=len(state.queue),
        quarantined=len(state.quarantined),
        missing=len(state.missing),
        break_glass=model.glass(subject) is not None,
        **(_of_plan(scene) if scene is not None else {}),
    )


def _of_plan(scene: Scene) -> dict[str, Any]:
    return {
        "version": scene.plan.artifact.version,
        "stage": scene.state.stage + 1,
        "stages": len(scene.plan.stages),
        "gate": scene.stage.gate,
        "released": scene.state.released,
        "roster": len(scene.roster.nodes),
        "baking_since_ms": scene.state.baking_since_ms,
        "bake_ms": duration_ms(scene.stage.bake),
    }


def _flag(state: FlagState, alarms: int) -> FlagGlance:
    stage, stages = ramp_stage(state)
    return FlagGlance(
        flag=str(state.key),
        generation=state.generation,
        phase=state.phase,
        result=state.result,
        weight=state.weight,
        held=state.held,
        stage=stage,
        stages=stages,
        paused_reason=state.paused_reason,
        killed=state.killed,
        off=state.off,
        archived=state.archived,
        guard=state.spec.guard,
        set_by=state.proposer,
        at_ms=state.decided_ms,
        alarms=alarms,
    )
