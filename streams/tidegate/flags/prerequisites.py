"""Prerequisites, inlined when a flag is published: flagd's clients know no flag but the one they evaluate.

A flag is published anew when one that it needs is (``after`` says which, in which order); what it needs is taken as it is
published, so a kill or a half-grown share of it holds here too.
"""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from tidegate.flags.leaves import Outcome, replaced
from tidegate.flags.published import checked
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.flagrules import RULE_DEPTH_MAX, RULE_NODES_MAX, operation
from tidegate.wire.flags import Bucketing, Definition, State, definition_of
from tidegate.wire.flagspecs import FlagSpec, Prerequisite, safe_variant

LAMBDAS = frozenset({"map", "filter", "reduce", "all", "some", "none"})
"""Their second argument sees an item as its data, no context."""


def settled(spec: FlagSpec, published: Mapping[str, bytes], evaluators: Mapping[str, Any], bucketing: Bucketing) -> bytes:
    """Return the definition to publish when all stages are passed: verbatim without prerequisites, else with them inlined; who
    does not meet them gets the safe variant.

    ``published``: what stands on the topic of each flag that is needed. Malformed where one is missing, or cannot be said in
    another flag's rule.
    """
    definition = spec.decoded()
    if not spec.prerequisites or definition.state is State.DISABLED:
        return bytes(spec.definition)
    conditions = [
        _met(one, published, _Inlining(one.flag, evaluators, bucketing), f"prerequisites[{index}]")
        for index, one in enumerate(spec.prerequisites)
    ]
    rule = {"if": [{"and": conditions}, Outcome(definition).rule, safe_variant(spec)]}
    return checked(
        Definition(
            state=State.ENABLED,
            variants=definition.variants,
            default_variant=definition.default_variant,
            targeting=rule,
            metadata=definition.metadata,
        )
    )


def after(key: str, needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the flags that must be published anew when ``key`` is, each after those that it needs. ``needs``: the flags that
    each flag needs. Malformed, with the path, where they need one another in a circle.
    """
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise Malformed("prerequisites", f"flags need one another in a circle: {' -> '.join(reversed(error.args[1]))}") from error
    changed = {key}
    for name in order:
        if any(one in changed for one in needs.get(name, ())):
            changed.add(name)
    return [name for name in order if name in changed and name != key]


def _met(one: Prerequisite, published: Mapping[str, bytes], inlining: "_Inlining", path: str) -> Any:
    if one.flag not in published:
        raise Malformed(f"{path}.flag", f"there is no flag {one.flag} in the set")
    definition = definition_of(published[one.flag])
    unknown = [name for name in one.variants if name not in definition.variants]
    if unknown:
        raise Malformed(f"{path}.variants", f"{one.flag} has no variant {unknown[0]!r}")
    outcome, wanted = Outcome(definition), one.variants
    inherits = outcome.default is not None and outcome.default in wanted

    def satisfied(node: Any) -> Any:
        if node is None:
            return inherits
        if operation(node) is None:
            return _name(node) in wanted
        ways: list[Any] = [{"in": [node, list(wanted)]}]
        ways += [{"===": [node, flag]} for flag in (True, False) if _name(flag) in wanted]
        ways += [{"===": [node, int(name)]} for name in wanted if name.isdecimal() and str(int(name)) == name]
        ways += [{"===": [node, None]}] if inherits else []
        return {"or": ways} if len(ways) > 1 else ways[0]

    return replaced(inlining.of(outcome.rule, path), satisfied)


def _name(value: Any) -> str:
    return encode(value).decode() if isinstance(value, bool) else str(value)


class _Inlining:
    """A rule of one flag as it must read in another's: what means its key is written out, shared rules are put in."""

    def __init__(self, flag: str, evaluators: Mapping[str, Any], bucketing: Bucketing) -> None:
        self._flag = flag
        self._evaluators = evaluators
        self._bucketing = bucketing
        self._nodes = 0
        self._depth = 0

    def of(self, node: Any, path: str) -> Any:
        self._depth += 1
        if self._depth > RULE_DEPTH_MAX:
            raise Malformed(path, f"the rule of {self._flag} is deeper than {RULE_DEPTH_MAX} with its shared rules put in")
        found = self._of(node, path)
        self._depth -= 1
        return found

    def _of(self, node: Any, path: str) -> Any:
        self._nodes += 1
        if self._nodes > RULE_NODES_MAX:
            raise Malformed(path, f"the rule of {self._flag} has more than {RULE_NODES_MAX} values with its shared rules put in")
        if isinstance(node, list):
            return [self.of(item, path) for item in node]
        known = operation(node)
        if known is None:
            return node
        name, arguments = known
        if name == "$ref":
            return self._shared(arguments, path)
        if name == "var" and arguments[:1] == ["$flagd.flagKey"]:
            return self._flag
        if name in LAMBDAS:
            return {name: [self.of(arguments[0], path), *arguments[1:]]} if arguments else node
        inside = [self.of(argument, path) for argument in arguments]
        if name == "fractional" and inside and isinstance(inside[0], list):
            return self._by_own_key(inside, path)
        return {name: inside}

    def _shared(self, arguments: list[Any], path: str) -> Any:
        if len(arguments) != 1 or not isinstance(arguments[0], str) or arguments[0] not in self._evaluators:
            raise Malformed(path, f"the rule of {self._flag} refers to {str(arguments)[:100]}, which is no rule of $evaluators")
        return self.of(self._evaluators[arguments[0]], path)

    def _by_own_key(self, shares: list[Any], path: str) -> Any:
        if self._bucketing is Bucketing.V3:
            remedy = f'give its fractional rule a first argument, as in {{"cat": ["{self._flag}", {{"var": "targetingKey"}}]}}'
            problem = f"{self._flag} deals users by its own key, which bucketing v3 cannot say in another flag's rule"
            raise Malformed(f"{path}.flag", f"{problem}; {remedy}")
        key = {"var": "targetingKey"}
        return {"if": [{"!!": [key]}, {"fractional": [{"cat": [self._flag, key]}, *shares]}, None]}
