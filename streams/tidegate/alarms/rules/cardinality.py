"""More names of a kind than are kept (``tidegate.kpi.caps``)."""

from collections.abc import Iterable

from tidegate.alarms.conditions import WRITER, Condition, Rule, Seen
from tidegate.wire.judgement import AlarmKind, Severity

NAME = "cardinality_exceeded"


def find(seen: Seen) -> Iterable[Condition]:
    """Yield each cap that was exceeded."""
    for cap, exceeded in sorted(seen.pane.exceeded.items()):
        summary = f"More {cap.replace('_', ' ')} than are kept; summed up as overflow: {', '.join(exceeded.names)}"
        yield Condition(name=NAME, service=seen.pane.service, cap=cap, summary=summary)


RULES = (
    Rule(
        kind=AlarmKind(
            name=NAME,
            severity=Severity.WARNING,
            writer=WRITER,
            meaning="More names of a kind (nodes, services, metrics) than are kept; the rest is summed up as overflow.",
            remedy="Find who sends names that change all the time, such as ids in metric names, and stop it.",
            timing="3 s, 3 s",
        ),
        find=find,
    ),
)
