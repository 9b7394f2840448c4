"""Simulated experiments that are looked at all the time, held against stated rates: few for the suite, many for ``make prove``.

Numpy makes the users; what is looked at are sums, and every look that could find anything asks the product's own functions. At
the others it is certain from a bound that nothing can be found, which numpy knows for all of them at once. Looks are close
together, each with a small part more users than the last (``looks``); the proof tells what a look after every user would find.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.detect.experiments import Arm, Design, Metric, Proposed, Seen, Why, compare, mismatch, propose

ALPHA = 0.05
NEVER = 0
"""Users until something was found that never was."""
NORMAL_80, NORMAL_97 = 0.8416, 1.96

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
Counts = NDArray[np.int64]
Sums = NDArray[np.float64]
"""[looks, (users, total, squares) of the control, the same of the treatment]."""


class Plan(NamedTuple):
    """What is simulated: ``users`` in all, ``share`` of them in the treatment, looks that are ``step`` apart."""

    users: int
    share: float = 0.5
    step: float = 0.02


class Found(NamedTuple):
    """Of so many experiments: in how many something was found, and after how many users each, ``NEVER`` where not."""

    experiments: int
    at: list[int]

    @property
    def hits(self) -> int:
        return sum(at != NEVER for at in self.at)

    @property
    def rate(self) -> float:
        return self.hits / self.experiments

    @property
    def bound(self) -> float:
        """The rate is at most this with 95 % confidence (Clopper and Pearson, one-sided)."""
        return upper(self.hits, self.experiments)

    def shown(self) -> dict[str, Any]:
        return {"experiments": self.experiments, "found": self.hits, "rate": self.rate, "bound_95": round(self.bound, 5)}


def upper(hits: int, number: int) -> float:
    """Return the rate at which so few hits have a chance of 5 %."""
    low, high = hits / number, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        few = sum(
            math.exp(_log_choose(number, k) + k * math.log(rate) + (number - k) * math.log1p(-rate)) for k in range(hits + 1)
        )
        low, high = (rate, high) if few > 0.05 else (low, rate)
    return high


def _log_choose(number: int, k: int) -> float:
    return math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1)


def looks(users: int, step: float, first: int = 50) -> Counts:
    """Return after how many users somebody looks: each time a part ``step`` more, at least one more."""
    found = [min(first, users)]
    while found[-1] < users:
        found.append(min(users, max(found[-1] + 1, int(found[-1] * (1.0 + step)))))
    return np.array(found)


def binary(rng: np.random.Generator, plan: Plan, control: float, treatment: float) -> Sums:
    """Return the sums of an experiment on what a user does or not, at these rates."""
    more = np.diff(looks(plan.users, plan.step), prepend=0)
    treated = rng.binomial(more, plan.share)
    users = np.stack((more - treated, treated))
    did = rng.binomial(users, np.array([[control], [treatment]]))
    return _columns(users.cumsum(axis=1), did.cumsum(axis=1), did.cumsum(axis=1))


def means(rng: np.random.Generator, plan: Plan, draw: Draw, times: float = 1.0) -> Sums:
    """Return the sums of an experiment on values; the treatment's are ``times`` as large."""
    treated = rng.random(plan.users) < plan.share
    values = draw(rng, plan.users) * np.where(treated, times, 1.0)
    sides = np.stack((~treated, treated))
    ends = looks(plan.users, plan.step) - 1
    return _columns(*((sides * values**power).cumsum(axis=1)[:, ends] for power in (0, 1, 2)))


def late(rng: np.random.Generator, plan: Plan, rate: float, delay: float) -> Sums:
    """Return the sums where who does it does it later: after ``delay`` of the whole experiment on average, most after its end."""
    treated = rng.random(plan.users) < plan.share
    at = np.arange(plan.users) + rng.exponential(delay * plan.users, plan.users)
    at = np.where(rng.random(plan.users) < rate, at, np.inf)
    ends = looks(plan.users, plan.step)
    sides = (~treated, treated)
    users = np.stack([side.cumsum()[ends - 1] for side in sides])
    did = np.stack([np.searchsorted(np.sort(at[side]), ends - 1, side="right") for side in sides])
    return _columns(users, did, did)


def growing(rng: np.random.Generator, plan: Plan, times: int) -> Sums:
    """Return the sums at so many looks where all users are there from the first on and do more and more, each at his rate."""
    treated = rng.random(plan.users) < plan.share
    often = rng.gamma(0.5, 2.0, plan.users)
    values = rng.poisson(often, (times, plan.users)).cumsum(axis=0).astype(np.float64)
    sides = np.stack((~treated, treated)).astype(np.float64)
    users = np.repeat(sides.sum(axis=1)[:, None], times, axis=1)
    return _columns(users, sides @ values.T, sides @ (values**2).T)


def _columns(users: Any, total: Any, squares: Any) -> Sums:
    """Return [looks, 6] of three [sides, looks]."""
    return np.stack((users, total, squares), axis=1).reshape(6, -1).T.astype(np.float64)


def found_at(sums: Sums, *, binary: bool, truth: float = 0.0, alpha: float = ALPHA) -> int:
    """Return after how many users the interval leaves out a difference for the first time."""
    for row in sums[surprising(sums, truth, alpha)].tolist():
        seen = compare(Arm(int(row[0]), *row[1:3]), Arm(int(row[3]), *row[4:6]), alpha=alpha, binary=binary)
        if not seen.low <= truth <= seen.high:
            return int(row[0] + row[3])
    return NEVER


def surprising(sums: Sums, truth: float, alpha: float) -> NDArray[np.bool_]:
    """Return the looks at which a difference may be left out: it is more than sqrt(2 log(1 / alpha)) deviations away there.

    The deviation is the pooled one, than which the product's own is never smaller; the mixture needs more than that everywhere.
    """
    control, treatment = sums[:, :3], sums[:, 3:]
    both = control + treatment
    mean = both[:, 1] / both[:, 0]
    variance = (both[:, 2] / both[:, 0] - mean**2) * both[:, 0] / np.maximum(control[:, 0] * treatment[:, 0], 1e-9)
    apart = treatment[:, 1] / np.maximum(treatment[:, 0], 1e-9) - control[:, 1] / np.maximum(control[:, 0], 1e-9) - truth
    found: NDArray[np.bool_] = apart**2 >= 2.0 * math.log(1.0 / alpha) * variance * (1.0 - 1e-9)
    return found


def run(experiments: int, one: Callable[[int], int]) -> Found:
    """Play so many, each from its number."""
    return Found(experiments, [one(number) for number in range(experiments)])


def aa_binary(seed: int, experiments: int, plan: Plan, rate: float) -> Found:
    """Both variants are the same: how often they are called different."""
    return run(experiments, lambda n: found_at(binary(generator(seed, n), plan, rate, rate), binary=True))


def aa_means(seed: int, experiments: int, plan: Plan, draw: Draw) -> Found:
    """Likewise of values."""
    return run(experiments, lambda n: found_at(means(generator(seed, n), plan, draw), binary=False))


def left_out(seed: int, experiments: int, plan: Plan, rates: tuple[float, float]) -> Found:
    """Variants differ: how often the interval ever leaves out by how much."""
    truth = rates[1] - rates[0]
    return run(experiments, lambda n: found_at(binary(generator(seed, n), plan, *rates), binary=True, truth=truth))


def power_binary(seed: int, experiments: int, plan: Plan, rates: tuple[float, float]) -> Found:
    """Variants differ: after how many users that is found."""
    return run(experiments, lambda n: found_at(binary(generator(seed, n), plan, *rates), binary=True))


def fixed_users(variance: float, difference: float) -> int:
    """Return the users of both arms, together, of a test with one look: 5 % on two sides, power 80 %.

    ``variance``: the sum of both arms'.
    """
    return math.ceil(2.0 * (NORMAL_97 + NORMAL_80) ** 2 * variance / difference**2)


def against_fixed(found: Found, fixed: int) -> dict[str, Any]:
    """Return a row of the table: users until an effect is found beside those of a test with one look."""
    at = np.array(sorted(at if at != NEVER else math.inf for at in found.at))
    quantiles = {f"users_{name}": _whole(at[int(share * len(at))]) for name, share in (("half", 0.5), ("80_percent", 0.8))}
    early = {"found_before_fixed": round(float((at <= fixed).mean()), 3), "found": round(found.rate, 3)}
    return {"experiments": found.experiments, "fixed_horizon_users": fixed, **quantiles, **early}


def _whole(users: float) -> int | None:
    return int(users) if math.isfinite(users) else None


def mismatched(seed: int, experiments: int, plan: Plan, promised: float, log_threshold: float) -> Found:
    """Users are dealt by ``plan.share``: after how many it is found that ``promised`` was another."""
    weights = {"control": 1.0 - promised, "treatment": promised}

    def one(number: int) -> int:
        more = np.diff(looks(plan.users, plan.step, 1), prepend=0)
        treated = generator(seed, number).binomial(more, plan.share)
        counts = np.stack((more - treated, treated)).cumsum(axis=1)
        # No average of likelihood ratios is above the largest one.
        most = (counts * np.log(np.maximum(counts, 1) / (counts.sum(axis=0) * np.array([[1.0 - promised], [promised]])))).sum(
            axis=0
        )
        for control, treatment in counts[:, most >= log_threshold - 1e-6].T.tolist():
            if mismatch({"control": control, "treatment": treatment}, weights) >= log_threshold:
                return int(control + treatment)
        return NEVER

    return run(experiments, one)


DESIGN = Design(
    control="control",
    weights={"control": 0.5, "blue": 0.25, "red": 0.25},
    primary=Metric(name="buys", binary=True),
    guards=(Metric(name="errs", binary=True, increase=False),),
    run_s_min=0.0,
)


def proposed(seed: int, experiments: int, plan: Plan) -> Found:
    """Three equal variants and two metrics: how often anything is proposed but to go on."""

    def one(number: int) -> int:
        for users, buys, errs in tables(generator(seed, number), plan):
            arms = {
                name: {variant: Arm(users[variant], float(did[variant]), float(did[variant])) for variant in users}
                for name, did in (("buys", buys), ("errs", errs))
            }
            found = propose(DESIGN, Seen(ran_s=1.0, users=users, arms=arms))
            if found.outcome is not Proposed.KEEP_RUNNING or found.reason is Why.GUARD_WORSE:
                return sum(users.values())
        return NEVER

    return run(experiments, one)


def tables(rng: np.random.Generator, plan: Plan) -> Iterator[tuple[dict[str, int], ...]]:
    """Yield users of each variant, who bought (5 %), and who met an error (1 %), look by look."""
    more = np.diff(looks(plan.users, plan.step), prepend=0)
    users = np.stack([rng.multinomial(count, list(DESIGN.weights.values())) for count in more])
    every = [users, rng.binomial(users, 0.05), rng.binomial(users, 0.01)]
    for rows in zip(*(one.cumsum(axis=0).tolist() for one in every), strict=True):
        yield tuple(dict(zip(DESIGN.weights, row, strict=True)) for row in rows)


def generator(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng((seed, number))


def spenders(rng: np.random.Generator, users: int) -> NDArray[np.float64]:
    """Return what users spend: one in a hundred something, log-normally with a deviation of 1.5."""
    found: NDArray[np.float64] = (rng.random(users) < 0.01) * rng.lognormal(3.0, 1.5, users)
    return found


def lognormal(rng: np.random.Generator, users: int) -> NDArray[np.float64]:
    """Return values of a log-normal law with a deviation of 2: a mean of ten thousand is still skewed."""
    return rng.lognormal(0.0, 2.0, users)


def pareto(rng: np.random.Generator, users: int) -> NDArray[np.float64]:
    """Return values with a tail of power 2.5: a variance, and no third moment."""
    found: NDArray[np.float64] = rng.pareto(2.5, users) + 1.0
    return found


HEAVY: dict[str, Draw] = {"spenders": spenders, "lognormal_2": lognormal, "pareto_2.5": pareto}
