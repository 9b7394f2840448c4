"""One flag as the rules look at it: what was decided, its ramp, the view, and the time."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tidegate.rollout.change import Change, Fact
from tidegate.rollout.gates import asked
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.verdicts import fails_of
from tidegate.rollout.view import View
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, digest_of
from tidegate.wire.flagchanges import FlagRamp, RampStage
from tidegate.wire.flagstates import FlagState
from tidegate.wire.judgement import Verdict
from tidegate.wire.names import judged, service_subject
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

PERCENT = 100
"""One percent, as a weight: weights are of 10,000."""


class Ramp(Struct, frozen=True):
    """All that a rule may look at."""

    state: FlagState
    view: View
    ledger: Ledger
    now_ms: int

    @property
    def course(self) -> FlagRamp:
        """The ramp that was set. ValueError where there is none."""
        if self.state.ramp is None:
            raise ValueError(f"{self.state.subject} has no ramp")
        return self.state.ramp

    @property
    def stage(self) -> RampStage:
        """The stage under way."""
        return self.course.stages[self.state.stage]

    @property
    def last_stage(self) -> bool:
        """Whether no stage follows."""
        return self.state.stage == len(self.course.stages) - 1

    @property
    def services(self) -> tuple[str, ...]:
        """Services whose telemetry judges the ramp (G3)."""
        return self.state.spec.guard

    @property
    def guards(self) -> tuple[str, ...]:
        """Services whose policies and alarms hold for the flag: of the guard that is set, and of the one that is there. A change
        of the guard is held by the old one, too (H3).
        """
        before = self.state.before
        return tuple(dict.fromkeys((*self.services, *(before.guard if before is not None else ()))))

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects whose policies hold for the flag: its own, and those of ``guards``."""
        return (self.state.subject, *(service_subject(service) for service in self.guards))

    @property
    def gate_asked(self) -> str:
        """Name of the outgoing gate that is asked now (I2); empty where none is."""
        return asked(self.stage.pause if self.state.phase is Phase.RUNNING else None, self.state)

    def verdict(self, service: str) -> Verdict | None:
        """Return the newest verdict on the telemetry of a service."""
        return self.view.verdicts.get(judged(self.state.subject, service))

    def fails(self, service: str) -> dict[Action, Verdict]:
        """Return the fails of this placement on the telemetry of a service (D5)."""
        found = self.view.fails.get(judged(self.state.subject, service), {})
        return fails_of(found, self.state, self.course.on_fail)

    def changed(self, kind: DecisionKind, reason: Reason, message: str, **fields: Any) -> Change:
        """Return a change of the flag, and of nothing else."""
        return Change(kind=kind, reason=reason, subject=self.state.subject, message=message, flag=replace(self.state, **fields))

    def refused(self, reason: Reason, message: str) -> Change:
        """Return that nothing changes, and why."""
        return Change(kind=DecisionKind.REFUSE, reason=reason, subject=self.state.subject, message=message)

    def paused(self, reason: Reason, message: str, facts: dict[str, Fact] | None = None) -> Change:
        """Return the stop of a ramp: its share stays, and so does judgement."""
        change = self.changed(DecisionKind.PAUSE, reason, message, phase=Phase.PAUSED, paused_reason=reason)
        return replace(change, facts=facts or {})


def ramp_of(ledger: Ledger, view: View, subject: str, now_ms: int) -> Ramp | None:
    """Return a flag as rules look at it; None where there is none of that name."""
    state = ledger.flags.get(subject)
    return Ramp(state, view, ledger, now_ms) if state is not None else None


def placed(state: FlagState, **fields: Any) -> FlagState:
    """Return a state under way with the digest of its placement (B8): it changes only with rollout, stage and weight."""
    state = replace(state, **fields)
    named = {"rollout": state.rollout, "attempt": state.attempt, "stage": state.stage, "weight": state.weight}
    return replace(state, placement=digest_of(named))


def shown(weight: int) -> str:
    """Return a weight in percent.

    >>> shown(2_500), shown(25)
    ('25 %', '0.25 %')
    """
    return f"{weight / PERCENT:g} %"
