"""Every kind of alarm there is, whoever writes it: what docs/alarms.md is made of."""

from tidegate.alarms import board, plant, trials
from tidegate.alarms.registry import rules
from tidegate.rollout import alarms as decided
from tidegate.wire.judgement import AlarmKind


def kinds() -> tuple[AlarmKind, ...]:
    """Return every kind, by name."""
    found = [*(rule.kind for rule in rules().values()), *plant.KINDS, *trials.KINDS, *decided.KINDS, *board.KINDS]
    return tuple(sorted(found, key=lambda kind: kind.name))


def table() -> str:
    """Return the kinds as a Markdown table, one line each."""
    head = "| alarm | severity | by | means | what to do | begins after, ends after |\n|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{kind.name}` | {kind.severity} | {kind.writer} | {kind.meaning} | {kind.remedy} | {kind.timing} |\n"
        for kind in kinds()
    )
