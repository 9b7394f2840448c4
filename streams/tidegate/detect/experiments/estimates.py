"""How far the means of two variants are apart: an interval that is right at every look at once, and what speaks against none.

Of a difference ``d`` with variance ``v`` after ``n`` users in both arms, Robbins' normal mixture (1970) makes an e-value against
no difference: the likelihood ratio of ``d``, averaged over true differences that are spread normally around 0 with a variance
that is a fixed multiple of ``n * v``. The true differences against which it stays below 1 / alpha are the confidence sequence, so
the interval leaves out 0 exactly where the e-value reaches 1 / alpha. The chance that it ever leaves out the truth, however often
one looks, is at most alpha as the burn-in grows (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, *Time-uniform central limit
theory and asymptotic confidence sequences*, arXiv 2103.06476; Bibaut, Kallus and Lindon, arXiv 2212.14411; the mixture: Howard,
Ramdas, McAuliffe and Sekhon, arXiv 1810.08240). Asymptotic: it is exact for normal values of known variance alone.

What that leaves open is closed here; ``make prove ARGS="--only experiments"`` measures it:

* The variance is the larger of two: of each arm's own values, and of the values of both together. They are the same in arms of
  equal size. In a small arm the spread of skewed values is small just when their mean is: where one user in a hundred spends
  something and a tenth of the users are treated, each arm's own variance called 17 % of 1,000 A/A experiments different at a
  stated 5 %, the larger one none.
* Nothing is said before both arms have ``USERS_MIN`` users. Of a binary metric that is ``USERS_MIN_BINARY``, and in the smaller
  arm, at the rate of both, ``EVENTS_MIN`` that did it and as many that did not must be due: earlier the normal law does not hold.
* The width is tuned to ``EXPECTED`` users: at a tenth of them the interval is 27 % wider than it could be, at ten times 7 %.

A user's value may grow after he was first seen: what is judged at a look is what everybody has done by then. Looks are then more
alike than those of a sum of independent parts, so fewer of them surprise.
"""

import math

from msgspec import Struct

EXPECTED = 10_000
"""Users of both arms together at which the interval is narrowest, in standard deviations."""
USERS_MIN = 1_000
"""In each arm, of a mean: with values of which one in a hundred is not 0, ten are due."""
USERS_MIN_BINARY = 100
EVENTS_MIN = 25
"""Due in the smaller arm: with 5, an interval for a rate that doubled in a tenth of the users leaves it out in 5 to 6 %."""
_ROUNDING = 1e-9
"""Part of the mean square that a variance taken from sums cannot fall below: less is rounding."""


class Arm(Struct, frozen=True):
    """One variant so far: users who saw it, the sum of their values, the sum of the squares of their values.

    A user has one value, which may be 0. Of a binary metric it is 0 or 1, so ``total`` and ``squares`` are who did it.
    """

    users: int = 0
    total: float = 0.0
    squares: float = 0.0


class Estimate(Struct, frozen=True):
    """How far the treatment's mean is above the control's.

    ``low`` to ``high`` holds the truth at all looks at once with probability 1 - alpha; both are infinite while too little was
    seen. ``log_e``: nats against no difference; ``p_value`` = exp(-log_e), at most 1: its minimum over looks is a p-value still.
    ``relative``: difference by the control's mean; None where that is 0.
    """

    difference: float
    low: float
    high: float
    log_e: float
    p_value: float
    relative: float | None


def compare(control: Arm, treatment: Arm, *, alpha: float, binary: bool, expected: float = EXPECTED) -> Estimate:
    """Return how far a treatment is from the control.

    ``alpha`` in (0, 1): chance that the interval ever leaves out the truth, divided by the caller among what he compares.
    ``binary``: all values are 0 or 1. ``expected``: users of both arms at which the interval is to be narrowest; fixed before
    anybody looks.

    >>> found = compare(Arm(5_000, 500, 500), Arm(5_000, 625, 625), alpha=0.05, binary=True)
    >>> [round(value, 4) for value in (found.difference, found.low, found.high, found.log_e, found.relative)]
    [0.025, 0.0058, 0.0442, 5.8534, 0.25]
    """
    level = control.total / control.users if control.users else 0.0
    difference = treatment.total / treatment.users - level if control.users and treatment.users else 0.0
    if not math.isfinite(difference):
        return _nothing_known(0.0, None)
    relative = difference / abs(level) if level else None
    if not enough(control, treatment, binary=binary):
        return _nothing_known(difference, relative)
    variance = _variance(control, treatment)
    if not 0.0 < variance < math.inf:
        return _nothing_known(difference, relative)
    gained = (control.users + treatment.users) / expected * _tuned(alpha)
    kept = gained / (1.0 + gained)
    log_e = 0.5 * (difference * difference / variance * kept - math.log1p(gained))
    half = math.sqrt(variance / kept * (math.log1p(gained) - 2.0 * math.log(alpha)))
    return Estimate(
        difference=difference,
        low=difference - half,
        high=difference + half,
        log_e=log_e,
        p_value=min(1.0, math.exp(-log_e)),
        relative=relative,
    )


def enough(control: Arm, treatment: Arm, *, binary: bool) -> bool:
    """Return whether both arms are old enough for ``compare`` to say anything."""
    smaller, users = min(control.users, treatment.users), control.users + treatment.users
    if not binary:
        return smaller >= USERS_MIN
    did = control.total + treatment.total
    return smaller >= USERS_MIN_BINARY and min(did, users - did) / users * smaller >= EVENTS_MIN


def _tuned(alpha: float) -> float:
    """Return about which variance of the mixture, in variances of the difference, makes the interval narrowest (Howard
    and others give it).
    """
    nats = -2.0 * math.log(alpha)
    return nats + math.log1p(nats)


def _variance(control: Arm, treatment: Arm) -> float:
    """Return the variance of the difference of means: of each arm's own values or of all of them, whichever is larger."""
    both = Arm(control.users + treatment.users, control.total + treatment.total, control.squares + treatment.squares)
    own = _spread(control) / control.users + _spread(treatment) / treatment.users
    return max(own, _spread(both) * (1.0 / control.users + 1.0 / treatment.users))


def _spread(arm: Arm) -> float:
    """Return the variance of the values of an arm of two users or more."""
    mean, square = arm.total / arm.users, arm.squares / arm.users
    return max(square - mean * mean, _ROUNDING * square) * arm.users / (arm.users - 1)


def _nothing_known(difference: float, relative: float | None) -> Estimate:
    return Estimate(difference=difference, low=-math.inf, high=math.inf, log_e=0.0, p_value=1.0, relative=relative)
