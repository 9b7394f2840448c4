"""What a service is like while nothing is rolled out: rate of events, host by host, and how much more than chance they scatter.

Minutes are the unit. Sums forget with a half-life of an hour, so the record needs no history of its own. It stands still while a
rollout is under way: a canary is never compared with numbers that it had a part in.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import compress

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.detect.drift.arrays import places, realigned
from tidegate.detect.drift.learned import SAFETY, Learned, column
from tidegate.detect.drift.metrics import COUNT, QUANTILES, SLOW, Floats
from tidegate.kpi.pane import Table

MINUTE_MS = 60_000
LONG_MINUTES = 10
"""Servers wander for minutes; a deviation over ten of them is what a rollout will see."""
KEEP = 0.5 ** (1 / 60)
"""Of every sum, a minute later."""
REQUESTS_MIN = 2_000
"""Before the edges of slow requests are chosen: the 99.9th percentile needs that many to be more than the slowest one."""
EDGES_MS = 3_600_000
"""Edges are looked at again after an hour, and moved where one is ``EDGE_MOVES`` buckets off: a bucket is 9 %."""
EDGE_MOVES = 2
TRIM = 0.99
"""Of the terms of a minute's dispersion: incidents are not the rule."""
NODES_MAX = 12_000
CACHED = 32
"""What follows from a past is worked out once while it stands still, for so many rollouts at a time. Never part of a state."""
_FIRST_SLOW = COUNT - len(SLOW)
_REQUESTS, _SECONDS, _TIMED, _WIDTH = COUNT, COUNT + 1, COUNT + 2, COUNT + 3
"""Columns behind the events: requests, seconds with any, requests with a histogram; in ``long`` and ``sums`` the second is how
many seconds with errors were to be expected.
"""


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape)


class Past(Struct, frozen=True, kw_only=True, eq=False):
    """Arrays have one row a node. ``minute``, ``long`` and ``sums``: events and exposures side by side, [nodes, metrics + 3]."""

    nodes: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    edges: tuple[int, ...] = ()
    edges_ms: int = 0
    start_ms: int = 0
    """Of the current minute."""
    minutes: int = 0
    minute: Floats = field(default_factory=lambda: _zeros(0, _WIDTH))
    long: Floats = field(default_factory=lambda: _zeros(0, _WIDTH))
    sums: Floats = field(default_factory=lambda: _zeros(0, _WIDTH))
    chi: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    """Sum of squared residuals of minutes, and their number."""
    wander: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    """Sum over long blocks of the variance of log rates beyond chance, and their number."""
    counts: Floats = field(default_factory=lambda: _zeros(160))


def learn(past: Past, table: Table, end_ms: int, counts: Sequence[int]) -> Past:
    """Return what is known after a second in which nothing was rolled out. ``counts``: latency histogram of all nodes."""
    start_ms = (end_ms - 1) // MINUTE_MS * MINUTE_MS
    if start_ms != past.start_ms:
        past = _turn(past, start_ms) if past.start_ms else replace(past, start_ms=start_ms)
    if table.nodes != past.nodes and not {*table.nodes} <= {*past.nodes}:
        past = _joined(past, table)
    minute = past.minute.copy()
    rows: slice | NDArray[np.int64] = slice(None)
    if table.nodes != past.nodes:
        rows = places(table.nodes, past.nodes)
    part = minute[rows]
    part[:, _REQUESTS] += table.requests
    part[:, _SECONDS] += table.requests > 0
    part[:, 0] += table.errors
    part[:, 1] += table.errors > 0
    if table.slow.shape[1] == len(SLOW):
        part[:, _FIRST_SLOW:COUNT] += table.slow
        part[:, _TIMED] += table.requests
    minute[rows] = part
    return replace(past, minute=minute, counts=past.counts + np.array(counts) if counts else past.counts)


@lru_cache(maxsize=CACHED)
def rate(past: Past) -> Floats:
    """Return events per exposure of the whole service, float64[metrics]; a small positive number where there were none."""
    events, due = past.sums[:, :COUNT].sum(axis=0), _spread(past.sums).sum(axis=0)
    return np.where(due > 0, (events + 0.5) / np.maximum(due, 1.0), 0.0)


def exposures(past: Past, requests: Floats) -> Floats:
    """Return how much each node-second counts: requests, but for errorSeconds what chance makes of them.

    A server with ten times the requests has less than ten times the seconds with errors, since a second counts once.
    """
    found = requests.copy()
    level = max(1e-6, float(rate(past)[0])) if len(past.nodes) else 1e-3
    found[:, 1] = -np.expm1(-level * requests[:, 1]) / level
    return found


@lru_cache(maxsize=CACHED)
def host_factors(past: Past, nodes: tuple[str, ...], learned: Learned) -> tuple[Floats, Floats]:
    """Return each node's rate as a multiple of the service's, shrunk to 1 by how little is known, and the variance of its log.

    The gamma-Poisson posterior mean: ``(x + k) / (lambda + k)`` with ``k = 1 / sigma_host ** 2``.
    """
    prior = 1.0 / column(learned, "host") ** 2
    at = places(nodes, past.nodes)
    if not len(past.nodes):
        at = np.full(len(nodes), -1)
        events = due = np.zeros((len(nodes), COUNT))
    else:
        events = np.where((at >= 0)[:, None], past.sums[at, :COUNT], 0.0)
        due = np.where((at >= 0)[:, None], (_spread(past.sums) * rate(past))[at], 0.0)
    # Events that come in bunches know less than their number.
    tempered = dispersion(past)
    return (events / tempered + prior) / (due / tempered + prior), 1.0 / (events / tempered + prior)


@lru_cache(maxsize=CACHED)
def dispersion(past: Past) -> Floats:
    """Return variance over mean of the events of a node and minute, at least 1: Pearson's chi-square by degree of freedom."""
    return np.maximum(1.0, np.where(past.chi[1] > 0, past.chi[0] / np.maximum(past.chi[1], 1.0), 1.0))


@lru_cache(maxsize=CACHED)
def wander(past: Past) -> Floats:
    """Return the variance of a node's log rate over ten minutes against its own past, with a margin; 0 where not yet known."""
    return SAFETY * np.where(past.wander[1] > 0, past.wander[0] / np.maximum(past.wander[1], 1.0), 0.0)


def _spread(rows: Floats) -> Floats:
    """Return the exposure of each metric."""
    return np.concatenate((rows[:, COUNT : COUNT + 2], np.repeat(rows[:, COUNT + 2 :], len(SLOW), axis=1)), axis=1)


def _joined(past: Past, table: Table) -> Past:
    """Return the record with the nodes of a second that are new to it, those first that were there before."""
    known = {*past.nodes}
    new = [(name, stratum) for name, stratum in zip(table.nodes, table.strata, strict=True) if name not in known]
    names = sorted({*past.nodes, *(name for name, _ in new[: max(0, NODES_MAX - len(past.nodes))])})
    where = dict(zip(past.nodes, past.strata, strict=True)) | dict(new)
    return _renamed(past, tuple(names), where)


def _renamed(past: Past, names: tuple[str, ...], where: dict[str, str]) -> Past:
    return replace(
        past,
        nodes=names,
        strata=tuple(where[name] for name in names),
        minute=realigned(past.minute, names, past.nodes),
        long=realigned(past.long, names, past.nodes),
        sums=realigned(past.sums, names, past.nodes),
    )


def _turn(past: Past, start_ms: int) -> Past:
    """Close a minute: its scatter is compared with what the minutes before made likely, then it joins them."""
    level = max(1e-6, float(rate(past)[0])) if len(past.nodes) else 1e-3
    minute = past.minute.copy()
    seconds = np.maximum(1.0, minute[:, _SECONDS])
    minute[:, _SECONDS] = -np.expm1(-level * minute[:, _REQUESTS] / seconds) / level * seconds
    past = replace(past, minute=minute)
    chi = past.chi * KEEP + _scatter(past) if past.minutes >= LONG_MINUTES // 2 else past.chi
    keep = KEEP ** max(1, (start_ms - past.start_ms) // MINUTE_MS)
    past = replace(past, chi=chi, long=past.long + past.minute, minutes=past.minutes + 1)
    if past.minutes % LONG_MINUTES == 0:
        known = past.minutes > 2 * LONG_MINUTES
        past = replace(
            past, wander=past.wander * KEEP**LONG_MINUTES + _drifted(past) if known else past.wander, long=past.long * 0
        )
        past = _without_gone(past)
    past = replace(
        past, sums=past.sums * keep + past.minute, minute=past.minute * 0, counts=past.counts * keep, start_ms=start_ms
    )
    return _with_edges(past)


def _scatter(past: Past) -> Floats:
    """Return (sum of squared residuals over their expectation, number of terms) of the minute, by metric.

    Node effects come from the sums, the minute's effect is taken out, and so are the largest terms (``TRIM``).
    """
    due = _spread(past.minute) * (past.sums[:, :COUNT] + 0.5) / np.maximum(_spread(past.sums), 1e-9)
    present = (past.minute[:, _REQUESTS] > 0) & (past.sums[:, _REQUESTS] > 0)
    if present.sum() < 3:
        return _zeros(2, COUNT)
    due, seen = due[present], past.minute[present, :COUNT]
    due = due * (seen.sum(axis=0) + 0.5) / (due.sum(axis=0) + 0.5)
    terms = np.sort((seen - due) ** 2 / np.maximum(due, 0.05), axis=0)
    most = max(1, int(len(terms) * (1.0 - TRIM) + 0.5)) if len(terms) >= 20 else 0
    kept = terms[: len(terms) - most] if most else terms
    return np.stack((kept.sum(axis=0), np.full(COUNT, max(1.0, len(kept) - 1.0))))


def _drifted(past: Past) -> Floats:
    """Return (variance of log rates of the long block against the sums, beyond chance; 1), by metric.

    Robust: from the 68th percentile of absolute deviations, since some servers always have an incident.
    """
    due = _spread(past.long) * (past.sums[:, :COUNT] + 0.5) / np.maximum(_spread(past.sums), 1e-9)
    present = (past.long[:, _REQUESTS] > 0) & (past.sums[:, _REQUESTS] > 0)
    if present.sum() < 5:
        return _zeros(2, COUNT)
    due, seen = due[present], past.long[present, :COUNT]
    due = due * (seen.sum(axis=0) + 0.5) / (due.sum(axis=0) + 0.5)
    deviation = np.abs(np.log((seen + 0.5) / (due + 0.5)))
    scale = np.sort(deviation, axis=0)[int(0.68 * len(deviation))] ** 2
    tempered = dispersion(past)
    chance = tempered * (1.0 / (seen.mean(axis=0) + 0.5) + 1.0 / (past.sums[present, :COUNT].mean(axis=0) + 0.5))
    enough = seen.mean(axis=0) >= 3.0
    return np.where(enough, np.stack((np.maximum(0.0, scale - chance), np.ones(COUNT))), 0.0)


def _without_gone(past: Past) -> Past:
    """Drop nodes that were silent for so long that nearly nothing is left of them."""
    left = past.sums[:, COUNT] + past.minute[:, _REQUESTS] >= 1.0
    if left.all():
        return past
    names = tuple(compress(past.nodes, left.tolist()))
    return _renamed(past, names, dict(zip(past.nodes, past.strata, strict=True)))


def _with_edges(past: Past) -> Past:
    """Choose the edges of slow requests, first when there is enough, again when the service has become another."""
    total = float(past.counts.sum())
    if total < REQUESTS_MIN or (past.edges and past.start_ms < past.edges_ms + EDGES_MS):
        return past
    below = np.cumsum(past.counts)
    edges = tuple(int(np.searchsorted(below, share * total)) for share in QUANTILES)
    if past.edges and max(abs(new - old) for new, old in zip(edges, past.edges, strict=True)) < EDGE_MOVES:
        return replace(past, edges_ms=past.start_ms)
    first = COUNT - len(SLOW)

    def without(rows: Floats) -> Floats:
        rows = rows.copy()
        rows[:, first:COUNT] = 0.0
        rows[:, COUNT + 2] = 0.0
        return rows

    chi, wandered = past.chi.copy(), past.wander.copy()
    chi[:, first:] = 0.0
    wandered[:, first:] = 0.0
    return replace(
        past, edges=edges, edges_ms=past.start_ms, sums=without(past.sums), long=without(past.long), chi=chi, wander=wandered
    )
