"""What an abort does (D5): what is under way goes back, and what waits is withdrawn, for who stops a release does not expect the
next one to start. A target names one plan, under way or waiting, and leaves the others alone.
"""

from msgspec.structs import replace

from tidegate.rollout.change import Change, refusal
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.membership import holding
from tidegate.rollout.retreat import rollback
from tidegate.rollout.scene import Scene
from tidegate.wire.decisions import DecisionKind, GroupState, Result, SubjectState
from tidegate.wire.documents import Intent, Phase
from tidegate.wire.reasons import Reason

ABORTABLE = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.WATCHING})
STAYS = frozenset({Result.PROMOTED, Result.SUPERSEDED})
"""How a rollout ended whose version is what runs: it is undone, and no longer aborted."""


def aborted(ledger: Ledger, scene: Scene | None, state: SubjectState, intent: Intent) -> Change:
    """Return the one record that answers an abort. ``scene``: of the subject's last rollout, None where none ever started."""
    under_way = scene is not None and state.phase in ABORTABLE
    waiting = {ledger.plans[name].plan.id: name for name in state.queue}
    if scene is not None and under_way and intent.target in ("", scene.plan.id):
        change = rollback(scene, Reason.ASKED, intent.reason or f"{intent.actor} aborted it.", Result.ABORTED)
        return change if intent.target else with_queue(ledger, change)
    if intent.target and intent.target not in waiting:
        if scene is not None and intent.target == scene.plan.id:
            return refusal(intent, Reason.NOTHING_TO_DO, _nothing(scene))
        known = [*((scene.plan.id,) if scene is not None and under_way else ()), *waiting]
        return refusal(
            intent, Reason.UNKNOWN, f"no plan {intent.target} is under way or waits; there: {', '.join(known) or 'none'}"
        )
    asked = [waiting[intent.target]] if intent.target else [*state.queue]
    if not asked:
        told = _nothing(scene) if scene is not None else f"no rollout of {state.subject} was ever started"
        return refusal(intent, Reason.NOTHING_TO_DO, told)
    group = holding(ledger, state.subject)
    whole = [name for name in asked if _is_member(group, name)]
    if group is not None and whole:
        what = f"plan {ledger.plans[whole[0]].plan.id} is of {group.subject}, which goes back as one"
        return refusal(intent, Reason.NOT_ALLOWED, f"{what}: rollout abort {group.subject}")
    return _withdrawn(ledger, scene, state, intent, asked)


def with_queue(ledger: Ledger, change: Change) -> Change:
    """Return a retreat that a person asked for, with what waits behind it withdrawn. A group's plan stays: its group says what
    becomes of it.
    """
    state = change.state
    if state is None:
        return change
    group = holding(ledger, state.subject)
    kept = tuple(name for name in state.queue if _is_member(group, name))
    dropped = [ledger.plans[name].plan.id for name in state.queue if name not in kept]
    if not dropped:
        return change
    return replace(
        change,
        message=f"{change.message.rstrip('.')}; withdrawn with it: {', '.join(dropped)}.",
        facts=change.facts | {"withdrawn": dropped},
        state=replace(state, queue=kept),
    )


def _withdrawn(ledger: Ledger, scene: Scene | None, state: SubjectState, intent: Intent, asked: list[str]) -> Change:
    """Return that plans wait no more. It is what was asked for, so it is no refusal; and no rollout moves."""
    names = [ledger.plans[name].plan.id for name in asked]
    what = f"Plan {names[0]} is" if len(names) == 1 else f"Plans {', '.join(names)} are"
    undo = _undo(scene) if scene is not None else ""
    stays = f" What runs stays; {undo}." if undo else ""
    return Change(
        kind=DecisionKind.SETTING,
        reason=Reason.ASKED,
        subject=state.subject,
        message=f"{what} withdrawn: {(intent.reason or f'{intent.actor} aborted it').rstrip('.')}.{stays}",
        facts={"withdrawn": names},
        state=replace(state, queue=tuple(name for name in state.queue if name not in asked)),
    )


def _is_member(group: GroupState | None, plan_digest: str) -> bool:
    return group is not None and any(member.plan == plan_digest for member in group.members)


def _nothing(scene: Scene) -> str:
    """Return why there is nothing to abort, and what goes back instead."""
    state, undo = scene.state, _undo(scene)
    ended = f" ({state.result})" if state.result else ""
    return f"{state.rollout} is {state.phase}{ended}; there is nothing to abort" + (f", {undo}" if undo else "")


def _undo(scene: Scene) -> str:
    """Return how a person takes back what is promoted; empty where nothing is, or nothing was before it."""
    undone = scene.state.result in STAYS and scene.plan.rollback is not None
    return f"{scene.plan.artifact.version} is taken back by rollout undo {scene.plan.service}" if undone else ""
