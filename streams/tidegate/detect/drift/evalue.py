"""The e-value of a split of events between canary and control, where healthy splits are spread as a Beta distribution.

Null hypothesis: of all events, given their number, the canary's are beta-binomial around its fair share ``w``, with a variance
``v`` of the logit of that share, which is the spread between healthy servers. Alternative: the same around the share of a canary
with ``r`` times the events, averaged over ``RATIOS``. Guarantee: ratio of two marginal likelihoods, so its expectation under the
null is 1 at any time; mixed over onsets it stays below 1 / alpha for ever with probability 1 - alpha (Ville's inequality).
``v = 0`` is the test of Lindon and Malek (arXiv 2011.03567); ``v > 0`` bounds what one cohort of servers can ever say, as
it must be: a ratio ``r`` gives at most ``(r - 1 - log(r)) / v`` nats, which is about ``log(r) ** 2 / (2 * v)`` for small ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

RATIOS = (1.06, 1.15, 1.35, 1.8, 3.0, 7.0, 25.0)
WEIGHTS = (0.03, 0.05, 0.10, 0.17, 0.25, 0.25, 0.15)
"""Ratios of event rates that are looked for, from what is hardly worth a rollback to what is gross, and the prior mass of each:
small ones are seldom certain before much else is, large ones must be seen at once.
"""
_SHIFT = 6


def log_gamma(x: Floats) -> Floats:
    """Return the logarithm of the gamma function of positive numbers, to 1e-8.

    Stirling's series behind six steps of the recurrence; numpy has none of its own.

    >>> [round(abs(float(value)), 6) for value in log_gamma(np.array([1.0, 5.0, 0.5]))]
    [0.0, 3.178054, 0.572365]
    """
    product = x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5)
    z = x + _SHIFT
    inverse = 1.0 / z
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square / 1260))
    result: Floats = (z - 0.5) * np.log(z) - z + 0.9189385332046727 + series - np.log(product)
    return result


def log_marginals(ratios: Floats, canary: Floats, control: Floats, share: Floats, variance: Floats) -> Floats:
    """Return the log marginal likelihood of the split for each ratio: shape (ratios, *canary.shape); without binomial factor.

    ``canary`` and ``control`` are events (not necessarily whole: divided by their dispersion), ``share`` the fair share of the
    canary in (0, 1), ``variance`` that of its logit.
    """
    odds = ratios.reshape(-1, *(1,) * canary.ndim) * share / (1.0 - share)
    at = odds / (1.0 + odds)
    size = np.maximum(1.0, 1.0 / np.maximum(variance * at * (1.0 - at), 1e-9) - 1.0)
    one, other = size * at, size * (1.0 - at)
    gamma = log_gamma(np.stack((one + canary, other + control, size + canary + control, one, other, size)))
    result: Floats = gamma[0] + gamma[1] - gamma[2] - gamma[3] - gamma[4] + gamma[5]
    return result


_ALTERNATIVES = np.array((1.0, *RATIOS))
_MASSES = np.array(WEIGHTS)


def log_evidence(canary: Floats, control: Floats, share: Floats, variance: Floats) -> Floats:
    """Return the log e-value against a healthy canary, averaged over ``RATIOS``; shapes as in ``log_marginals``."""
    marginals = log_marginals(_ALTERNATIVES, canary, control, share, variance)
    gains = marginals[1:] - marginals[0]
    top = gains.max(axis=0)
    result: Floats = top + np.log(np.tensordot(_MASSES, np.exp(gains - top), axes=1))
    return result


def log_licence(canary: Floats, control: Floats, share: Floats, variance: Floats, tolerated: Floats) -> Floats:
    """Return the log e-value against a canary that is ``tolerated`` times worse: large where it is surely better than that.

    Null hypothesis: a ratio of ``tolerated`` or more. ``tolerated`` has one entry for the last axis of the counts.
    """
    odds = share / (1.0 - share)
    worse = tolerated * odds
    shares = np.stack((share, worse / (1.0 + worse)))
    both = (
        np.broadcast_to(canary, shares.shape),
        np.broadcast_to(control, shares.shape),
        shares,
        np.broadcast_to(variance, shares.shape),
    )
    marginals = log_marginals(np.ones(1), *both)[0]
    found: Floats = marginals[0] - marginals[1]
    return found
