"""The promises about groups, held against the records of ``decisions`` alone (D7): waves never overlap, and a group goes back as
one, the last wave first.

What is read is what became of each service and what the group was accepted as; never where the group itself says that it is.
"""

from tidegate.sim.protocol.authors import content
from tidegate.sim.protocol.violation import Violation
from tidegate.wire.decisions import Decision, DecisionKind, GroupState, Member, Result, SubjectState
from tidegate.wire.documents import Phase, digest
from tidegate.wire.names import duration_ms
from tidegate.wire.plans import Plan

FORWARD = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.WATCHING})


class Waves:
    """The judge of one log. Records are taken in order; those that a takeover made void are not to be given."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.starts = 0
        """Members that were started: what the promises are about."""
        self.retreats = 0
        """Members that went back with their group."""
        self._states: dict[str, SubjectState] = {}
        self._groups: dict[str, GroupState] = {}
        self._plans: dict[str, Plan] = {}
        """By digest."""

    def take(self, decision: Decision) -> None:
        """Take a record that counts."""
        before = self._states.get(decision.subject)
        if decision.plan:
            self._plans[digest(decision.plan.encode())] = content(decision.plan.encode(), Plan)
        if decision.group is not None:
            self._groups[decision.subject] = decision.group
            if decision.group.phase is Phase.DONE:
                self._ended(decision, decision.group)
        if decision.state is None:
            return
        self._states[decision.subject] = decision.state
        for group in self._groups.values():
            number = _wave_of(group, decision.subject)
            if group.active and number is not None:
                self._member(decision, before, group, number)

    def _member(self, decision: Decision, before: SubjectState | None, group: GroupState, number: int) -> None:
        began = decision.kind is DecisionKind.START
        self.starts += began
        if began and decision.state is not None and decision.state.plan_digest not in {one.plan for one in group.members}:
            self._say(decision, f"starts {decision.state.rollout}, which is not of {group.subject}")
        given = decision.state is not None and decision.state.released > (before.released if before is not None else 0)
        if (began or given) and group.phase is Phase.ROLLING_BACK:
            self._say(decision, f"goes forward ({decision.kind}) while {group.subject} goes back")
        if (began or given) and group.phase is not Phase.ROLLING_BACK:
            for member in _members(group, 0, number):
                if not self._promoted(member):
                    self._say(decision, f"goes forward ({decision.kind}) in wave {number + 1} before {member.subject} is done")
        # What a person takes back by hand waits for nobody.
        if decision.kind is DecisionKind.ROLLBACK and group.phase is Phase.ROLLING_BACK and not decision.answers:
            self.retreats += 1
            for member in _members(group, number + 1, len(group.waves)):
                if self._stays(member, decision.now_ms):
                    self._say(decision, f"goes back in wave {number + 1} before {member.subject}, which came later")

    def _ended(self, decision: Decision, group: GroupState) -> None:
        """Judge the end: promoted means everything is, back means nothing that could go back has stayed."""
        for member in group.members:
            if group.result is Result.PROMOTED and not self._promoted(member):
                self._say(decision, f"is promoted, and {member.subject} is not")
            if group.result is not Result.PROMOTED and self._stays(member, decision.now_ms):
                self._say(decision, f"is back, and {member.subject} is not")

    def _promoted(self, member: Member) -> bool:
        state = self._states.get(member.subject)
        return (
            state is not None
            and state.plan_digest == member.plan
            and state.phase is Phase.DONE
            and state.result is Result.PROMOTED
        )

    def _stays(self, member: Member, now_ms: int) -> bool:
        """Return whether a member has what the group brought and is not back, though it could be: a way back that takes longer
        than the plan's deadline is not waited for.
        """
        state = self._states.get(member.subject)
        if state is None or state.plan_digest != member.plan:
            return False
        plan = self._plans[member.plan]
        returning = state.phase is Phase.ROLLING_BACK and now_ms < state.phase_ms + duration_ms(plan.progress_deadline)
        return state.phase in FORWARD or returning or (plan.rollback is not None and self._promoted(member))

    def _say(self, decision: Decision, what: str) -> None:
        self.violations.append(Violation("D7", decision.now_ms, f"{decision.subject} {what}"))


def _wave_of(group: GroupState, subject: str) -> int | None:
    return next((at for at, wave in enumerate(group.waves) if any(one.subject == subject for one in wave.members)), None)


def _members(group: GroupState, first: int, end: int) -> tuple[Member, ...]:
    return tuple(member for wave in group.waves[first:end] for member in wave.members)
