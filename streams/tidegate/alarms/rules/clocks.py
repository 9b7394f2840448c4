"""Nodes whose clock cannot be used (A4)."""

from collections.abc import Iterable

from tidegate.alarms.conditions import WRITER, Condition, Rule, Seen
from tidegate.wire.judgement import AlarmKind, Severity

NAME = "clock_wrong"


def find(seen: Seen) -> Iterable[Condition]:
    """Yield the service if rows of nodes were left out."""
    excluded = seen.pane.excluded_nodes
    if excluded:
        summary = f"The clocks of {', '.join(excluded[:5])} are more than 5 minutes off; their rows are left out."
        yield Condition(name=NAME, service=seen.pane.service, summary=summary)


RULES = (
    Rule(
        kind=AlarmKind(
            name=NAME,
            severity=Severity.WARNING,
            writer=WRITER,
            meaning="Clocks of nodes are more than five minutes off: nothing they say is counted.",
            remedy="Start time synchronisation on the nodes it names.",
            timing="3 s, 3 s",
        ),
        find=find,
    ),
)
