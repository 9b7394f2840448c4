"""What an evaluation may cost. Rules and contexts come from strangers: a rule of a few lines can ask for more than a year of
work.
"""

from collections.abc import Mapping
from typing import Any

from tidegate.flags.bucketing import Draw
from tidegate.wire.flags import Bucketing

STEPS_MAX = 30_000
"""Of one evaluation, at most about a microsecond each."""
NESTED_MAX = 120
"""Operators inside one another, shared rules included: at most four calls each, while they are explained, of Python's 1,000."""
INTEGER_BITS_MAX = 4_096
CHARACTERS_A_STEP = 64


class TooMuch(Exception):
    """The evaluation asks for more work than any may take."""


class Unknown(Exception):
    """A rule names an operator or a shared rule that is not known."""


class Run:
    """One evaluation: what it may still cost, and what its rules refer to."""

    __slots__ = ("bucketing", "draws", "evaluators", "nested", "steps")

    def __init__(self, evaluators: Mapping[str, Any], bucketing: Bucketing, draws: list[Draw] | None = None) -> None:
        self.evaluators = evaluators
        self.bucketing = bucketing
        self.draws = draws
        """Where drawings are noted; None: nowhere."""
        self.steps = STEPS_MAX
        self.nested = 0

    def charge(self, steps: int) -> None:
        """Take steps; TooMuch where none are left."""
        self.steps -= steps
        if self.steps < 0:
            raise TooMuch(f"it takes more than {STEPS_MAX} steps")

    def weigh(self, value: Any) -> None:
        """Charge for reading a value once. A list that holds one list many times weighs as much as is read of it."""
        if type(value) is str:  # most of them
            self.charge(len(value) // CHARACTERS_A_STEP)
            return
        pending = [value]
        while pending:
            item = pending.pop()
            kind = type(item)
            if kind is str:
                self.charge(len(item) // CHARACTERS_A_STEP)
            elif kind is int:
                if item.bit_length() > INTEGER_BITS_MAX:
                    raise TooMuch(f"a number of more than {INTEGER_BITS_MAX} bits")
            elif isinstance(item, list | tuple):
                self.charge(1 + len(item))
                pending += item
            elif isinstance(item, dict):
                self.charge(1 + len(item))
                pending += item.values()
