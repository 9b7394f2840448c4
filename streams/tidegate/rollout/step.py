"""The one fold that decides: ledger, view and an event in, the next records out (D1, D3)."""

from typing import assert_never

from tidegate.rollout.acceptance import answer_plan, supersession
from tidegate.rollout.advance import forward, watched
from tidegate.rollout.batches import wakes
from tidegate.rollout.change import Change, record
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
from tidegate.rollout.flag_code import made_safe
from tidegate.rollout.flag_steps import flag_wakes_ms, lively, next_of_flag
from tidegate.rollout.gates import gate_ends_ms
from tidegate.rollout.group_answers import answer_group
from tidegate.rollout.group_steps import group_wakes_ms, next_of_group
from tidegate.rollout.intents import answer_intent
from tidegate.rollout.ledger import Ledger, apply
from tidegate.rollout.membership import active_groups
from tidegate.rollout.policies import answer_policy, edges_ms
from tidegate.rollout.restored import unsure
from tidegate.rollout.retreat import failing, recovered, returning
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.start import next_start
from tidegate.rollout.view import UNREACHABLE_MS, View
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Phase
from tidegate.wire.flagstates import is_flag
from tidegate.wire.groups import is_group
from tidegate.wire.names import duration_ms, service_subject

CHANGES_MAX = 32
"""So many records at most come of one event for one subject; what is left comes with the next one."""


def step(ledger: Ledger, view: View, event: Event, now_ms: int, inputs: dict[str, int]) -> tuple[Decision, ...]:
    """Return the records that an event causes, chained and complete; append their ``encode`` bytes as they are.

    Total. ``view`` has seen the event already. ``now_ms``: at least the last record's time; an earlier one is lifted to it.
    ``inputs``: next offset of every input read so far. Nothing is returned where nothing changes (D1). Reports, verdicts and
    alarms only hasten what a Tick would do: many may be seen before one Tick.
    """
    now_ms = max(now_ms, ledger.now_ms)
    work = _Work(ledger, view, now_ms, inputs)
    match event:
        case PlanArrived():
            work.add(answer_plan(ledger, view, event, now_ms))
            subjects = [event.subject if event.plan is None else service_subject(event.plan.service)]
        case PolicyArrived():
            work.add(answer_policy(ledger, view, event))
            subjects = _all(ledger)
        case GroupArrived():
            work.add(answer_group(ledger, view, event, now_ms))
            subjects = []
        case IntentArrived():
            work.add(answer_intent(ledger, view, event, now_ms))
            subjects = [event.intent.subject] if event.intent is not None else []
        case ReportArrived():
            subjects = [service_subject(service.service) for service in event.report.services]
        case VerdictArrived():
            subjects = [event.verdict.subject]
        case AlarmArrived() | AlarmForgotten() | NodesEnrolled() | Tick():
            subjects = _all(ledger)
        case _:
            assert_never(event)
    for subject in subjects:
        work.settle(subject)
    for subject in work.groups():
        work.settle(subject)
    for subject in work.queueing():
        work.settle(subject)
    return tuple(work.decisions)


def _all(ledger: Ledger) -> list[str]:
    """Return the subjects of which something may come; services first, for no flag may hold up a retreat."""
    return [*sorted(ledger.subjects), *lively(ledger)]


def wake_at(ledger: Ledger, view: View, now_ms: int) -> int | None:
    """Return the next time after ``now_ms`` at which a Tick may change something without other news; None for never."""
    times: list[int] = []
    for subject in ledger.subjects:
        scene = scene_of(ledger, view, subject, now_ms)
        if scene is not None:
            times += _wakes(scene)
        times += [ledger.plans[name].plan.expires_ms for name in ledger.subject(subject).queue]
        times += edges_ms(ledger, subject, now_ms)
    times += group_wakes_ms(ledger)
    times += flag_wakes_ms(ledger, view, now_ms)
    return min((at for at in times if at > now_ms), default=None)


class _Work:
    """The records made so far in one step, each applied before the next is thought of."""

    def __init__(self, ledger: Ledger, view: View, now_ms: int, inputs: dict[str, int]) -> None:
        self._ledger = ledger
        self._view = view
        self._now_ms = now_ms
        self._inputs = inputs
        self.decisions: list[Decision] = []

    def add(self, changes: list[Change]) -> None:
        """Record changes; before one that takes a version away, that the flags which need it are safe (G4)."""
        ordered = [one for asked in changes for one in (*made_safe(self._ledger, asked), asked)]
        for change in ordered:
            decision = record(self._ledger, change, self._now_ms, self._inputs)
            self._ledger = apply(self._ledger, decision, encode(decision))
            self.decisions.append(decision)

    def queueing(self) -> list[str]:
        """Return the subjects whose plans wait: what was decided here may have let go of their nodes (B1)."""
        return sorted(subject for subject, state in self._ledger.subjects.items() if state.queue) if self.decisions else []

    def groups(self) -> list[str]:
        """Return the groups under way: they follow what became of their members."""
        return active_groups(self._ledger)

    def settle(self, subject: str) -> None:
        """Record what follows for a subject, until nothing does."""
        for _ in range(CHANGES_MAX):
            change = _next(self._ledger, self._view, subject, self._now_ms)
            if change is None:
                return
            self.add([change])


def _next(ledger: Ledger, view: View, subject: str, now_ms: int) -> Change | None:
    if is_flag(subject):
        return next_of_flag(ledger, view, subject, now_ms)
    if is_group(subject):
        return next_of_group(ledger, view, subject, now_ms)
    scene = scene_of(ledger, view, subject, now_ms)
    if scene is None:
        return next_start(ledger, view, subject, now_ms)
    phase = scene.state.phase
    match phase:
        case Phase.IDLE | Phase.DONE:
            return next_start(ledger, view, subject, now_ms)
        case Phase.RUNNING:
            return unsure(scene) or failing(scene) or forward(ledger, scene)
        case Phase.PAUSED:
            return unsure(scene) or failing(scene) or recovered(scene)
        case Phase.WATCHING:
            return unsure(scene) or failing(scene) or watched(scene) or supersession(ledger, view, subject, now_ms)
        case Phase.ROLLING_BACK:
            return returning(scene)
        case _:
            assert_never(phase)


def _wakes(scene: Scene) -> list[int]:
    phase = scene.state.phase
    match phase:
        case Phase.RUNNING:
            gate = gate_ends_ms(scene.stage.pause, scene.state)
            return [*wakes(scene), scene.plan.expires_ms, *([gate] if gate is not None else [])]
        case Phase.WATCHING:
            return [scene.state.watch_ms + duration_ms(scene.plan.watch)]
        case Phase.ROLLING_BACK:
            lost = [seen.seen_ms + UNREACHABLE_MS for seen in scene.view.reports.values()]
            return [*lost, scene.state.phase_ms + scene.deadline_ms, scene.state.batch_ms + scene.deadline_ms]
        case Phase.IDLE | Phase.DONE | Phase.PAUSED:
            return []
        case _:
            assert_never(phase)
