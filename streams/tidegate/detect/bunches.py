"""Errors come in bunches: a client tries again and fails again. So ten errors of one second may be one event, not ten.

How bunched the errors of a service are, is learned by DRIFT in quiet time (``drift.past.dispersion``: variance over mean). A
limit that counts errors as if each were an event of its own is broken by luck alone.
"""

import math

from tidegate.detect.drift.learned import SAFETY
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.past import dispersion as scatter

DISPERSION_MIN = 2.0
"""Of a service that was never seen: bunches of one and a half on average. Most clients try at least once more."""
DISPERSION_MAX = 6.0
"""More than this, bunches of three and a half, is not retries but incidents of a minute, and those have a control."""


def bunching(past: Past) -> float:
    """Return variance over mean of a service's errors, as far as bunches explain it.

    With a margin (``SAFETY``): what is learned in half an hour of few errors is off by a third, and too little rolls back.
    """
    return min(DISPERSION_MAX, max(DISPERSION_MIN, SAFETY * float(scatter(past)[0])))


def bunched_nats(part: float, usual: float, dispersion: float) -> float:
    """Return how strongly ``part`` errors speak against an expectation of at most ``usual``, in nats.

    Null hypothesis: errors come in bunches; those are Poisson, ``usual`` errors at most are to be expected, and their sizes are
    geometric with a mean of ``(dispersion + 1) / 2``: the law of Polya and Aeppli, whose variance is ``dispersion`` times its
    mean. Guarantee: Chernoff's bound, that so many errors or more have probability at most exp(-nats), at one look. It is
    ``sup z: part * log z - usual / size * (z - 1) / (1 - q z)`` with ``q = 1 - 1 / size``; the supremum is the root of a
    quadratic. Requests that run out, and any smaller ``usual``, only lower the probability. Chernoff, Ann. Math. Stat. 23
    (1952) 493; Aeppli, Zur Theorie verketteter Wahrscheinlichkeiten (1924); Johnson, Kemp, Kotz, Univariate Discrete
    Distributions (2005), 9.7.

    >>> [round(bunched_nats(10, 2.5, dispersion), 2) for dispersion in (1, 2, 6)], bunched_nats(2, 2.5, 2)
    ([6.36, 2.61, 0.84], 0.0)
    """
    if part <= usual:
        return 0.0
    if usual <= 0:
        return math.inf
    size = (dispersion + 1.0) / 2.0
    again = 1.0 - 1.0 / size
    bunches = usual / size
    thin = bunches / size
    at = 2.0 * part / (2.0 * again * part + thin + math.sqrt(thin * thin + 4.0 * again * part * thin))
    return part * math.log(at) - bunches * (at - 1.0) / (1.0 - again * at)
