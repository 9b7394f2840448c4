"""Rules rewritten where their results stand: what a branch gives may be replaced, the conditions stay as they are."""

from collections.abc import Callable
from typing import Any

from tidegate.wire.flagrules import operation
from tidegate.wire.flags import Definition, State

Leaf = Callable[[Any], Any]


class Outcome:
    """What a definition gives everyone: a rule for a variant, and the variant where the rule is null; None is the caller's
    default.
    """

    def __init__(self, definition: Definition) -> None:
        enabled = definition.state is State.ENABLED
        self.default = (definition.default_variant or None) if enabled else None
        self.rule: Any = (definition.targeting or self.default) if enabled else None

    def under(self, default: str | None) -> Any:
        """Return a rule that gives the same in a definition with another default variant. None as that default: null stays
        null.
        """
        return self.rule if self.default == default else replaced(self.rule, self._never_null)

    def _never_null(self, node: Any) -> Any:
        if node is None:
            return self.default
        return node if operation(node) is None else {"if": [{"===": [node, None]}, self.default, node]}


def replaced(rule: Any, leaf: Leaf) -> Any:
    """Return a rule with what its branches give replaced. ``leaf`` gets a value, null, or an operation that is no ``if``.

    >>> replaced({"if": [{"var": "staff"}, "on"]}, lambda node: "off" if node is None else node)
    {'if': [{'var': 'staff'}, 'on', 'off']}
    """
    known = operation(rule)
    if known is None or known[0] not in ("if", "?:"):
        return leaf(rule)
    name, arguments = known
    if len(arguments) % 2 == 0:
        arguments = [*arguments, None]
    last = len(arguments) - 1
    return {
        name: [replaced(argument, leaf) if index % 2 or index == last else argument for index, argument in enumerate(arguments)]
    }
