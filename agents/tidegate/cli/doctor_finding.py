"""What the doctor says of an installation: one finding for each thing that should be otherwise, with what to do."""

from enum import StrEnum

from msgspec import Struct

from tidegate.runtime.problem import Problem

DAY_MS = 86_400_000


class Level(StrEnum):
    """How bad it is."""

    PROBLEM = "problem"
    """Something does not work, or will not when it is needed."""
    WARNING = "warning"
    """It works, and is weaker than it should be."""
    NOTE = "note"
    """What could not be looked at from here."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that should be otherwise."""

    level: Level
    about: str
    """What was looked at, in a word or two."""
    what: str
    remedy: str


def problem(about: str, what: str, remedy: str) -> Finding:
    """Return a finding about what does not work."""
    return Finding(level=Level.PROBLEM, about=about, what=what, remedy=remedy)


def warning(about: str, what: str, remedy: str) -> Finding:
    """Return a finding about what is weaker than it should be."""
    return Finding(level=Level.WARNING, about=about, what=what, remedy=remedy)


def note(about: str, what: str, remedy: str) -> Finding:
    """Return a finding about what could not be looked at."""
    return Finding(level=Level.NOTE, about=about, what=what, remedy=remedy)


def told(about: str, said: Problem) -> Finding:
    """Return a problem that a command would end with as a finding."""
    return problem(about, "; ".join((said.what, *said.details)), said.remedy or "mend what it names")
