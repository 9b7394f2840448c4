"""Whether users were dealt to variants as was promised, and each to one of them: else an experiment is worthless.

``mismatch`` is the sequential multinomial test of Lindon and Malek (*Anytime-valid inference for multinomial count data*, NeurIPS
2022, arXiv 2011.03567): a likelihood ratio of the counts under shares that are spread around the promised ones as a Dirichlet
distribution, against the promised ones. Its expectation is 1 after every user, so the chance that it ever reaches 1 / alpha is at
most alpha, exactly and from the first user on (Ville's inequality). ``doubled`` is a likelihood ratio likewise, of one share
against the most that it may be; where it is less, the expectation only falls.
"""

import math
from collections.abc import Mapping

MISMATCH_ALPHA = 0.001
"""Chance that an experiment whose users are dealt as promised is ever called invalid for it: alarm at log_e >= log(1 / alpha).
Likewise of one that has no more double exposures than may be.
"""
DOUBLE_MAX = 0.01
"""Part of the users that may have seen more than one variant: they dilute what differs. Surely more, and nothing can be said."""
_SIZES = (10.0, 1_000.0, 100_000.0)
"""Users that the prior is worth, a third of its mass each: the first sees at once that a variant is missing, the last that of
millions half a per cent goes elsewhere.
"""
_TIMES = (1.25, 1.5, 2.0, 4.0, 16.0, 64.0)
"""How many times ``DOUBLE_MAX`` is looked for, each as likely as the others."""


def mismatch(users: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """Return the nats that speak against users being dealt by these weights; they need not sum to 1.

    Weights must have been the same for all these users: whoever changes them counts anew. Variants without a weight are no part
    of the experiment and not looked at.

    >>> [round(mismatch({"a": a, "b": 10_000 - a}, {"a": 0.5, "b": 0.5}), 1) for a in (5_000, 4_900, 4_800)]
    [-0.8, 0.1, 5.2]
    """
    promised = {name: weight for name, weight in sorted(weights.items()) if weight > 0.0}
    if len(promised) < 2:
        return 0.0
    sum_weight = sum(promised.values())
    counts = [(users.get(name, 0), weight / sum_weight) for name, weight in promised.items()]
    seen = sum(count for count, _ in counts)
    as_promised = sum(count * math.log(share) for count, share in counts)
    found = [
        math.lgamma(size)
        - math.lgamma(size + seen)
        + sum(math.lgamma(size * share + count) - math.lgamma(size * share) for count, share in counts)
        - as_promised
        for size in _SIZES
    ]
    return _mean(found)


def doubled(double: int, users: int) -> float:
    """Return the nats that speak for more than ``DOUBLE_MAX`` of users seeing more than one variant; ``double`` of them did.

    >>> [round(doubled(double, 10_000), 1) for double in (100, 120, 140)]
    [-4.5, 0.0, 5.5]
    """
    rest = max(0, users - double)
    found = [double * math.log(times) + rest * math.log((1.0 - times * DOUBLE_MAX) / (1.0 - DOUBLE_MAX)) for times in _TIMES]
    return _mean(found)


def _mean(logs: list[float]) -> float:
    """Return the log of the mean of exponentials."""
    most = max(logs)
    return most + math.log(sum(math.exp(one - most) for one in logs) / len(logs))
