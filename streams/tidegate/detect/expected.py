"""The evidence that a fault is to be expected to give: the counts of ``drift`` in the mean, second by second, in one cell.

As in ``drift.weigh``: canaries that restarted stand beside controls of their age until they are warm, then beside every node of
the old version; of three canaries or more those that look worst are left out, of fewer the worst half minute.
"""

import math
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from tidegate.detect.drift.evalue import log_evidence
from tidegate.detect.drift.gates import CAP_MIN, CAP_TIMES
from tidegate.detect.drift.half_minute import FEW, WORST_S
from tidegate.detect.drift.layout import GROUPS_MAX
from tidegate.detect.drift.learned import FEW_CONTROLS, Learned, cold_nodes, cold_share, column, placebo_floors
from tidegate.detect.drift.metrics import COUNT, FAMILIES, QUANTILES, SLOW, Floats
from tidegate.detect.drift.onsets import EARLY, stage_mass
from tidegate.detect.drift.past import WANDER_PRIOR
from tidegate.detect.drift.weigh import ALPHA, DELETED
from tidegate.detect.gross import ERRORS_MIN, GROSS

BASE_LEAST = 1e-6
"""Error ratio of a service that never fails, as ``drift.past`` would take it."""
HOUR_S = 5_200.0
"""Seconds that count of a long quiet past: it forgets with a half-life of an hour (``drift.past``)."""
WINDOW_DEVIATIONS = 1.3
"""Standard deviations by which the worst of a few half minutes stands above their mean."""
GROSS_S = 2.0
"""Seconds until the gross trip, where a fault is just gross enough: it comes in every other second."""
_FIRST_SLOW = COUNT - len(SLOW)
_NORMAL = NormalDist()


def _moments() -> Floats:
    return np.unique(np.round(1.05 ** np.arange(170)))


TIMES_S = _moments()
"""Moments that are looked at, in seconds from the begin of a stage: each at first, then each twentieth more, up to an hour."""
_ONSETS_S = np.array([float(second) for second, _ in EARLY])
_AGES_S = np.arange(901.0)


class Service(Struct, frozen=True, kw_only=True):
    """What a service is like when it is well. Ratios are shares of requests; ``rate`` is requests per second and node."""

    rate: float
    error_ratio: float = 0.001
    p50_ms: float = 40.0
    p95_ms: float = 90.0
    p99_ms: float = 250.0
    """A middling shape: only its quotients matter."""
    dispersion: tuple[float, float] = (1.4, 2.4)
    """Variance over mean of errors and of slow requests: of a fleet with retries and shared load."""
    wander: tuple[float, ...] = (WANDER_PRIOR,) * COUNT
    """Variance of the log of a server's rate from minute to minute, by metric."""
    past_s: float = HOUR_S
    learned: Learned = Learned()


class Nodes(Struct, frozen=True, kw_only=True):
    """Who stands in a stage: ``controls`` as old as the canaries; ``others`` on the old version, controls among them."""

    canaries: int
    controls: int
    others: int
    order: int = 1
    """Of the stage, from 1: all stages share one error budget."""


class Fault(Struct, frozen=True, eq=False):
    """Events of a node and second, by metric: of a healthy node and of a bad canary; and what they are out of."""

    healthy: Floats
    bad: Floats
    exposure: Floats
    error_ratio: float = 0.0
    """Of the canary's requests, where errors are the fault."""


class _Seconds(Struct, frozen=True, eq=False):
    """Per moment and onset, [times, onsets]: seconds beside controls, seconds beside everybody; and what is owed to being cold.

    ``extra`` [2, times, onsets, metrics]: seconds' worth of healthy events that a cold start adds. ``owed``: mean part of events.
    """

    cold: Floats
    warm: Floats
    extra: Floats
    owed: Floats


def threshold(service: Service) -> float:
    """Return the log e-value at which one family rolls back."""
    floor, _ = placebo_floors(service.learned, ALPHA / len(FAMILIES))
    return max(math.log(len(FAMILIES) / ALPHA), floor)


def errors_of(service: Service, error_ratio: float) -> Fault:
    """Return a fault that lets this share of the canary's requests fail."""
    healthy, exposure = _healthy(service)
    bad = healthy.copy()
    bad[0] = min(error_ratio * service.rate, max(CAP_MIN, 1.0 + math.ceil(CAP_TIMES * healthy[0])))
    bad[1] = -math.expm1(-error_ratio * service.rate)
    return Fault(healthy, np.maximum(bad, healthy), exposure, error_ratio)


def latency_of(service: Service, shift: float) -> Fault:
    """Return a fault that makes all the canary's requests slower by a share: 0.5 is half again."""
    healthy, exposure = _healthy(service)
    bad = healthy.copy()
    for at, share in enumerate(QUANTILES):
        slow = service.rate * slower_than(service, latency_at(service, share) - math.log1p(shift))
        bad[_FIRST_SLOW + at] = min(slow, max(CAP_MIN, 1.0 + math.ceil(CAP_TIMES * healthy[_FIRST_SLOW + at])))
    return Fault(healthy, np.maximum(bad, healthy), exposure)


def latency_at(service: Service, share: float) -> float:
    """Return the log of the latency in ms that a share of requests stays below: normal from p50 to p95 and from p95 on."""
    (x0, y0), (x1, y1) = _line(service, upper=share > _SHARES[1])
    return y0 + (_NORMAL.inv_cdf(share) - x0) * (y1 - y0) / (x1 - x0)


def slower_than(service: Service, log_ms: float) -> float:
    """Return the share of requests that are slower: the inverse of ``latency_at``.

    >>> service = Service(rate=1.0)
    >>> round(slower_than(service, latency_at(service, 0.9)), 6), round(slower_than(service, latency_at(service, 0.999)), 6)
    (0.1, 0.001)
    """
    (x0, y0), (x1, y1) = _line(service, upper=log_ms > _line(service, upper=False)[1][1])
    return 1.0 - _NORMAL.cdf(x0 + (log_ms - y0) * (x1 - x0) / (y1 - y0))


_SHARES = (0.50, 0.95, 0.99)


def _line(service: Service, *, upper: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return two points of the line that log latency is over normal scores, of the upper or of the lower part."""
    p50 = max(service.p50_ms, 1e-3)
    p95 = max(service.p95_ms, p50 * 1.05)
    p99 = max(service.p99_ms, p95 * 1.05)
    low, middle, high = ((_NORMAL.inv_cdf(at), math.log(ms)) for at, ms in zip(_SHARES, (p50, p95, p99), strict=True))
    return (middle, high) if upper else (low, middle)


def _healthy(service: Service) -> tuple[Floats, Floats]:
    """Return events and exposure of a healthy node and second, by metric."""
    base, rate = max(service.error_ratio, BASE_LEAST), service.rate
    seconds = -math.expm1(-base * rate)
    slow = [rate * (1.0 - share) for share in QUANTILES]
    return np.array([base * rate, seconds, *slow]), np.array([rate, seconds / base, *[rate] * len(SLOW)])


def gross_s(nodes: Nodes, service: Service, fault: Fault) -> float | None:
    """Return after how many seconds the gross trip (C1) is to be expected; None where it may not come.

    It needs ``ERRORS_MIN`` errors in one second, also without the worst of three canaries or more (C4).
    """
    size = nodes.canaries - 1 if nodes.canaries >= FEW else nodes.canaries
    enough = size * service.rate * fault.error_ratio >= ERRORS_MIN
    return GROSS_S if enough and fault.error_ratio >= GROSS else None


def evidence(nodes: Nodes, service: Service, fault: Fault) -> Floats:
    """Return the expected log e-value of each family at each of ``TIMES_S``: [times, families]."""
    spent = _seconds(nodes, service)
    kept, most = _trimmed(nodes)
    alone = nodes.canaries < FEW
    tempered = np.array([service.dispersion[0], 1.0, *[service.dispersion[1]] * len(SLOW)])
    own = column(service.learned, "node") ** 2
    sides = (nodes.controls, nodes.others)
    spans = (spent.cold[..., None], spent.warm[..., None])
    canary = [span * fault.bad + extra * fault.healthy for span, extra in zip(spans, spent.extra, strict=True)]
    # The worst node, or half minute, has more than its part of the events: leaving it out costs that, too.
    one = canary[0] + canary[1]
    left_out = WORST_S * fault.bad if alone else one
    worst = np.sqrt(tempered * left_out + own * left_out**2) * most * (nodes.canaries if alone else nodes.canaries - kept)
    seen = np.maximum(0.0, kept * one - worst)
    weight = [kept * span * fault.exposure for span in spans]
    owed = [side * span * fault.exposure for side, span in zip(sides, spans, strict=True)]
    theirs = [side * (span + extra) * fault.healthy for side, span, extra in zip(sides, spans, spent.extra, strict=True)]
    total = np.maximum(weight[0] + weight[1], 1e-12)
    ratio = [part / np.maximum(other, 1e-12) for part, other in zip(weight, owed, strict=True)]
    rate = (ratio[0] * theirs[0] + ratio[1] * theirs[1]) / total
    effective = total**2 / np.maximum(weight[0] * ratio[0] + weight[1] * ratio[1], 1e-12)
    share = np.clip(total / (total + effective), 1e-9, 1 - 1e-9)
    variance = _variance(nodes, service, spent, kept)
    log_e = log_evidence(seen / tempered, rate * effective / tempered, share, variance)
    log_e = np.where((spent.cold + spent.warm)[..., None] > 0, log_e, -700.0)
    mass = np.log(stage_mass(nodes.order) * np.array([part for _, part in EARLY]))
    mixed = np.logaddexp.reduce(log_e + mass[None, :, None], axis=1)
    families = [np.logaddexp.reduce(mixed[:, part], axis=1) - math.log(part.stop - part.start) for part in FAMILIES.values()]
    return np.stack(families, axis=1)


def _trimmed(nodes: Nodes) -> tuple[int, float]:
    """Return how many canaries are left, and how many standard deviations what is left out stands above the rest in the mean."""
    if nodes.canaries < FEW:
        return nodes.canaries, WINDOW_DEVIATIONS
    rows = min(nodes.canaries, GROUPS_MAX)
    out = round(max(1, int(DELETED * rows)) * nodes.canaries / rows)
    return nodes.canaries - out, _NORMAL.inv_cdf(1.0 - out / 2.0 / nodes.canaries)


def _seconds(nodes: Nodes, service: Service) -> _Seconds:
    """Return how long canaries have been beside whom, since each onset."""
    shares = cold_share(service.learned, _AGES_S) * (service.learned.cold_s > _AGES_S)[:, None]
    alone_s = float(cold_nodes(service.learned, _AGES_S, nodes.controls).sum())
    onsets = _ONSETS_S[None, :]
    until = np.maximum(TIMES_S[:, None], onsets)
    splits = np.clip(np.array(alone_s), onsets, until)
    cold, warm = splits - onsets, until - splits
    extra = np.stack((_sum(shares / (1 - shares), onsets, splits), _sum(shares / (1 - shares), splits, until)))
    owed = _sum(shares, onsets, until) / np.maximum(cold + warm, 1.0)[..., None]
    if nodes.canaries < FEW:
        left = np.maximum(0.0, 1.0 - WORST_S / np.maximum(cold + warm, 1.0))
        cold, warm, extra = cold * left, warm * left, extra * left[None, :, :, None]
    # Without anybody on the other side nothing is counted.
    beside = (float(nodes.controls > 0), float(nodes.others > 0))
    return _Seconds(cold * beside[0], warm * beside[1], extra * np.array(beside)[:, None, None, None], owed)


def _sum(rows: Floats, begin: Floats, end: Floats) -> Floats:
    """Return the sum of the rows of ages from one to another: [*ages, metrics]."""
    summed = np.concatenate((np.zeros((1, COUNT)), np.cumsum(rows, axis=0)))
    last = len(summed) - 1
    begin, end = np.broadcast_arrays(begin, end)
    found: Floats = summed[np.minimum(end, last).astype(int)] - summed[np.minimum(begin, last).astype(int)]
    return found


def _variance(nodes: Nodes, service: Service, spent: _Seconds, kept: int) -> Floats:
    """Return the variance of the logit of the canary's share, as ``drift.weigh`` takes it."""
    learned = service.learned
    own, host = column(learned, "node") ** 2 + np.array(service.wander), column(learned, "host") ** 2
    events = _healthy(service)[0] * service.past_s / max(service.dispersion)
    own = own + 1.0 / (events + 1.0 / host)
    restart = column(learned, "restart") ** 2 * spent.owed**2
    part = (spent.cold / np.maximum(spent.cold + spent.warm, 1e-9))[..., None]
    cold = own * (1 / kept + 1 / max(1, nodes.controls)) + restart * (1 / kept + 1 / max(1, nodes.controls))
    warm = own * (1 / kept + 1 / max(1, nodes.others)) + restart / kept
    shared = column(learned, "common") ** 2 + column(learned, "warm") ** 2 * spent.owed**2 * (nodes.controls < FEW_CONTROLS)
    found: Floats = part**2 * cold + (1 - part) ** 2 * (warm + shared)
    return found
