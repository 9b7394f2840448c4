"""What a plan may say about rows that do not come (C6): ``absence`` in the plan file. Unsaid: the default, which stands here.

What each state means, and what follows, is told in one table in ``tidegate.detect.absence``.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.names import Duration, duration_ms

NEVER = "never"
Deadline = Annotated[
    str, Meta(pattern=r"^([0-9]{1,9}(ms|s|m|h|d)|never)$(?!\n)", description="a number and ms, s, m, h or d, as in 90s, or never")
]
Percent = Annotated[str, Meta(pattern=r"^([0-9]|[1-9][0-9]|100)%$(?!\n)", description="a percentage, as in 90%")]


class Waiting(StrEnum):
    """What is done while a cohort cannot be judged, though nothing says that it fails."""

    HOLD = "hold"
    PAUSE = "pause"


class Silence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """How long a node may be silent while others report: telemetry and agent."""

    pause: Deadline = "3s"
    rollback: Deadline = "10s"


class Muteness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """How long a node may send no telemetry while its agent says that the service runs."""

    pause: Deadline = "3s"
    rollback: Deadline = "30s"


class Idleness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """How long the canary may have no request."""

    hold: Duration = "10s"
    rollback: Deadline = "15m"


class Blurred(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What is done where more than a share is late or skewed."""

    over: Percent = "10%"
    action: Waiting = Waiting.HOLD


class AbsenceRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Deadlines and actions by state. Durations count from the first second that is missing."""

    coverage: Percent = "90%"
    """So much of a cohort must report; the rest, rounded down, is left out and named. Less is never a pass."""
    silent: Silence = Silence()
    mute: Muteness = Muteness()
    idle: Idleness = Idleness()
    late: Blurred = Blurred()
    """``over``: of a cohort's rows of the last 10 s."""
    skewed: Blurred = Blurred()
    """``over``: of a cohort's nodes."""


def of_hundred(percent: str) -> int:
    """Return a percentage as a number.

    >>> of_hundred("90%")
    90
    """
    return int(percent[:-1])


def deadline_ms(text: str) -> int | None:
    """Return a deadline in ms; None: never.

    >>> deadline_ms("3s"), deadline_ms("never")
    (3000, None)
    """
    return None if text == NEVER else duration_ms(text)


def absence_faults(rules: AbsenceRules) -> Iterator[tuple[str, str]]:
    """Yield what types cannot see, as (path, problem)."""
    pairs = (
        ("silent", "pause", rules.silent.pause, rules.silent.rollback),
        ("mute", "pause", rules.mute.pause, rules.mute.rollback),
        ("idle", "hold", rules.idle.hold, rules.idle.rollback),
    )
    for state, name, first, last in pairs:
        first_ms, last_ms = deadline_ms(first), deadline_ms(last)
        if first_ms is not None and last_ms is not None and last_ms < first_ms:
            yield f"absence.{state}.rollback", f"{last} comes before {name} ({first}); what is milder comes first"
