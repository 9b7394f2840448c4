"""Experiments: what one variant of a flag does beside another, told at any time and as often as anybody looks.

``estimates`` tells how far two variants are apart, ``balance`` whether users were dealt as was promised, ``proposals`` what
follows. Sums per variant are all that they ask for.
"""

from tidegate.detect.experiments.balance import DOUBLE_MAX, MISMATCH_ALPHA, doubled, mismatch
from tidegate.detect.experiments.estimates import EVENTS_MIN, EXPECTED, USERS_MIN, USERS_MIN_BINARY, Arm, Estimate, compare
from tidegate.detect.experiments.proposals import (
    ALPHA,
    RUN_S_MIN,
    Compared,
    Design,
    Metric,
    Proposal,
    Proposed,
    Seen,
    Standing,
    Why,
    propose,
)

__all__ = [
    "ALPHA",
    "DOUBLE_MAX",
    "EVENTS_MIN",
    "EXPECTED",
    "MISMATCH_ALPHA",
    "RUN_S_MIN",
    "USERS_MIN",
    "USERS_MIN_BINARY",
    "Arm",
    "Compared",
    "Design",
    "Estimate",
    "Metric",
    "Proposal",
    "Proposed",
    "Seen",
    "Standing",
    "Why",
    "compare",
    "doubled",
    "mismatch",
    "propose",
]
