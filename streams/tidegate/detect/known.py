"""What the judge knows of one service, as a record for people and programs: what was learned, and what is still a prior.

Nothing is tested here. What each number means, how it is learned, and its default stand where it is used: ``drift.learned`` and
``drift.warming`` (restarts), ``drift.past`` (quiet time), ``detectability`` (what can be seen with it).
"""

import math

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.drift import past as history
from tidegate.detect.drift.learned import AGES_S, Learned, cold_share
from tidegate.detect.drift.metrics import METRICS, QUANTILES, SLOW
from tidegate.detect.drift.past import KEEP, Past
from tidegate.detect.drift.state import Drift
from tidegate.detect.expected import Service
from tidegate.kpi.buckets import UPPER_EDGES_S

SPREADS = ("host", "node", "common", "restart", "warm")
_DIGITS = 4


class Metric(Struct, frozen=True, kw_only=True):
    """One metric. ``host`` to ``warm`` are standard deviations of natural logarithms of rates, as in ``drift.learned.Spread``."""

    metric: str
    rate: float | None
    """Events per request in quiet time, of ``errorSeconds`` as ``drift.past.exposures`` counts requests; None: not known."""
    dispersion: float | None
    """Variance over mean of the events of a server in ten seconds; None: of a plan's own metrics it is not kept."""
    wander: float | None
    """How far a server's rate wanders from minute to minute, as a standard deviation of its logarithm."""
    host: float
    node: float
    common: float
    restart: float
    warm: float
    slower_than_ms: float | None = None
    """What a slow request is slower than; None: not a latency, or too few requests so far."""
    priors: tuple[str, ...] = ()
    """Which of these numbers nobody has learned yet."""


class Age(Struct, frozen=True, kw_only=True):
    """The cold start from an age on: events of a restarted server as a multiple of a warm one's, by metric."""

    age_s: int
    times: dict[str, float]


class Known(Struct, frozen=True, kw_only=True):
    """The record of one service."""

    revision: int
    """Rises with every rollout that taught something; 0: all priors of restarts."""
    restarts: int
    rollouts: int
    """Healthy rollouts; ``placebos`` and ``placebos_pause`` are their largest log e-values, descending."""
    placebos: tuple[float, ...]
    placebos_pause: tuple[float, ...]
    cold_s: float
    """How long after a restart a server is taken for cold."""
    cold_learned: bool
    ages: tuple[Age, ...]
    nodes: int
    minutes: int
    """Quiet minutes seen, of ``nodes`` servers; older ones count less, half after an hour."""
    metrics: tuple[Metric, ...]
    rollout: str = ""
    """Under way: meanwhile nothing is learned."""

    @property
    def anything(self) -> bool:
        """Return whether anything at all is known; otherwise every number is a prior."""
        return bool(self.minutes or self.revision or self.rollouts)


def known_of(drift: Drift) -> Known:
    """Return what is known of a service. Total; numbers have ``_DIGITS`` digits."""
    past, learned = drift.past, drift.learned
    own = [name for name in learned.spreads if name not in METRICS]
    return Known(
        revision=learned.revision,
        restarts=learned.restarts,
        rollouts=learned.rollouts,
        placebos=learned.placebos,
        placebos_pause=learned.placebos_pause,
        cold_s=learned.cold_s,
        cold_learned=bool(learned.curve),
        ages=_ages(learned),
        nodes=len(past.nodes),
        minutes=past.minutes,
        metrics=(*_metrics(past, learned), *(_metric(learned, name) for name in sorted(own))),
        rollout=drift.rollout,
    )


def service_of(drift: Drift, service: Service) -> Service:
    """Return a service with what the judge has learned of it: for ``detectability``, in place of its priors.

    ``service`` keeps its rate. What quiet time has not shown yet stays as it was.
    """
    past = drift.past
    service = replace(service, learned=drift.learned)
    if not past.minutes or not len(past.nodes):
        return service
    errors, first_slow = float(history.rate(past)[0]), METRICS.index(SLOW[0])
    # The sum of minutes that are forgotten as ``drift.past`` forgets them.
    past_s = 60.0 * (1.0 - KEEP**past.minutes) / (1.0 - KEEP)
    wander = tuple(history.wander(past).tolist())
    found = replace(service, error_ratio=errors or service.error_ratio, past_s=past_s, wander=wander)
    if past.bunched[1, 0] > 0:
        tempered = history.dispersion(past)
        found = replace(found, dispersion=(float(tempered[0]), float(tempered[first_slow:].mean())))
    if not past.edges:
        return found
    p50, p95, p99 = (_slower_than_ms(past, share) for share in (0.50, 0.95, 0.99))
    return replace(found, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _ages(learned: Learned) -> tuple[Age, ...]:
    share = np.where((np.array(AGES_S) < learned.cold_s)[:, None], cold_share(learned, np.array(AGES_S, dtype=np.float64)), 0.0)
    times = 1.0 / (1.0 - share)
    return tuple(
        Age(age_s=age_s, times={name: _rounded(value) for name, value in zip(METRICS, row, strict=True)})
        for age_s, row in zip(AGES_S, times.tolist(), strict=True)
        if age_s <= learned.cold_s
    )


def _metrics(past: Past, learned: Learned) -> list[Metric]:
    rates = history.rate(past) if len(past.nodes) else np.zeros(len(METRICS))
    numbers = zip(rates.tolist(), history.dispersion(past).tolist(), history.wander(past).tolist(), strict=True)
    found = []
    for place, (rate, dispersion, wander) in enumerate(numbers):
        one = _metric(learned, METRICS[place])
        unseen = [("dispersion", past.bunched[1, place] > 0), ("wander", past.wandered[1, place] > 0)]
        found.append(
            replace(
                one,
                rate=_rounded(rate) if rate > 0 else None,
                dispersion=_rounded(dispersion),
                wander=_rounded(math.sqrt(wander)),
                slower_than_ms=_rounded(_slower_than_ms(past, QUANTILES[SLOW.index(one.metric)]))
                if one.metric in SLOW and past.edges
                else None,
                priors=(*(name for name, seen in unseen if not seen), *one.priors),
            )
        )
    return found


def _metric(learned: Learned, name: str) -> Metric:
    """Return the spreads of a metric. One that stands at its prior, to the last digit, was not learned."""
    spread, prior = learned.spread(name), Learned().spread(name)
    return Metric(
        metric=name,
        rate=None,
        dispersion=None,
        wander=None,
        **{part: _rounded(getattr(spread, part)) for part in SPREADS},
        priors=tuple(part for part in SPREADS if getattr(spread, part) == getattr(prior, part)),
    )


def _slower_than_ms(past: Past, quantile: float) -> float:
    return UPPER_EDGES_S[past.edges[QUANTILES.index(quantile)]] * 1_000.0


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
