"""Shares of generated users, held against what chance allows: used by the suite on few users, by ``make prove`` on a million."""

import math
from typing import Any

from tests.flags.kit import asked, definition, flag_set

from tidegate.flags.evaluate import evaluate
from tidegate.flags.published import WEIGHT_ALL, Share, ramped
from tidegate.flags.store import FlagSet

SIGMAS = 5.0
"""Once in 1.7 million: with some dozens of shares looked at, a false alarm about every 30,000 runs of other users."""
WEIGHTS = {"a": 5000, "b": 3000, "c": 1500, "d": 499, "e": 1}
RAMPS = [1, 100, 1_000, 5_000, 9_900]
OFF, ON = definition(default="off"), definition(default="on")
SPLIT = definition({"fractional": [[name, weight] for name, weight in WEIGHTS.items()]}, None, variants={n: n for n in WEIGHTS})


def user(number: int) -> str:
    return f"user-{number}@example.com"


def off_by(found: int, users: int, share: float) -> float:
    """Return how many standard deviations a count is from its expectation."""
    return abs(found - users * share) / math.sqrt(users * share * (1 - share))


def ramp(salt: str, weight: int, **slots: int) -> bytes:
    return ramped(ON, OFF, Share(salt=salt, weight=weight, **slots))


def measured(users: int, bucketing: str) -> dict[str, Any]:
    """Deal so many users; return the largest deviation of a count in standard deviations, and how many moved out of a growing
    share or are in two flags of one layer (0).
    """
    steps = {f"w{weight}": ramp("one/", weight) for weight in RAMPS}
    half, tenth = {"first": 0, "count": 5_000}, {"first": 5_000, "count": 1_000}
    layers = {"first": ramp("layer/l/", WEIGHT_ALL, **half), "second": ramp("layer/l/", 5_000, **tenth)}
    flags = flag_set(bucketing, split=SPLIT, one=ramp("one/", 5_000), other=ramp("other/", 5_000), **steps, **layers)
    counts = dict.fromkeys([*WEIGHTS, *steps, *layers, "one and other", "one and a"], 0)
    left = doubled = 0
    for number in range(users):
        question = asked({"targetingKey": user(number)})
        held = [name for name in steps if _on(flags, name, question)]
        left += held != list(steps)[len(steps) - len(held) :]
        split = evaluate(flags, "split", question).variant
        one = _on(flags, "one", question)
        layered = [name for name in layers if _on(flags, name, question)]
        doubled += len(layered) > 1
        both = (["one and other"] if one and _on(flags, "other", question) else []) + (
            ["one and a"] if one and split == "a" else []
        )
        for name in [*held, split, *layered, *both]:
            counts[name] += 1
    share = {name: weight / WEIGHT_ALL for name, weight in WEIGHTS.items()} | {
        f"w{weight}": weight / WEIGHT_ALL for weight in RAMPS
    }
    share |= {"first": 0.5, "second": 0.05, "one and other": 0.25, "one and a": 0.25}
    return {
        "users": users,
        "bucketing": bucketing,
        "counts": counts,
        "sigmas_most": round(max(off_by(counts[name], users, share[name]) for name in counts), 2),
        "moved_out_by_growth": left,
        "in_two_flags_of_a_layer": doubled,
    }


def _on(flags: FlagSet, key: str, question: Any) -> bool:
    return evaluate(flags, key, question).variant == "on"
