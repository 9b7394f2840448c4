"""A matrix of flags, contexts and callers, generated from a seed: whoever evaluates flags must agree on every case.

``flags(chance)`` is one flagd file, ``cases(chance, file, count)`` are questions about it: every type asked for every type of
flag, rules of every operator with arguments of right and wrong types, shared rules, disabled, unknown and defaultless flags,
missing keys.
"""

from random import Random
from typing import Any, NamedTuple

from tidegate.wire.flags import Kind

DEFAULTS: dict[Kind, Any] = {
    Kind.BOOLEAN: False,
    Kind.STRING: "code",
    Kind.INTEGER: -1,
    Kind.FLOAT: -1.5,
    Kind.OBJECT: {"code": True},
}
VARIANTS: list[dict[str, Any]] = [
    {"true": True, "false": False},
    {"on": True, "off": False},
    {"red": "#f00", "green": "#0f0", "none": ""},
    {"one": 1, "two": 2, "zero": 0},
    {"half": 0.5, "whole": 1.0, "int": 3},
    {"small": {"size": 1}, "none": {}, "deep": {"a": {"b": [1, 2]}}},
    {"3": "three", "1.5": "one and a half", "[1, 2]": "list"},
]
WORDS = ["nl", "de", "a@example.com", "", "1.2.3", "v2", "1.10.0-rc.1", "pro", "3", "true", "héllo"]
NAMES = [
    "country",
    "email",
    "version",
    "plan",
    "age",
    "roles",
    "user.name",
    "targetingKey",
    "$flagd.flagKey",
    "missing",
    "",
    "a.b.0",
]
SCALARS: list[Any] = [None, True, False, 0, 1, 3, -2, 1.5, 0.0, *WORDS]
PLAIN = ["==", "!=", "===", "!==", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in", "min", "max", "cat", "substr", "merge"]


class Case(NamedTuple):
    key: str
    kind: Kind
    default: Any
    context: dict[str, Any]


class Rules:
    """Rules by a grammar: mostly what people write, now and then what nobody should."""

    def __init__(self, chance: Random, variants: list[str], shared: list[str]) -> None:
        self.chance = chance
        self.variants = variants
        self.shared = shared

    def outcome(self, depth: int = 3) -> Any:
        pick = self.chance.random()
        if depth == 0 or pick < 0.35:
            return self.chance.choice([*self.variants, *self.variants, None, "no such variant", True, 3])
        if pick < 0.75:
            return {"if": [self.condition(depth - 1), self.outcome(depth - 1), self.outcome(depth - 1)]}
        return self.share(depth)

    def share(self, depth: int) -> Any:
        first = self.chance.choice([[], [], [], [self.value(1)], [{"cat": ["salt", {"var": "targetingKey"}]}]])
        shares = [[self.outcome(0), self.chance.choice([0, 1, 10, 50, 1000])] for _ in range(self.chance.randint(1, 4))]
        if self.chance.random() < 0.15:
            shares.append(self.chance.choice([["x", "many"], ["x", 1.5], [], "x", ["on"], ["x", -5], ["x", True], [1, 2, 3]]))
        return {"fractional": first + shares}

    def condition(self, depth: int) -> Any:
        pick = self.chance.random()
        if self.shared and pick < 0.1:
            return {"$ref": self.chance.choice(self.shared)}
        if depth > 0 and pick < 0.35:
            return {self.chance.choice(["and", "or"]): [self.condition(depth - 1) for _ in range(self.chance.randint(1, 3))]}
        if depth > 0 and pick < 0.45:
            return {self.chance.choice(["!", "!!"]): [self.condition(depth - 1)]}
        if pick < 0.6:
            relation = self.chance.choice(["=", "!=", "<", "<=", ">", ">=", "^", "~", "?"])
            return {"sem_ver": [{"var": "version"}, relation, self.chance.choice(["1.2.3", "1", "v1.2", "x", "1.2.3-rc"])]}
        if pick < 0.7:
            return {self.chance.choice(["starts_with", "ends_with"]): [self.value(depth), self.value(0)]}
        return self.value(depth)

    def value(self, depth: int) -> Any:
        pick = self.chance.random()
        if depth <= 0 or pick < 0.3:
            return self.chance.choice([{"var": self.chance.choice(NAMES)}, self.chance.choice(SCALARS)])
        if pick < 0.4:
            return {"var": [self.chance.choice(NAMES), self.chance.choice(SCALARS)]}
        if pick < 0.5:
            return [self.value(depth - 1) for _ in range(self.chance.randint(0, 3))]
        if pick < 0.6:
            operator = self.chance.choice(["map", "filter", "all", "some", "none", "reduce"])
            listed = self.chance.choice([{"var": "roles"}, [1, 2, 3], self.value(depth - 1)])
            inner = {self.chance.choice(["+", "==", "cat"]): [{"var": self.chance.choice(["", "current", "accumulator"])}, 1]}
            return {operator: [listed, inner, *self.chance.choice([[], [0], [{"var": "age"}]])]}
        if pick < 0.65:
            return {
                self.chance.choice(["missing", "missing_some"]): self.chance.choice([["country", "nope"], [1, ["email", "x"]]])
            }
        if pick < 0.68:
            return {"no_such": [self.value(0)]}
        return {self.chance.choice(PLAIN): [self.value(depth - 1) for _ in range(self.chance.randint(1, 3))]}


def flags(chance: Random, count: int = 200) -> dict[str, Any]:
    """Return a flagd file of so many flags with shared rules, in the generation that the stock evaluator speaks."""
    shared = {name: Rules(chance, [], []).condition(2) for name in ("staff", "beta", "old")}
    found = {}
    for number in range(count):
        variants = chance.choice(VARIANTS)
        names = list(variants)
        flag: dict[str, Any] = {
            "state": chance.choices(["ENABLED", "DISABLED"], [9, 1])[0],
            "variants": variants,
            "defaultVariant": chance.choice([*names, *names, None]),
        }
        if chance.random() < 0.1:
            del flag["defaultVariant"]
        if chance.random() < 0.75:
            rule = Rules(chance, names, [*shared, "no such rule"]).outcome()
            flag["targeting"] = rule if isinstance(rule, dict) else {"if": [True, rule]}
        elif chance.random() < 0.3:
            flag["targeting"] = {}
        if chance.random() < 0.4:
            flag["metadata"] = {"owner": "team", "version": number, "live": True}
        found[f"flag-{number}"] = flag
    return {"flags": found, "$evaluators": shared, "metadata": {"flagSetId": "web", "version": "7", "bucketing": "v3"}}


def context(chance: Random) -> dict[str, Any]:
    every: dict[str, Any] = {
        "targetingKey": chance.choice([f"u{chance.randrange(1000)}", f"u{chance.randrange(1000)}", ""]),
        "country": chance.choice(WORDS),
        "email": chance.choice(["a@example.com", "b@other.org", 5, None]),
        "version": chance.choice(["1.2.3", "v1.4", "2", 1, 1.2, "1.2.3-rc.1", "x", None, ["1.2.3"]]),
        "plan": chance.choice(SCALARS),
        "age": chance.choice([17, 18, 42.5, "42", None, True]),
        "roles": chance.choice([["admin", "dev"], [], "admin", [1, 2, 3], {"a": 1}, None]),
        "user": chance.choice([{"name": "kim"}, {"name": None}, "kim", None]),
        "a": {"b": ["x", {"c": 1}]},
    }
    return {name: value for name, value in every.items() if chance.random() < 0.8}


def cases(chance: Random, file: dict[str, Any], count: int) -> list[Case]:
    """Return so many questions."""
    keys = [*file["flags"], "no such flag", "flag-1000"]
    kinds = [chance.choice(list(Kind)) for _ in range(count)]
    return [Case(chance.choice(keys), kind, DEFAULTS[kind], context(chance)) for kind in kinds]
