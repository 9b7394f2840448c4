"""One thing that a rule found in one pane: the common coin of all rules, from which a verdict is made."""

from msgspec import Struct

from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason


class Finding(Struct, frozen=True, kw_only=True):
    """An outcome with its reason and numbers, and a sentence for a person. A fail carries the action it asks for."""

    outcome: Outcome
    reason: Reason
    sentence: str
    action: Action | None = None
    metric: str = ""
    canary: float | None = None
    control: float | None = None
    limit: float | None = None
    slice: str = ""
    """``probe``: found in what probes saw."""


def rolls_back(finding: Finding) -> bool:
    """Return whether this finding asks for a retreat."""
    return finding.action is Action.ROLLBACK


def fail(reason: Reason, action: Action, sentence: str) -> Finding:
    """Return a fail without numbers."""
    return Finding(outcome=Outcome.FAIL, reason=reason, action=action, sentence=sentence)


def hold(reason: Reason, sentence: str) -> Finding:
    """Return a hold: no advance while it lasts, and no retreat because of it."""
    return Finding(outcome=Outcome.HOLD, reason=reason, sentence=sentence)


def percent(share: float) -> str:
    """Return a share for people.

    >>> percent(0.0512), percent(0.0005)
    ('5.1 %', '0.05 %')
    """
    return f"{share * 100:.3g} %" if share < 0.01 else f"{share * 100:.1f} %"


def names(nodes: tuple[str, ...]) -> str:
    """Return the first few names for people, and how many more there are.

    >>> names(("a", "b", "c", "d", "e"))
    'a, b, c and 2 more'
    """
    shown = ", ".join(nodes[:3])
    return f"{shown} and {len(nodes) - 3} more" if len(nodes) > 3 else shown
