"""The decision agent's own alarms, as levels: what is open now follows from ledger and view (I1)."""

from collections.abc import Iterator

from tidegate.rollout.change import counted
from tidegate.rollout.drift import DRIFT_MS, UNDER_WAY, Drift, astray, drifted
from tidegate.rollout.flag_alarms import KINDS as FLAG_KINDS
from tidegate.rollout.flag_alarms import flag_alarms
from tidegate.rollout.group_alarms import KINDS as GROUP_KINDS
from tidegate.rollout.group_alarms import group_alarms
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.policies import spent_by, told_budget
from tidegate.rollout.restraint import WRITER
from tidegate.rollout.retreat import back
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.verdicts import STALE_MS
from tidegate.rollout.view import View
from tidegate.wire.decisions import Result, SubjectState
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Alarm, AlarmKind, Severity

NAMED = 5

ROLLBACK_HAPPENED = AlarmKind(
    name="rollback_happened",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="A version is being rolled back, or was and not every node is back. Hides lesser alarms of the service.",
    remedy="`tidegate rollout explain SERVICE` says why. Nodes that it names as not back need a look; the version stays in "
    "quarantine until someone releases it.",
    timing="with the decision, until every node is back",
)
FIRST_INSTALL_FAILED = AlarmKind(
    name="first_install_failed",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="The first version of a service failed: there is nothing to go back to.",
    remedy="Mend it and start another plan.",
    timing="with the decision, until the next plan starts",
)
PIPELINE_STALE = AlarmKind(
    name="pipeline_stale",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="A rollout goes unjudged for 15 s: intake, judge or broker lag. Advances wait, and no fail would be seen.",
    remedy="Look at intake, judge (`tidegate_judge_clock_seconds`) and broker. If it lasts, pause or abort the rollout.",
    timing="15 s, until the next verdict",
)
VERSION_DRIFT = AlarmKind(
    name="version_drift",
    severity=Severity.WARNING,
    writer=WRITER,
    meaning="Nodes report for 2 min that they run a version, or other bytes under its name, that nobody wants now.",
    remedy="Look at the agent's error on the nodes it names (`tidegate fleet list`); somebody may have deployed by hand.",
    timing="2 min, until they run what is wanted or fall silent",
)
BUDGET_SPENT = AlarmKind(
    name="rollback_budget_spent",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="Services of a policy were rolled back so often that its budget is spent: nothing of them starts or advances.",
    remedy="Find what the releases, or their judges, have in common. Time gives the budget back; signing the policy anew "
    "(`tidegate policy set`) does so at once.",
    timing="with the rollback that spends it, until enough of them are long enough ago",
)
KINDS = (ROLLBACK_HAPPENED, FIRST_INSTALL_FAILED, PIPELINE_STALE, VERSION_DRIFT, BUDGET_SPENT, *FLAG_KINDS, *GROUP_KINDS)


def alarms_of(ledger: Ledger, view: View, now_ms: int, drift: Drift | None = None) -> tuple[Alarm, ...]:
    """Return the alarms that are open now; one that is no longer among them is over (I1).

    ``drift``: what ``drifted`` gives of this ledger and view, where somebody keeps it; it costs as much as there are nodes.
    """
    drift = drift if drift is not None else drifted(ledger, view)
    found: list[Alarm] = []
    for subject in sorted(ledger.subjects):
        scene = scene_of(ledger, view, subject, max(now_ms, ledger.now_ms))
        if scene is not None:
            found += _alarms(scene, drift)
    now_ms = max(now_ms, ledger.now_ms)
    return (*found, *flag_alarms(ledger, view, now_ms), *group_alarms(ledger), *_budgets(ledger, now_ms))


def _budgets(ledger: Ledger, now_ms: int) -> Iterator[Alarm]:
    for name, held in sorted(ledger.policies.items()):
        spent = spent_by(ledger, held, now_ms)
        if spent:
            yield BUDGET_SPENT.firing(name, spent[-1].at_ms, told_budget(held.policy, spent), labels={"policy": name})


def _alarms(scene: Scene, drift: Drift) -> Iterator[Alarm]:
    moved_ms = scene.state.phase_ms if scene.state.phase is Phase.ROLLING_BACK else scene.state.decided_ms
    told = _ended_badly(scene)
    if told is not None:
        yield _firing(scene, *told, moved_ms)
    judged_ms = _judged_ms(scene)
    if judged_ms is not None and scene.now_ms - judged_ms > STALE_MS:
        yield _firing(scene, PIPELINE_STALE, "No verdict comes: advances wait, and no fail would be seen.", judged_ms)
    strays = astray(scene, drift)
    if strays:
        named = ", ".join(f"{node} ({version})" for node, version, _ in strays[:NAMED])
        more = f" and {len(strays) - NAMED} more" if len(strays) > NAMED else ""
        run = "runs" if len(strays) == 1 else "run"
        summary = f"{counted(len(strays), 'node')} {run} what nobody wants of {scene.plan.service}: {named}{more}."
        yield _firing(scene, VERSION_DRIFT, summary, min(since_ms for _, _, since_ms in strays) + DRIFT_MS)


def _firing(scene: Scene, kind: AlarmKind, summary: str, start_ms: int) -> Alarm:
    return kind.firing(
        scene.state.subject,
        start_ms,
        summary,
        service=scene.plan.service,
        subject=scene.state.subject,
        labels={"rollout": scene.state.rollout, "version": scene.plan.artifact.version},
    )


def _judged_ms(scene: Scene) -> int | None:
    """Return up to when a rollout has been judged, at least since it last moved; None where nothing is to be judged."""
    if not scene.placed or scene.state.phase not in UNDER_WAY:
        return None
    verdict = scene.view.verdicts.get(scene.state.subject)
    judged = verdict is not None and verdict.placement == scene.state.placement
    return max(scene.state.decided_ms, verdict.last_pane_ms if verdict is not None and judged else 0)


def _ended_badly(scene: Scene) -> tuple[AlarmKind, str] | None:
    state, version = scene.state, scene.plan.artifact.version
    if state.phase is Phase.ROLLING_BACK:
        return ROLLBACK_HAPPENED, f"{version} is being rolled back ({state.decided_reason})."
    if state.phase is not Phase.DONE:
        bad = [node for node in state.missing if _on_quarantined(scene, node)]
        return (ROLLBACK_HAPPENED, f"Not back yet from a version that was rolled back: {', '.join(bad)}.") if bad else None
    if _never_settled(state):
        return FIRST_INSTALL_FAILED, f"The first install {version} failed; nodes keep what they run."
    away = [node for node in scene.enrolled(state.missing) if not back(scene, node)]
    if away and state.result in (Result.ROLLED_BACK, Result.ABORTED):
        return ROLLBACK_HAPPENED, f"{version} was rolled back; not back yet: {', '.join(away)}."
    return None


def _never_settled(state: SubjectState) -> bool:
    return state.settled is None and state.result in (Result.FAILED, Result.ABORTED)


def _on_quarantined(scene: Scene, node: str) -> bool:
    """Return whether a node that had not come back still says, or said last, that it runs a version in quarantine."""
    report = scene.view.service(node, scene.plan.service)
    return report is not None and report.version in scene.state.quarantined
