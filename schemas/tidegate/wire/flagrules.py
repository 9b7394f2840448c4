"""Rules of flags: JSONLogic with flagd's operators, as it may stand in a definition. Bounds for readers, faults for authors.

Whatever passes the bounds can be evaluated in bounded depth; what it may cost is bounded where it is evaluated. Nothing is
evaluated here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

RULE_DEPTH_MAX = 100
"""Objects and arrays inside one another, in one rule."""
RULE_NODES_MAX = 20_000
WEIGHTS_SUM_MAX = (1 << 31) - 1

BETWEEN = (2, 3)
ARGUMENTS: dict[str, tuple[int, int | None]] = {
    "if": (1, None),
    "?:": (1, None),
    "and": (1, None),
    "or": (1, None),
    "!": (1, 1),
    "!!": (1, 1),
    "==": (2, 2),
    "!=": (2, 2),
    "===": (2, 2),
    "!==": (2, 2),
    "<": BETWEEN,
    "<=": BETWEEN,
    ">": BETWEEN,
    ">=": BETWEEN,
    "+": (1, None),
    "*": (1, None),
    "-": (1, 2),
    "/": (2, 2),
    "%": (2, 2),
    "min": (1, None),
    "max": (1, None),
    "cat": (1, None),
    "substr": (2, 3),
    "in": (2, 2),
    "merge": (1, None),
    "var": (0, 2),
    "missing": (0, None),
    "missing_some": (2, 2),
    "map": (2, 2),
    "filter": (2, 2),
    "reduce": (2, 3),
    "all": (2, 2),
    "some": (2, 2),
    "none": (2, 2),
    "log": (1, 1),
    "fractional": (1, None),
    "sem_ver": (3, 3),
    "starts_with": (2, 2),
    "ends_with": (2, 2),
    "$ref": (1, 1),
}
"""Operators, with how many arguments they take at least and at most."""
VERSION_OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "^", "~")

Fault = tuple[str, str]
"""Path, and what is wrong there."""


def operation(node: object) -> tuple[str, list[Any]] | None:
    """Return a node's operator and arguments; None where it is a value. JSONLogic takes any object of one key for an operation.

    >>> operation({"var": "email"}), operation({"a": 1, "b": 2})
    (('var', ['email']), None)
    """
    if not isinstance(node, dict) or len(node) != 1:
        return None
    [(name, given)] = node.items()
    return name, given if isinstance(given, list) else [given]


def rule_bounds(rule: object, path: str) -> list[Fault]:
    """Return why a rule is too large or too deep to be evaluated; empty where it is not. Stops at the first fault."""
    nodes, level = 0, [rule]
    for _ in range(RULE_DEPTH_MAX + 1):
        level = [
            item
            for node in level
            if isinstance(node, (dict, list))
            for item in (node.values() if isinstance(node, dict) else node)
        ]
        nodes += len(level)
        if nodes > RULE_NODES_MAX:
            return [
                (
                    path,
                    f"more than {RULE_NODES_MAX} values in one rule; share parts by $evaluators, or name groups in the context",
                )
            ]
        if not level:
            return []
    return [(path, f"more than {RULE_DEPTH_MAX} objects and arrays inside one another")]


def rule_faults(rule: object, path: str, evaluators: Mapping[str, Any] | None = None) -> list[Fault]:
    """Return every fault of a rule within its bounds, as (path, problem). ``evaluators`` are what ``$ref`` may name; None:
    references are not followed. An empty object is no rule, and no fault.
    """
    if rule is None or rule == {}:
        return []
    return list(_faults(rule, path, evaluators))


def references(rule: object) -> list[str]:
    """Return the names that ``$ref`` has anywhere in a rule, in their order.

    >>> references({"if": [{"$ref": "staff"}, "on", {"$ref": "beta"}]})
    ['staff', 'beta']
    """
    found: list[str] = []
    pending: list[Any] = [rule]
    while pending:
        node = pending.pop()
        known = operation(node)
        if known is not None and known[0] == "$ref" and len(known[1]) == 1 and isinstance(known[1][0], str):
            found.append(known[1][0])
        elif isinstance(node, dict | list):
            pending += reversed(list(node.values() if isinstance(node, dict) else node))
    return found


def circle_of(rule: object, evaluators: Mapping[str, Any]) -> list[str]:
    """Return the names along which the references of a rule come back to where they were; empty where they do not. Every
    shared rule is looked at once.
    """
    done: set[str] = set()
    path: list[str] = []
    pending: list[tuple[str, bool]] = [(name, True) for name in reversed(references(rule))]
    while pending:
        name, enters = pending.pop()
        if not enters:
            done.add(path.pop())
        elif name in path:
            return [*path[path.index(name) :], name]
        elif name in evaluators and name not in done:
            path.append(name)
            pending.append((name, False))
            pending += [(inner, True) for inner in reversed(references(evaluators[name]))]
    return []


def _faults(node: object, path: str, evaluators: Mapping[str, Any] | None) -> Iterator[Fault]:
    known = operation(node)
    if known is None:
        if isinstance(node, dict):
            yield path, f"an object of {len(node)} keys is no rule: one operator and its arguments"
        elif isinstance(node, list):
            for index, item in enumerate(node):
                yield from _faults(item, f"{path}[{index}]", evaluators)
        return
    name, arguments = known
    at = f"{path}.{name}"
    if name not in ARGUMENTS:
        yield at, f"is no operator of JSONLogic or flagd; they are {', '.join(sorted(ARGUMENTS))}"
        return
    least, most = ARGUMENTS[name]
    if len(arguments) < least or (most is not None and len(arguments) > most):
        wanted = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        yield at, f"takes {wanted} arguments, has {len(arguments)}"
        return
    yield from _own_faults(name, arguments, at, evaluators)
    for index, argument in enumerate(arguments):
        yield from _faults(argument, f"{at}[{index}]", evaluators)


def _own_faults(name: str, arguments: list[Any], at: str, evaluators: Mapping[str, Any] | None) -> Iterator[Fault]:
    if name == "$ref":
        if not isinstance(arguments[0], str):
            yield at, "names a rule of $evaluators, as a string"
        elif evaluators is not None and arguments[0] not in evaluators:
            yield at, f"{arguments[0]!r} is no rule of $evaluators"
    elif name == "sem_ver" and operation(arguments[1]) is None and arguments[1] not in VERSION_OPERATORS:
        yield f"{at}[1]", f"is none of {' '.join(VERSION_OPERATORS)}"
    elif name in ("starts_with", "ends_with"):
        for index, argument in enumerate(arguments):
            if operation(argument) is None and not isinstance(argument, str):
                yield f"{at}[{index}]", "is no string: the comparison would be null for everyone"
    elif name == "fractional":
        yield from _fractional_faults(arguments, at)


def _fractional_faults(arguments: list[Any], at: str) -> Iterator[Fault]:
    """One entry that cannot be read makes the whole rule null: everyone would get the default variant."""
    total = 0
    shares = arguments if isinstance(arguments[0], list) else arguments[1:]
    for index, share in enumerate(shares, start=len(arguments) - len(shares)):
        if not isinstance(share, list) or not 1 <= len(share) <= 2:
            yield f"{at}[{index}]", "is no [variant, weight]"
        elif len(share) == 2 and operation(share[1]) is None:
            if type(share[1]) is not int or share[1] < 0:
                yield f"{at}[{index}][1]", "a weight is a whole number, 0 or more"
            else:
                total += share[1]
        else:
            total += 1
    if not 0 < total <= WEIGHTS_SUM_MAX:
        yield at, f"weights add up to {total}; it must be 1 to {WEIGHTS_SUM_MAX}"
