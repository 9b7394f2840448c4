"""The decision agent's alarm about groups, as a level (I1). What its members do has their own."""

from collections.abc import Iterator

from tidegate.rollout.ledger import Ledger
from tidegate.rollout.restraint import WRITER
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Alarm, AlarmKind, Severity
from tidegate.wire.reasons import Reason

GROUP_STOPPED = AlarmKind(
    name="group_stopped",
    severity=Severity.WARNING,
    writer=WRITER,
    meaning="A member of a group cannot start: what came before it is promoted, and the rest waits.",
    remedy="`tidegate rollout explain group/NAME` says why. Mend that and resume the group, or abort it: then all goes back.",
    timing="with the decision, until somebody resumes or aborts the group",
)
KINDS = (GROUP_STOPPED,)
_PEOPLES = (Reason.ASKED, Reason.RESTORED)
"""Pauses of which somebody knows."""


def group_alarms(ledger: Ledger) -> Iterator[Alarm]:
    """Yield the alarms about groups that are open now."""
    for subject, group in sorted(ledger.groups.items()):
        if group.phase is Phase.PAUSED and group.cause not in _PEOPLES:
            why = (group.cause or Reason.UNKNOWN).replace("_", " ")
            yield GROUP_STOPPED.firing(
                subject,
                group.phase_ms,
                f"{subject} has stopped at wave {group.wave + 1} of {len(group.waves)}: {why}.",
                subject=subject,
            )
