"""Who saw what, and what came of it: exposures and outcomes of one partition folded into sums for each experiment and variant.

A user is a hash and a variant here; no clock, no broker, and nothing of a flag but what its exposures say. What the sums mean is
``tidegate.detect.experiments``'s business.
"""

from tidegate.experiments.fold import USERS_MAX, ExperimentState, Tally, step, sums
from tidegate.experiments.snapshot import restore, snapshot

__all__ = ["USERS_MAX", "ExperimentState", "Tally", "restore", "snapshot", "step", "sums"]
