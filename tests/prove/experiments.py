"""Experiments that are looked at all the time: how often equal variants are called different, how soon different ones are, how
soon it is found that users are not dealt as promised.

2,000 experiments for each figure, 4,000 of equal rates, 1,000 of each effect. Looks are after every user at first, later at each
half per cent more users for rates, at each 2 % for means and for intervals that leave out the truth, at each per cent for
effects. TIDEGATE_EXPERIMENTS names another number than 2,000.
"""

import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tests.detect import simulated_experiments as sim
from tests.detect.simulated_experiments import ALPHA, HEAVY, Found, Plan, found_at, generator, run
from tests.prove.kit import hold

from tidegate.detect.experiments import DOUBLE_MAX, EXPECTED, MISMATCH_ALPHA, doubled

EXPERIMENTS = int(os.environ.get("TIDEGATE_EXPERIMENTS", "2000"))
SEED = 31
RATES = (0.005, 0.01, 0.05, 0.2, 0.5)
SHARES = (0.5, 0.1)
EFFECTS = ((0.005, 0.5), (0.05, 0.05), (0.05, 0.1), (0.05, 0.2), (0.5, 0.02), (0.5, 0.05))
"""Rate of the control, and how much higher the treatment's is."""
DIFFERENT = ((0.005, 0.01), (0.02, 0.04), (0.1, 0.2), (0.99, 0.999))
MILLION = 1_000_000
NATS = math.log(1.0 / MISMATCH_ALPHA)
FOUND_WITHIN = 40_000
"""Users after which 48 to 52 for an even split must be known in every simulated experiment."""


def prove(_folder: Path) -> dict[str, Any]:
    equal = _told(_equal())
    covered = _told(_different())
    for name, found in (equal | covered).items():
        hold(found.rate <= ALPHA, f"{name}: {found.hits} of {found.experiments} are wrong, and {ALPHA:.0%} may be")
    mismatches = _mismatches()
    return {
        "alpha": ALPHA,
        "tuned_at_users": EXPECTED,
        "equal_variants_called_different": {name: found.shown() for name, found in equal.items()},
        "intervals_that_ever_leave_out_the_truth": {name: found.shown() for name, found in covered.items()},
        "users_until_an_effect_is_found": _effects(),
        "sample_ratio_mismatch": mismatches,
    }


def _told(plays: dict[str, Callable[[], Found]]) -> dict[str, Found]:
    found = {}
    for name, play in plays.items():
        one = found[name] = play()
        print(f"  {name}: {one.hits} of {one.experiments}, at most {one.bound:.2%} with 95 % confidence", flush=True)
    return found


def _equal() -> dict[str, Callable[[], Found]]:
    """Return what is to be played of equal variants, by what it is called in the result."""
    played: dict[str, Callable[[], Found]] = {}
    for share in SHARES:
        for rate in RATES:
            plan = Plan(MILLION, share, 0.005)
            play = partial(sim.aa_binary, SEED + len(played), 2 * EXPERIMENTS, plan, rate)
            played[f"rate {rate}, {share:.0%} treated, 1,000,000 users"] = play
        for name, draw in HEAVY.items():
            plan = Plan(50_000, share)
            play = partial(sim.aa_means, SEED + len(played), EXPERIMENTS, plan, draw)
            played[f"mean of {name}, {share:.0%} treated, 50,000 users"] = play
    each = Plan(5_000, 0.5, 0.0)
    played["rate 0.5, a look after every one of 5,000 users"] = partial(sim.aa_binary, SEED, EXPERIMENTS, each, 0.5)
    played["the same users, looks half a per cent apart"] = _thinned
    played["rate 0.05, done later, 20,000 users"] = _late
    played["mean of what 2,500 users do more and more, 100 looks"] = _growing
    anything = partial(sim.proposed, SEED, EXPERIMENTS, Plan(200_000))
    played["anything proposed of three equal variants and two metrics, 200,000 users"] = anything
    return played


def _thinned() -> Found:
    """The experiments that are looked at after every user, at the looks that all others have."""
    at = sim.looks(5_000, 0.005) - 50

    def one(number: int) -> int:
        return found_at(sim.binary(generator(SEED, number), Plan(5_000, 0.5, 0.0), 0.5, 0.5)[at], binary=True)

    return run(EXPERIMENTS, one)


def _late() -> Found:
    return run(EXPERIMENTS, lambda n: found_at(sim.late(generator(SEED, n), Plan(20_000), 0.05, 0.3), binary=True))


def _growing() -> Found:
    return run(EXPERIMENTS, lambda n: found_at(sim.growing(generator(SEED, n), Plan(2_500), 100), binary=False))


def _different() -> dict[str, Callable[[], Found]]:
    """Return what is to be played of variants that differ."""
    return {
        f"rates {rates[0]} and {rates[1]}, {share:.0%} treated, 1,000,000 users": partial(
            sim.left_out, SEED, EXPERIMENTS, Plan(MILLION, share), rates
        )
        for rates in DIFFERENT
        for share in SHARES
    }


def _effects() -> dict[str, Any]:
    """Return the table of power: an effect of so many per cent, a rate or a mean."""
    found = {}
    for rate, lift in EFFECTS:
        rates = (rate, rate * (1.0 + lift))
        fixed = sim.fixed_users(sum(one * (1.0 - one) for one in rates), rates[1] - rates[0])
        played = sim.power_binary(SEED, EXPERIMENTS // 2, Plan(fixed * 4, 0.5, 0.01), rates)
        found[f"rate {rate} + {lift:.0%}"] = sim.against_fixed(played, fixed)
    variance = math.exp(1.0) * (math.e - 1.0)
    fixed = sim.fixed_users(variance * (1.0 + 1.1**2), 0.1 * math.exp(0.5))
    plan = Plan(fixed * 4, 0.5, 0.01)

    def one(number: int) -> int:
        return found_at(sim.means(generator(SEED, number), plan, lambda rng, users: rng.lognormal(size=users), 1.1), binary=False)

    found["log-normal mean + 10%"] = sim.against_fixed(run(EXPERIMENTS // 2, one), fixed)
    for name, row in found.items():
        print(f"  {name}: {row}", flush=True)
    return found


def _mismatches() -> dict[str, Any]:
    began = time.monotonic()
    skewed = sim.mismatched(SEED, EXPERIMENTS, Plan(FOUND_WITHIN, 0.52, 0.01), 0.5, NATS)
    hold(skewed.hits == EXPERIMENTS, f"{EXPERIMENTS - skewed.hits} mismatches are not found within {FOUND_WITHIN} users")
    even = sim.mismatched(SEED, 10 * EXPERIMENTS, Plan(MILLION), 0.5, NATS)
    hold(even.rate <= MISMATCH_ALPHA, f"{even.hits} of {even.experiments} even splits are called uneven")
    doubles = run(5 * EXPERIMENTS, _doubled)
    hold(doubles.rate <= MISMATCH_ALPHA, f"{doubles.hits} of {doubles.experiments} with as many double exposures as may be")
    at = np.array(skewed.at)
    found = {
        "alpha": MISMATCH_ALPHA,
        "48_to_52_for_even": {
            "experiments": skewed.experiments,
            "users_half": int(np.median(at)),
            "users_95_percent": int(np.quantile(at, 0.95)),
            "users_most": int(at.max()),
        },
        "even_called_uneven_within_1,000,000_users": even.shown(),
        "as_many_double_exposures_as_may_be_called_too_many_within_1,000,000_users": doubles.shown(),
    }
    print(f"  mismatch ({time.monotonic() - began:.0f} s): {found}", flush=True)
    return found


def _doubled(number: int) -> int:
    """Play users of whom just as many as may be saw two variants; return when that was called too many."""
    ends = sim.looks(MILLION, 0.02)
    doubles = generator(SEED, number).binomial(np.diff(ends, prepend=0), DOUBLE_MAX).cumsum()
    for users, double in zip(ends.tolist(), doubles.tolist(), strict=True):
        if doubled(double, users) >= NATS:
            return int(users)
    return sim.NEVER
