"""What a judge of a run says when a promise is broken."""

from msgspec import Struct


class Violation(Struct, frozen=True):
    """A promise that did not hold: which one, when (ms of the world's own clock), and what was seen."""

    rule: str
    at_ms: int
    sentence: str
