"""A guardrail of a rollout is broken (C1)."""

from collections.abc import Iterable

from tidegate.alarms.conditions import WRITER, Condition, Rule, Seen
from tidegate.wire.judgement import AlarmKind, Severity
from tidegate.wire.reasons import Reason

NAME = "limit_broken"
REASONS = (Reason.LIMIT_BROKEN, Reason.GROSS_ERRORS)


def find(seen: Seen) -> Iterable[Condition]:
    """Yield the rollouts whose verdict is a broken limit."""
    for verdict in seen.verdicts:
        if verdict.reason in REASONS:
            yield Condition(name=NAME, service=seen.pane.service, subject=verdict.subject, summary=verdict.sentence)


RULES = (
    Rule(
        kind=AlarmKind(
            name=NAME,
            severity=Severity.WARNING,
            writer=WRITER,
            meaning="The canary breaks a guardrail and the control does not. The rollout is paused or rolled back.",
            remedy="`tidegate rollout explain SERVICE` has the numbers. Nothing need be done for the rollback.",
            timing="at once (a guardrail has its own n of m panes), 10 s",
        ),
        find=find,
        for_ms=1_000,
        keep_ms=10_000,
    ),
)
