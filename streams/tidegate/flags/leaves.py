"""Rules rewritten where their results stand: what a branch gives may be replaced, the conditions stay as they are."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tidegate.wire.flagrules import operation, references
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


def results(rule: Any, evaluators: Mapping[str, Any]) -> Iterator[Any]:
    """Yield all that a rule may come to, whoever asks: values, null, and operations that are no ``if``. Of a condition that is
    true, false or null in itself only what it leads to. A shared rule is looked at once.

    >>> list(results({"if": [{"$ref": "beta"}, "on", {"var": "staff"}, "new"]}, {"beta": False}))
    ['new', None]
    """
    return _results(rule, evaluators, set())


def _results(rule: Any, evaluators: Mapping[str, Any], seen: set[str]) -> Iterator[Any]:
    name, rule = _shared(rule, evaluators)
    if name in seen:
        return
    seen |= {name} - {""}
    known = operation(rule)
    if known is None or known[0] not in ("if", "?:"):
        yield rule
        return
    arguments = known[1]
    for index in range(0, len(arguments) - 1, 2):
        _, condition = _shared(arguments[index], evaluators)
        if condition is not False and condition is not None:
            yield from _results(arguments[index + 1], evaluators, seen)
        if condition is True:
            return
    yield from _results(arguments[-1] if len(arguments) % 2 else None, evaluators, seen)


def _shared(rule: Any, evaluators: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the last shared rule that a rule merely refers to, with its name; without one the rule itself."""
    name = ""
    while (known := operation(rule)) is not None and known[0] == "$ref":
        inner = references(rule)
        if len(inner) != 1 or inner[0] not in evaluators:
            break
        name = inner[0]
        rule = evaluators[name]
    return name, rule
