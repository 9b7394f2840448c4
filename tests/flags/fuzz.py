"""Malformed definitions and hostile contexts, from a seed: by the suite some thousands, by ``make prove`` a hundred thousand.

Most of the definitions are sound ones with one or more parts replaced, nested or cut, or with a rule whose work multiplies; the
others are bytes of sound ones with some flipped. Contexts hold what JSON cannot hold too.
"""

import json
import time
from collections import Counter
from functools import partial
from random import Random
from typing import Any

import msgspec
from tests.flags.kit import NOW_S, definition
from tests.flags.matrix import Rules, context, flags

from tidegate.flags.evaluate import Asked, evaluate
from tidegate.flags.explain import explain
from tidegate.flags.prerequisites import settled
from tidegate.flags.published import Share, pinned, ramped
from tidegate.flags.store import Flags
from tidegate.wire.codec import Malformed
from tidegate.wire.flags import Bucketing, Kind, TopicKey, definition_faults, definition_of
from tidegate.wire.flagspecs import FlagSpec, Prerequisite

BEFORE = definition(default="on")
ACC = {"var": "accumulator"}
WIDE: list[Any] = [{"var": ""}, {"var": "x"}, ACC, [1, 2, 3], list(range(500)), "x" * 3_000]


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def deep(chance: Random, levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found] if chance.random() < 0.5 else {"!": found}
    return found


def bomb(chance: Random) -> Any:
    """A rule whose work multiplies."""
    rule: Any = chance.choice(WIDE)
    for _ in range(chance.randint(1, 7)):
        operator = chance.choice(["map", "filter", "reduce", "all", "cat", "merge", "*", "in", "===", "fractional", "or", "$ref"])
        match operator:
            case "map" | "filter" | "all":
                rule = {operator: [chance.choice(WIDE), rule]}
            case "reduce":
                rule = {
                    "reduce": [
                        chance.choice(WIDE),
                        chance.choice([[ACC, ACC], {"cat": [ACC, ACC]}, {"merge": [ACC, rule]}, rule]),
                        rule,
                    ]
                }
            case "$ref":
                rule = {"or": [{"!": [{"$ref": chance.choice(["a", "b", "nope"])}]}, rule]}
            case _:
                rule = {operator: [rule, rule]}
    return rule


def mangled(chance: Random, value: Any) -> Any:
    """Replace something somewhere."""
    if chance.random() < 0.3 or not isinstance(value, dict | list) or not value:
        return chance.choice(
            [None, True, 0, -1, 1e308, 10**30, "", "on", "x" * 5_000, [], {}, {"a": 1, "b": 2}, deep(chance, 150), bomb(chance)]
        )
    changed = dict(value) if isinstance(value, dict) else list(value)
    at = chance.choice(list(changed)) if isinstance(changed, dict) else chance.randrange(len(changed))
    if chance.random() < 0.1:
        del changed[at]
    else:
        changed[at] = mangled(chance, changed[at])
    return changed


def hostile(chance: Random) -> Any:
    """A context, or what is none."""
    data: Any = context(chance)
    if chance.random() < 0.05:
        return chance.choice([None, [], "x", 5, Odd()])
    circle: list[Any] = []
    circle.append(circle)
    tree: Any = "x"
    for _ in range(50):
        tree = [tree, tree]
    strange = [
        float("nan"), float("inf"), 10**5_000, "\ud800", b"x", ("a", 1), {1: 2}, Odd(), circle, tree, "x" * 100_000,
        deep(chance, 600), [[]] * 10_000,
    ]  # fmt: skip
    for name in chance.sample(["country", "email", "version", "plan", "age", "roles", "user", "targetingKey", "x"], 3):
        data[name] = chance.choice(strange)
    return data


class Fuzz:
    """Feeds one store; after each record the flag is what it was, or what was taken, and every question has an answer."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.sound = [json.dumps(flag) for flag in flags(self.chance)["flags"].values()]
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0

    def record(self) -> tuple[str, bytes]:
        chance = self.chance
        if chance.random() < 0.1:
            rules = {name: mangled(chance, Rules(chance, ["on"], ["a", "b", "c"]).condition(3)) for name in "abc"}
            return "$evaluators", json.dumps(rules).encode()
        if chance.random() < 0.05:
            return "$metadata", json.dumps(
                {"bucketing": chance.choice(["v2", "v3", "v4", 3, None]), "a": chance.choice([1, []])}
            ).encode()
        text = chance.choice(self.sound)
        if chance.random() < 0.05:
            plain = json.loads(text) | {"targeting": {"if": [bomb(chance), "on", "off"]}}
            return "f", json.dumps(plain).encode()
        if chance.random() < 0.6:
            plain = json.loads(text)
            for _ in range(chance.randint(1, 3)):
                plain = mangled(chance, plain)
            return "f", json.dumps(plain).encode()
        data = bytearray(text.encode())
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return "f", bytes(data)

    def run(self, records: int) -> None:
        held = Flags()
        held.put(TopicKey("web", "f"), BEFORE)
        in_force = BEFORE
        for _ in range(records):
            name, value = self.record()
            try:
                held.put(TopicKey("web", name), value)
                in_force = value if name == "f" else in_force
                self.outcomes["taken"] += 1
                if name == "f":
                    self.publish(value)
            except Malformed:
                self.outcomes["refused"] += 1
            assert held.sets["web"].flags["f"].value == in_force
            definition_faults(value, {"a": True})
            self.ask(held)

    def publish(self, value: bytes) -> None:
        """What can be read can be killed; what cannot be said as one definition with another is refused."""
        variant = next(iter(definition_of(value).variants))
        assert definition_of(pinned(value, variant, "killed")).default_variant == variant
        need = Prerequisite(flag="base", variants=(variant,))
        spec = FlagSpec(definition=msgspec.Raw(BEFORE), prerequisites=(need,), immediate=True)
        for publish in (
            partial(ramped, value, BEFORE, Share(salt="s/", weight=5_000)),
            partial(settled, spec, {"base": value}, {"a": {"!": [{"$ref": "b"}]}, "b": False}, Bucketing.V2),
        ):
            try:
                definition_of(publish())
                self.outcomes["published"] += 1
            except Malformed:
                self.outcomes["not published"] += 1

    def ask(self, held: Flags) -> None:
        question = Asked(context=hostile(self.chance), now_s=NOW_S, kind=self.chance.choice([None, *Kind]), default="mine")
        began_s = time.process_time()
        found = evaluate(held.sets["web"], "f", question)
        self.slowest_s = max(self.slowest_s, time.process_time() - began_s)
        self.outcomes[str(found.error_code or found.reason)] += 1
        assert found.variant is not None or found.value == "mine"
        if self.chance.random() < 0.1:
            told = explain(held.sets["web"], "f", question)
            assert (told.resolution.variant, told.resolution.reason, told.resolution.error_code) == (
                found.variant,
                found.reason,
                found.error_code,
            )
            assert len(told.steps) <= 1_000
