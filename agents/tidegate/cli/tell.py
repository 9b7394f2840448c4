"""Decisions and states in words, the same in every command."""

import time

from tidegate.model import Glass, Summary, Told
from tidegate.wire.decisions import Decision, DecisionKind, Result
from tidegate.wire.documents import Phase
from tidegate.wire.names import service_of

STYLES = {
    DecisionKind.ROLLBACK: "bold red",
    DecisionKind.REFUSE: "bold red",
    DecisionKind.PAUSE: "yellow",
    DecisionKind.PROMOTE: "green",
    DecisionKind.WATCH: "green",
    DecisionKind.COMPLETE: "bold green",
    DecisionKind.RETURNED: "bold green",
}


def line(told: Told) -> str:
    """Return one decision as one line of plain text."""
    decision = told.decision
    return f"{clock(told.at_ms)}  {decision.kind:<9} {subject_name(decision.subject)} {decision.generation:>3}  {why(decision)}"


def why(decision: Decision) -> str:
    """Return what a decision says for itself: its sentence, or its reason in words."""
    text = decision.message or decision.reason.replace("_", " ")
    return f"{text} (by {decision.actor})" if decision.actor else text


def subject_name(subject: str) -> str:
    """Return a subject as people name it: a service by its name alone."""
    return service_of(subject) or subject or "fleet"


def standing(one: Summary) -> str:
    """Return phase, stage and outcome in words."""
    phase = one.phase.replace("_", " ")
    if one.phase is Phase.PAUSED and one.paused_reason:
        phase = f"paused ({one.paused_reason.replace('_', ' ')})"
    if one.phase in (Phase.RUNNING, Phase.PAUSED):
        return f"{phase}, stage {one.stage} of {one.stages}"
    if one.phase is Phase.DONE and one.result is not Result.NONE:
        return f"done: {one.result.replace('_', ' ')}"
    return phase


def broken_glass(glass: Glass) -> str:
    """Return in a sentence which break-glass is in force, and until when."""
    what = f"break-glass: {in_few_words(glass)}, {glass.reason}." if glass.reason else f"break-glass: {in_few_words(glass)}."
    return f"{what} Nodes obey it, not the decisions, until one above that generation is made."


def in_few_words(glass: Glass) -> str:
    """Return what nodes obey, who signed it, by which key, and which commands it beats."""
    return f"{glass.action} by {glass.actor or 'nobody named'} (key {glass.key}) up to generation {glass.generation}"


def versions(one: Summary) -> str:
    """Return from which version to which, or what runs where nothing is under way."""
    settled = one.settled or "nothing"
    if one.version in ("", one.settled):
        return settled
    return f"{settled} (not {one.version})" if one.phase is Phase.DONE else f"{settled} -> {one.version}"


def clock(at_ms: int) -> str:
    """Return a time of day with milliseconds, local.

    >>> len(clock(0))
    12
    """
    return time.strftime("%H:%M:%S", time.localtime(at_ms / 1000)) + f".{at_ms % 1000:03}"


def age(ms: int) -> str:
    """Return a length of time in the unit that suits it.

    >>> age(900), age(61_000), age(7_200_000)
    ('0.9 s', '1 min', '2.0 h')
    """
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
