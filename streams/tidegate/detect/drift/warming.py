"""What a rollout teaches about restarts: how far above a warm server one of each age is, and how far apart servers end up.

Controls are restarts of the old version, so they teach always; canaries only where their version was promoted.
"""

import math

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.detect.drift.arrays import grown
from tidegate.detect.drift.learned import AGES_S, PLACEBOS_KEPT, RESTARTS_MIN, SAFETY, Learned, Spread
from tidegate.detect.drift.metrics import COUNT, METRICS, Floats
from tidegate.detect.drift.seconds import WARM, Kind, Second

NODES_MAX = 64
"""Restarts of one rollout that are remembered one by one."""
KEEP = 0.7
"""Of what was known of the curve, with every rollout: code changes, and its cold start with it."""
STILL_COLD = 1.08
"""A server is warm where its rate is within this of a warm one's."""
COLD_TIMES = 1.5
"""The next cold start may be longer than the last one: its size varies by half from rollout to rollout."""
COLD_MIN_S, COLD_MAX_S = 30.0, 900.0
EVENTS_MIN = 20.0
"""So many events of a bin before its ratio is believed."""
QUARTILE, QUARTILE_OF_SQUARES = 0.75, 1.323
"""Upper quartile, and what it is of the squares of a standard normal."""
KEPT = 0.9
"""Of the servers of a rollout, those that say what all have in common: an incident of one is not."""
TRUSTED = 20.0
"""So many servers' worth is what was known before: a rollout of twenty counts half, one with five a fifth."""
_BINS = len(AGES_S)


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape)


class Warming(Struct, frozen=True, eq=False):
    """``curve`` [controls or canaries, (events, due), bins, metrics]; ``own`` [nodes, (events, due, variance
    of the log of what was due), metrics] once warm.
    """

    nodes: tuple[str, ...] = ()
    canary: tuple[bool, ...] = ()
    curve: NDArray[np.float32] = field(default_factory=lambda: np.zeros((2, 2, _BINS, COUNT), dtype=np.float32))
    own: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3, COUNT), dtype=np.float32))


def warm(warming: Warming, second: Second, learned: Learned, told: tuple[Floats, Floats, Floats]) -> Warming:
    """Return what is known after one more second. ``told``: events, what a warm server would have had, and how unsure that is as
    a variance of its log, each [nodes, metrics].
    """
    at = np.flatnonzero((second.kinds != Kind.REST) & (second.age_s < WARM))
    if not len(at):
        return warming
    events, due = told[0][at], told[1][at]
    names = [second.nodes[place] for place in at.tolist()]
    canary = second.kinds[at] == Kind.CANARY
    where = {name: place for place, name in enumerate(warming.nodes)}
    fresh = [(name, bool(mine)) for name, mine in zip(names, canary.tolist(), strict=True) if name not in where]
    if fresh and len(warming.nodes) < NODES_MAX:
        fresh = fresh[: NODES_MAX - len(warming.nodes)]
        warming = replace(
            warming,
            nodes=(*warming.nodes, *(name for name, _ in fresh)),
            canary=(*warming.canary, *(mine for _, mine in fresh)),
            own=grown(warming.own, 0, len(warming.nodes) + len(fresh)),
        )
        where = {name: place for place, name in enumerate(warming.nodes)}
    bins = np.searchsorted(np.array(AGES_S), second.age_s[at], side="right") - 1
    curve = warming.curve.copy()
    side = np.where(canary, 1, 0)
    at_age = np.zeros((2 * _BINS, len(at)))
    at_age[side * _BINS + bins, np.arange(len(at))] = 1.0
    curve[:, 0] += (at_age @ events).reshape(2, _BINS, COUNT)
    curve[:, 1] += (at_age @ due).reshape(2, _BINS, COUNT)
    rows = np.array([where.get(name, -1) for name in names], dtype=np.int64)
    settled = (rows >= 0) & (second.age_s[at] >= learned.cold_s)
    own = warming.own
    if settled.any():
        own = own.copy()
        own[rows[settled], 0] += events[settled]
        own[rows[settled], 1] += due[settled]
        own[rows[settled], 2] = told[2][at][settled]
    return replace(warming, curve=curve, own=own)


def teach(learned: Learned, warming: Warming, tempered: Floats, *, promoted: bool, largest: tuple[float, float]) -> Learned:
    """Return what is known after a rollout is over. ``largest``: its largest log e-values, trimmed and whole.

    ``tempered``: the dispersion of events, by metric.
    """
    sides = slice(0, 2) if promoted else slice(0, 1)
    new = warming.curve[sides].sum(axis=0)
    taught = [place for place, mine in enumerate(warming.canary) if promoted or not mine]
    if promoted:
        kept = [
            tuple(sorted((*before, float(f"{value:.6g}")), reverse=True)[:PLACEBOS_KEPT])
            for before, value in zip((learned.placebos, learned.placebos_pause), largest, strict=True)
        ]
        learned = replace(learned, placebos=kept[0], placebos_pause=kept[1], rollouts=learned.rollouts + 1)
    if not taught:
        return learned
    seen = {name: _plus(learned.seen.get(name), new[0, :, at]) for at, name in enumerate(METRICS)}
    due = {name: _plus(learned.due.get(name), new[1, :, at]) for at, name in enumerate(METRICS)}
    restarts = learned.restarts + len(taught)
    curve, cold_s, spreads = learned.curve, learned.cold_s, learned.spreads
    if restarts >= RESTARTS_MIN:
        curve = {name: _curve(seen[name], due[name]) for name in METRICS}
        cold_s = _cold_s(learned, (seen, due), restarts, tempered)
        spreads = _spreads(learned, warming.own[taught].astype(np.float64), tempered)
    return replace(
        learned,
        revision=learned.revision + 1,
        restarts=restarts,
        spreads=spreads,
        cold_s=cold_s,
        curve=curve,
        seen=seen,
        due=due,
    )


def _plus(before: tuple[float, ...] | None, new: Floats) -> tuple[float, ...]:
    old = np.array(before) if before else np.zeros(_BINS)
    return tuple(float(f"{value:.6g}") for value in (KEEP * old + new).tolist())


def _curve(seen: tuple[float, ...], due: tuple[float, ...]) -> tuple[float, ...]:
    """Return the ratio of each bin, drawn to 1 by one event; never rising with age, since noise is not a cold start.

    Bins that rise are pooled with those before them (pool adjacent violators: Barlow et al., 1972).
    """
    pools: list[tuple[float, float, int]] = []
    for events, owed in zip(seen, due, strict=True):
        pools.append((events + 1.0, owed + 1.0, 1))
        while len(pools) > 1 and pools[-1][0] * pools[-2][1] > pools[-2][0] * pools[-1][1]:
            (more, further, bins), (mine, own, before) = pools.pop(), pools.pop()
            pools.append((mine + more, own + further, before + bins))
    return tuple(float(f"{max(1.0, events / owed):.4g}") for events, owed, bins in pools for _ in range(bins))


def _cold_s(
    learned: Learned, sums: tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]], restarts: int, tempered: Floats
) -> float:
    """Return the age from which on no metric is above a warm server's by more than ``STILL_COLD`` and what servers differ by.

    Warm is who is so in two bins in a row; where nobody was seen for as long, the length stays as it was or as far as was seen.
    """
    found, known = COLD_MIN_S, False
    for place, name in enumerate(METRICS):
        events, owed = np.array(sums[0][name]) / tempered[place], np.array(sums[1][name]) / tempered[place]
        bins = np.flatnonzero(owed >= EVENTS_MIN).tolist()
        apart = 2.0 * np.sqrt(2.0 / (events + 1.0) + learned.spread(name).node ** 2 / max(1.0, 0.5 * restarts))
        cold = np.log((events + 1.0) / (owed + 1.0)) > np.log(STILL_COLD) + apart
        known = known or bool(bins)
        for place_of, at in enumerate(bins):
            after = bins[place_of + 1 : place_of + 2]
            if not cold[at] and not (after and cold[after[0]]):
                break
            found = max(found, float(AGES_S[min(at + 1, _BINS - 1)]))
    return min(COLD_MAX_S, COLD_TIMES * found) if known else learned.cold_s


def _spreads(learned: Learned, own: Floats, tempered: Floats) -> dict[str, Spread]:
    """Return the spreads with what warm servers after a restart are apart from their own past, beyond chance.

    From the upper quartile of squares: incidents of a few servers do not widen it, a few servers that are different do.
    """
    found = dict(learned.spreads)
    for at, name in enumerate(METRICS):
        events, due = own[:, 0, at], own[:, 1, at]
        enough = due >= EVENTS_MIN
        if enough.sum() < RESTARTS_MIN // 2:
            continue
        logs = np.log((events[enough] + 0.5) / (due[enough] + 0.5))
        chance = float(np.mean(tempered[at] / (events[enough] + 0.5) + own[enough, 2, at]))
        around = (logs - float(np.median(logs))) ** 2
        variance = max(0.0, float(np.quantile(around, QUARTILE)) / QUARTILE_OF_SQUARES - chance)
        # Of sums, since the logarithm of few events is too low in the mean; without the most conspicuous servers.
        kept = np.flatnonzero(enough)[np.argsort(around)[: max(1, round(KEPT * len(around)))]]
        middle = math.log((events[kept].sum() + 0.5) / (due[kept].sum() + 0.5))
        common = max(0.0, middle**2 - (chance + variance) / len(kept))
        before = learned.spread(name)
        found[name] = Spread(
            host=before.host,
            node=_mixed(before.node, variance, len(logs)),
            common=_mixed(before.common, common, 1),
            restart=before.restart,
            warm=before.warm,
        )
    return found


def _mixed(before: float, variance: float, number: int) -> float:
    """Return a standard deviation after ``number`` more servers (or rollouts), with a margin (``SAFETY``)."""
    mixed = (TRUSTED * before**2 + number * SAFETY * variance) / (TRUSTED + number)
    return float(f"{mixed**0.5:.4g}")
