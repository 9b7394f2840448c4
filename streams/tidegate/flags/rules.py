"""Rules as closures: JSONLogic exactly as flagd's evaluator has it, each operator counted, nothing parsed twice.

The library's own interpreter walks the rule anew for each user and cannot be stopped; its operators are used as they are. What
the language is strange in is kept: an object of one key is an operation, any other a value; ``reduce`` takes its third argument
as it stands; an operator that is not known is an error only when it is reached. Nothing is raised here but what operators
raise, TooMuch and Unknown.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from json_logic.builtins import not_, op_var, to_bool

from tidegate.flags.bucketing import draw
from tidegate.flags.operators import OPERATORS, Operator
from tidegate.flags.work import CHARACTERS_A_STEP, NESTED_MAX, STEPS_MAX, Run, TooMuch, Unknown
from tidegate.wire.flagrules import operation
from tidegate.wire.flags import Bucketing

Closure = Callable[[Any, Run], Any]
"""Data in scope and the evaluation that goes on, to a value."""
Watch = Callable[[str, dict[str, Any], Closure], Closure]
"""Path of an operation, the operation, and its closure, to one that is used in its place."""
GROWING = frozenset({"cat", "merge", "+", "-", "*"})
"""Their results may be larger than their arguments."""
CLOSURES_KEPT = 1 << 12
"""Of words and names that rules have in common: ten thousand flags ask for the same few."""
FREE = frozenset({bool, type(None), float})


class Rule(NamedTuple):
    """A rule that can be evaluated. ``depth``: operators inside one another."""

    closure: Closure
    depth: int


def compiled(rule: Any, path: str = "", watch: Watch | None = None) -> Rule:
    """Return a rule, within its bounds (``rule_bounds``), ready to be evaluated."""
    part = _Compiler(watch).node(rule, path)
    return Rule(part.closure, part.depth)


class _Part(NamedTuple):
    closure: Closure
    depth: int
    constant: bool
    weight: int = 0
    """Steps that reading a constant takes; it is weighed once, here."""


class _Compiler:
    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch

    def node(self, node: Any, path: str) -> _Part:
        if isinstance(node, list):
            return self._list(node, path)
        known = operation(node)
        if known is None:
            return _constant(node)
        name, arguments = known
        at = f"{path}.{name}" if self._watch is not None else ""
        parts = self._nodes(arguments, at)
        closure = _operation(name, arguments, parts)
        if self._watch is not None:
            closure = self._watch(at, node, closure)
        return _Part(closure, 1 + max((part.depth for part in parts), default=0), constant=False)

    def _nodes(self, items: list[Any], path: str) -> list[_Part]:
        if self._watch is None:  # paths are for people
            return [self.node(item, "") for item in items]
        return [self.node(item, f"{path}[{index}]") for index, item in enumerate(items)]

    def _list(self, items: list[Any], path: str) -> _Part:
        if not any(isinstance(item, dict | list) for item in items):
            return _constant(items)
        parts = self._nodes(items, path)
        if all(part.constant for part in parts):
            return _constant(items)
        closures = [part.closure for part in parts]

        def gather(data: Any, run: Run) -> Any:
            run.charge(len(closures))
            return [closure(data, run) for closure in closures]

        return _Part(gather, max(part.depth for part in parts), constant=False)


def _constant(value: Any) -> _Part:
    if type(value) is str and len(value) < CHARACTERS_A_STEP:
        return _word(value)
    weighing = Run({}, Bucketing.V2)
    try:
        weighing.weigh(value)
    except TooMuch:
        return _Part(lambda _data, _run: value, 0, constant=False)  # and so it is weighed, and stopped, where it is used
    return _Part(lambda _data, _run: value, 0, constant=True, weight=STEPS_MAX - weighing.steps)


@lru_cache(CLOSURES_KEPT)
def _word(value: str) -> _Part:
    return _Part(lambda _data, _run: value, 0, constant=True)


def _operation(name: str, arguments: list[Any], known: list[_Part]) -> Closure:
    parts = [part.closure for part in known]
    match name:
        case "if" | "?:":
            return _if(parts)
        case "and":
            return _first(parts, not_)
        case "or":
            return _first(parts, to_bool)
        case "filter" | "map" | "all" | "some" | "none":
            return _each(name, parts)
        case "reduce":
            return _reduce(parts, arguments[2] if len(arguments) > 2 else None)
        case "fractional":
            return _fractional(parts)
        case "var" if len(arguments) == 1 and isinstance(arguments[0], str) and arguments[0] and "." not in arguments[0]:
            return _named(arguments[0])
        case "$ref" if len(arguments) == 1 and isinstance(arguments[0], str):
            return _shared(arguments[0])
        case _ if name in OPERATORS:
            return _strict(name, OPERATORS[name], known)
        case _:
            return _unknown(name, parts)


def _if(parts: list[Closure]) -> Closure:
    last = len(parts) - 1

    def choose(data: Any, run: Run) -> Any:
        run.charge(1)
        index = 0
        while index < last:
            if to_bool(parts[index](data, run)):
                return parts[index + 1](data, run)
            index += 2
        return parts[index](data, run) if index <= last else None

    return choose


def _first(parts: list[Closure], ends: Callable[[Any], bool]) -> Closure:
    """``and`` gives the first false argument, ``or`` the first true one, both the last where there is none."""

    def first(data: Any, run: Run) -> Any:
        run.charge(1)
        current = None
        for part in parts:
            current = part(data, run)
            if ends(current):
                return current
        return current

    return first


def _each(name: str, parts: list[Closure]) -> Closure:
    """Operators over a list: inside, data is the item. With too few arguments they say what they say of an empty list."""
    empty = {"filter": [], "map": [], "all": False, "some": False, "none": True}[name]
    if not parts or (len(parts) == 1 and name != "map"):
        return lambda _data, _run: empty
    listed, inner = parts[0], parts[1] if len(parts) > 1 else _constant(None).closure

    def each(data: Any, run: Run) -> Any:
        run.charge(1)
        items = listed(data, run)
        if not isinstance(items, list) or not items:
            return empty
        run.charge(len(items))
        match name:
            case "map":
                return [inner(item, run) for item in items]
            case "filter":
                return [item for item in items if to_bool(inner(item, run))]
            case "all":
                return all(to_bool(inner(item, run)) for item in items)
            case "some":
                return any(to_bool(inner(item, run)) for item in items)
            case _:
                return not any(to_bool(inner(item, run)) for item in items)

    return each


def _reduce(parts: list[Closure], initial: Any) -> Closure:
    if not parts:
        return lambda _data, _run: None
    listed, inner = parts[0], parts[1] if len(parts) > 1 else _constant(None).closure

    def reduce(data: Any, run: Run) -> Any:
        run.charge(1)
        items = listed(data, run)
        if not isinstance(items, list):
            return initial
        run.charge(len(items))
        scope = {"accumulator": initial}
        for item in items:
            scope["current"] = item
            scope["accumulator"] = inner(scope, run)
        return scope["accumulator"]

    return reduce


def _fractional(parts: list[Closure]) -> Closure:
    def fractional(data: Any, run: Run) -> Any:
        run.charge(1 + len(parts))
        arguments = [part(data, run) for part in parts]
        if arguments:
            run.weigh(arguments[0])
        drawn = draw(arguments, data, run.bucketing)
        if drawn is None:
            return None
        if run.draws is not None:
            run.draws.append(drawn)
        return drawn.variant

    return fractional


@lru_cache(CLOSURES_KEPT)
def _named(name: str) -> Closure:
    """``var`` of one plain name, which is what most rules consist of."""

    def named(data: Any, run: Run) -> Any:
        run.charge(1)
        return data.get(name) if type(data) is dict else op_var(data, name)

    return named


def _shared(name: str) -> Closure:
    """Look a rule of ``$evaluators`` up when it is reached: its record may come before the flag's or after it."""

    def shared(data: Any, run: Run) -> Any:
        run.charge(1)
        rule = run.evaluators.get(name)
        if rule is None:
            raise Unknown(f"{name!r} is no rule of $evaluators")
        if run.nested + rule.depth > NESTED_MAX:
            raise TooMuch(f"more than {NESTED_MAX} operators inside one another")
        run.nested += rule.depth
        try:
            return rule.closure(data, run)
        finally:
            run.nested -= rule.depth

    return shared


def _strict(name: str, operator: Operator, known: list[_Part]) -> Closure:
    grows = name in GROWING
    parts = [part.closure for part in known]
    varying = [index for index, part in enumerate(known) if not part.constant]
    steps = 1 + sum(1 + part.weight for part in known)

    def strict(data: Any, run: Run) -> Any:
        run.charge(steps)
        arguments = [part(data, run) for part in parts]
        for index in varying:
            argument = arguments[index]
            if type(argument) not in FREE:
                run.weigh(argument)
        value = operator(data, *arguments)
        if grows:
            run.weigh(value)
        return value

    return strict


def _unknown(name: str, parts: list[Closure]) -> Closure:
    def unknown(data: Any, run: Run) -> Any:
        run.charge(1 + len(parts))
        for part in parts:
            part(data, run)
        raise Unknown(f"{name[:100]!r} is no operator of JSONLogic or flagd")

    return unknown
