"""What is known of a service's healthy spread: a visible, versioned record, with stated priors for a service never seen."""

from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.detect.drift.metrics import COUNT, METRICS, Floats

AGES_S = (0, 5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 240, 300, 420, 600, 900)
"""Edges of the bins of age after a restart."""
RESTARTS_MIN = 10
"""So many restarts before what they say replaces a prior; 10 servers know a spread within a quarter."""
SAFETY = 1.5
"""What is learned of variances is multiplied by this: the next rollout is not the last one."""
PLACEBOS_MIN = 199
PLACEBOS_KEPT = 16


class Spread(Struct, frozen=True, kw_only=True):
    """Standard deviations of one metric between healthy servers, on the scale of natural logarithms of rates."""

    host: float = 0.5
    """Between servers that nothing is known of: what a host factor is shrunk by."""
    node: float = 0.2
    """Of one server against its own past, restart and wander together."""
    common: float = 0.1
    """Of a whole cohort that restarts together."""
    restart: float = 0.4
    """Of what a cold start adds, from server to server, beside its mean."""
    warm: float = 0.7
    """Of that mean, from rollout to rollout."""


class Learned(Struct, frozen=True, kw_only=True, eq=False):
    """What past restarts and rollouts of one service taught. ``revision`` rises with every rollout that did."""

    revision: int = 0
    restarts: int = 0
    spreads: dict[str, Spread] = {}
    """By metric; what is missing stands at its prior."""
    cold_s: float = 120.0
    """How long after a restart a server is compared with servers of its own age alone."""
    curve: dict[str, tuple[float, ...]] = {}
    """Metric to event rate of a server of each age bin, as a multiple of a warm one's."""
    seen: dict[str, tuple[float, ...]] = {}
    """Sums behind the curve: events by bin; ``due`` what a warm server would have had."""
    due: dict[str, tuple[float, ...]] = {}
    placebos: tuple[float, ...] = ()
    """The largest log e-values of healthy rollouts, descending; ``placebos_pause`` those with no server left out."""
    placebos_pause: tuple[float, ...] = ()
    rollouts: int = 0
    """How many healthy rollouts these are the largest of."""

    def spread(self, metric: str) -> Spread:
        """Return the spread of a metric, its prior where nothing is known."""
        return self.spreads.get(metric) or _PRIORS.get(metric, _PRIOR)


_PRIORS = {"errors": Spread(), "errorSeconds": Spread()}
_PRIOR = Spread(node=0.15, common=0.06)
"""Shares of slow requests differ less from server to server than error rates."""


@lru_cache(maxsize=128)
def column(learned: Learned, name: str) -> Floats:
    """Return one deviation (``host``, ``node``, ``common``, ``restart``) for each metric."""
    return np.array([getattr(learned.spread(metric), name) for metric in METRICS])


def placebo_floors(learned: Learned, alpha: float) -> tuple[float, float]:
    """Return the log e-values, trimmed and whole, that a part ``alpha`` of healthy rollouts reaches, whatever the model says; 0.0
    before 199 of them.

    Null hypothesis: this rollout is exchangeable with the healthy ones before it. Guarantee: the rank of its largest e-value is
    uniform then, so exceeding the k-th largest of m has probability at most k / (m + 1) (conformal p-value: Vovk, Gammerman and
    Shafer, Algorithmic Learning in a Random World, 2005). A rollout that was rolled back is no healthy one, so the floor of the
    trimmed value rises above its threshold only where evidence may not roll back (``onFail: pause``, or a new service).
    """
    if learned.rollouts < PLACEBOS_MIN:
        return 0.0, 0.0
    rank = max(1, int(alpha * (learned.rollouts + 1)))
    trimmed, whole = ((values or (0.0,)) for values in (learned.placebos, learned.placebos_pause))
    return trimmed[min(rank, len(trimmed)) - 1], whole[min(rank, len(whole)) - 1]


FEW_CONTROLS = 3
"""With fewer a young server is compared with the whole fleet, and its learned cold start allowed for: one control's luck says
less than the mean of many restarts.
"""


def cold_nodes(learned: Learned, age_s: Floats, controls: int) -> NDArray[np.bool_]:
    """Return which nodes may be compared with nodes of their own age alone."""
    if learned.curve and controls < FEW_CONTROLS:
        return np.zeros(len(age_s), dtype=np.bool_)
    return age_s < learned.cold_s


def cold_share(learned: Learned, age_s: Floats) -> Floats:
    """Return which part of a cold server's events its cold start adds: float64[nodes, metrics], 0 for a warm one."""
    age = np.minimum(age_s, AGES_S[-1])
    bins = np.searchsorted(np.array(AGES_S), age, side="right") - 1
    prior = 0.8 * np.exp(-4.0 * age / max(1.0, learned.cold_s))
    added = _added(learned)
    if added is not None:
        return added[bins]
    return np.repeat(prior[:, None], COUNT, axis=1)


@lru_cache(maxsize=128)
def _added(learned: Learned) -> Floats | None:
    """Return the part of events that is owed to the cold start, float64[bins, metrics]; None where nothing is known."""
    if not learned.curve:
        return None
    ratios = np.array([learned.curve[metric] for metric in METRICS])
    added: Floats = (1.0 - 1.0 / np.maximum(1.0, ratios)).T
    return added
