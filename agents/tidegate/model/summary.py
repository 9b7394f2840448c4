"""Where a subject stands, for a person: cohorts with counts, what blocks the advance, the last verdict."""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.model.model import Glass, Model, Told
from tidegate.rollout.acceptance import waiting
from tidegate.rollout.advance import blockers
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.sharing import HOLDING
from tidegate.rollout.view import runs
from tidegate.wire.decisions import Result
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import service_of
from tidegate.wire.plans import Artifact
from tidegate.wire.reasons import Reason


class CohortSummary(Struct, frozen=True, kw_only=True):
    """One compared group: how many nodes it will have, has been given, and how many of those report that they are ready."""

    name: str
    version: str
    expected: int
    nodes: int
    ready: int


class Blocker(Struct, frozen=True):
    """One condition that the advance still lacks (D4)."""

    reason: Reason
    sentence: str


class Summary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subject now. Times are milliseconds since the epoch."""

    subject: str
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
    paused_reason: Reason | None = None
    cohorts: tuple[CohortSummary, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    verdict: Verdict | None = None
    queued: int = 0
    waits: str = ""
    """Why the first plan of the queue does not begin."""
    quarantined: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Nodes that were not reached when the last rollout ended."""
    alarms: tuple[str, ...] = ()
    glass: Glass | None = None
    """Break-glass in force: nodes obey it, not what was decided."""


def summary(model: Model, subject: str, now_ms: int) -> Summary:
    """Return where a subject stands; an unknown one is idle at generation 0."""
    state = model.ledger.subject(subject)
    scene = scene_of(model.ledger, model.view, subject, now_ms)
    service = service_of(subject) or ""
    open_alarms = (
        key for key, alarm in sorted(model.view.alarms.items()) if subject == alarm.subject or service == alarm.service
    )
    found = Summary(
        subject=subject,
        service=service,
        phase=state.phase,
        result=state.result,
        generation=state.generation,
        rollout=state.rollout,
        settled=state.settled.version if state.settled else "",
        paused_reason=state.paused_reason,
        queued=len(state.queue),
        waits=waiting(model.ledger, model.view, subject, now_ms),
        quarantined=state.quarantined,
        missing=state.missing,
        alarms=tuple(open_alarms),
        verdict=last_verdict(model, subject),
        glass=model.glass(subject),
    )
    if scene is None:
        return found
    stands = state.phase is not Phase.DONE and state.phase is not Phase.IDLE
    return replace(
        found,
        version=scene.plan.artifact.version,
        stage=state.stage + 1,
        stages=len(scene.plan.stages),
        cohorts=_cohorts(scene) if stands else (),
        blockers=tuple(Blocker(*one) for one in blockers(model.ledger, model.view, subject, now_ms)),
    )


def last_verdict(model: Model, subject: str) -> Verdict | None:
    """Return the verdict that tells most about the subject's rollout: its fail if there was one, else the newest."""
    rollout = model.ledger.subject(subject).rollout
    fails = model.view.fails.get(subject, {})
    newest = model.view.verdicts.get(subject)
    seen = [one for one in (*fails.values(), newest) if one is not None and one.rollout == rollout]
    return next((one for one in seen if one.outcome is Outcome.FAIL), seen[0] if seen else None)


def last_rollout(model: Model, subject: str) -> list[Told]:
    """Return the decisions of the subject's last rollout, from the acceptance of its plan to now, oldest first."""
    told = model.decisions(subject)
    state = model.ledger.subject(subject)
    begin = next((at for at, one in enumerate(told) if one.decision.answers == state.plan_digest and one.decision.plan), None)
    return told[begin:] if begin is not None else told


def next_settled(ledger: Ledger, subject: str) -> Artifact | None:
    """Return what will be settled when a plan sent now has its turn, provided that everything before it succeeds (D6, D7)."""
    state = ledger.subject(subject)
    ahead = [*((state.plan_digest,) if state.phase in (*HOLDING, Phase.WATCHING) else ()), *state.queue]
    if state.phase is Phase.ROLLING_BACK and not state.queue:
        return state.settled
    return ledger.plans[ahead[-1]].plan.artifact if ahead and ahead[-1] in ledger.plans else state.settled


def _cohorts(scene: Scene) -> tuple[CohortSummary, ...]:
    nodes, sizes = scene.roster.nodes, scene.sizes
    controls = scene.controls
    old = scene.state.settled
    apart = {*scene.canaries, *controls}
    rest = [node for node in nodes if node not in apart]
    found = [
        CohortSummary(
            name="canary",
            version=scene.plan.artifact.version,
            expected=sizes.canary,
            nodes=len(scene.canaries),
            ready=sum(scene.canary_ready(node) for node in scene.canaries),
        )
    ]
    if sizes.control:
        found.append(
            CohortSummary(
                name="control",
                version=old.version if old else "",
                expected=sizes.control,
                nodes=len(controls),
                ready=sum(scene.control_ready(node) for node in controls),
            )
        )
    if rest:
        found.append(_rest(scene, rest))
    return tuple(found)


def _rest(scene: Scene, rest: list[str]) -> CohortSummary:
    old = scene.state.settled
    return CohortSummary(
        name="rest",
        version=old.version if old else "",
        expected=len(rest),
        nodes=len(rest),
        ready=sum(old is not None and runs(scene.view.service(node, scene.plan.service), old) for node in rest),
    )
