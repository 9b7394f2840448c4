"""Not the release but its world: canary and control suffer together (C2), or are silent together (C6)."""

from collections.abc import Callable, Iterable

from tidegate.alarms.conditions import WRITER, Condition, Rule, Seen
from tidegate.wire.judgement import AlarmKind, Severity
from tidegate.wire.reasons import Reason


def _finder(name: str, reason: Reason) -> Callable[[Seen], Iterable[Condition]]:
    def find(seen: Seen) -> Iterable[Condition]:
        for verdict in seen.verdicts:
            if verdict.reason is reason:
                yield Condition(name=name, service=seen.pane.service, subject=verdict.subject, summary=verdict.sentence)

    return find


RULES = (
    Rule(
        kind=AlarmKind(
            name="environment",
            severity=Severity.CRITICAL,
            writer=WRITER,
            meaning="Canary and control break a limit together: not the release but its world. The rollout holds.",
            remedy="Look at what all nodes share: database, network, a dependency. The rollout goes on when it is over.",
            timing="3 s, 3 s",
        ),
        find=_finder("environment", Reason.ENVIRONMENT),
    ),
    Rule(
        kind=AlarmKind(
            name="both_silent",
            severity=Severity.CRITICAL,
            writer=WRITER,
            meaning="Neither canary nor control reports. The rollout holds.",
            remedy="Look at the way of the telemetry: broker, intake, network; then at the nodes.",
            timing="3 s, 3 s",
        ),
        find=_finder("both_silent", Reason.BOTH_SILENT),
    ),
)
