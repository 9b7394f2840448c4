"""What a service is like while nothing is rolled out: rate of events, host by host, and how much more than chance they scatter.

Blocks of 10 s say how much events bunch, minutes how far servers wander. Sums forget with a half-life of an hour, so the record
needs no history of its own. It stands still while a rollout is under way: a canary is never compared with numbers that it had a
part in.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import compress

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.detect.drift.arrays import places, realigned
from tidegate.detect.drift.gates import HOT, MARGIN, hot
from tidegate.detect.drift.learned import Learned, column
from tidegate.detect.drift.metrics import COUNT, QUANTILES, SLOW, Floats
from tidegate.kpi.pane import Table

MINUTE_MS = 60_000
BLOCK_MS = 10_000
"""Retries of one cause come within it; what lasts longer is a server that is different, which is another thing."""
EARLIEST_MINUTES = 5
"""Before that a server's own level is not known well enough to say that it has left it."""
KEEP = 0.5 ** (1 / 60)
"""Of every sum, a minute later."""
REQUESTS_MIN = 2_000
"""Before the edges of slow requests are chosen: the 99.9th percentile needs that many to be more than the slowest one."""
EDGES_MS = 3_600_000
"""Edges are looked at again after an hour, and moved where one is ``EDGE_MOVES`` buckets off: a bucket is 9 %."""
EDGE_MOVES = 3
NODES_MIN = 3
BUNCH_MAX = 30.0
BURST = 1.5
"""A minute with so many times the usual events of all servers together holds a burst."""
WANDER_PRIOR, WANDER_TRUSTED = 0.03, 500.0
"""The variance before anything is known counts as much as ``due ** 2`` of fifty nodes and minutes with three events each."""
SAMPLED = BLOCK_MS // 1_000
"""Once there are edges, the first second of a block stands for all of it in the latency histogram: edges move by the hour."""
NODES_MAX = 12_000
"""Who comes when there are so many has no past until others are gone."""
GONE_MINUTES = 60.0
"""A server that is silent for so long is forgotten: where each has a new name, the old ones would pile up for a day."""
AWAY_MINUTES = 10
"""A rollout, in which nothing is learned, counts as so much of that at most: who was silent just before it is not gone."""
CACHED = 32
"""What follows from a past is worked out once while it stands still, for so many rollouts at a time. Never part of a state."""
_FIRST_SLOW = COUNT - len(SLOW)
_REQUESTS, _SECONDS, _TIMED, _WIDTH = COUNT, COUNT + 1, COUNT + 2, COUNT + 3
"""Columns behind the events: requests, seconds with any, requests with a histogram; in ``sums`` the second is how many
seconds with errors were to be expected.
"""


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape)


class Past(Struct, frozen=True, kw_only=True, eq=False):
    """``block`` (and the one ``before``), ``minute`` and ``sums``: one row a node, events and exposures side by side."""

    nodes: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    edges: tuple[int, ...] = ()
    edges_ms: int = 0
    start_ms: int = 0
    """Of the current minute."""
    minutes: int = 0
    block_ms: int = 0
    block: Floats = field(default_factory=lambda: _zeros(0, _WIDTH))
    before: Floats = field(default_factory=lambda: _zeros(0, _WIDTH))
    minute: Floats = field(default_factory=lambda: _zeros(0, _WIDTH))
    sums: Floats = field(default_factory=lambda: _zeros(0, _WIDTH))
    silent: Floats = field(default_factory=lambda: _zeros(0))
    """Minutes since each node's last request."""
    bunched: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    """Sums over pairs of blocks: squared differences, and what they would be if events came one by one."""
    wandered: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    """Sums over nodes and minutes: squared residuals beyond chance, and squares of what was due."""
    counts: Floats = field(default_factory=lambda: _zeros(160))


def learn(past: Past, table: Table, end_ms: int, counts: Sequence[int]) -> Past:
    """Return what is known after a second in which nothing was rolled out. ``counts``: latency histogram of all nodes."""
    turned = end_ms > past.block_ms + BLOCK_MS
    if turned:
        past = _next_block(past, end_ms)
    at = None if table.nodes == past.nodes else _places(table.nodes, past.nodes)
    if at is not None and len(past.nodes) < NODES_MAX and int(at.min(initial=0)) < 0:
        past = _joined(past, table)
        at = None if table.nodes == past.nodes else _places(table.nodes, past.nodes)
    block = past.block + _columns(table) if at is None else _added(past.block, at, _columns(table))
    if not counts or (past.edges and not turned):
        return replace(past, block=block)
    return replace(past, block=block, counts=past.counts + np.array(counts) * (SAMPLED if past.edges else 1))


_places = lru_cache(maxsize=CACHED)(places)
"""Who is silent now was silent a second ago, mostly."""


def _columns(table: Table) -> Floats:
    found = np.zeros((len(table.nodes), _WIDTH))
    found[:, 0], found[:, 1] = table.errors, table.errors > 0
    found[:, _REQUESTS], found[:, _SECONDS] = table.requests, table.requests > 0
    if table.slow.shape[1] == len(SLOW):
        found[:, _FIRST_SLOW:COUNT], found[:, _TIMED] = table.slow, table.requests
    return found


def _added(rows: Floats, at: NDArray[np.int64], more: Floats) -> Floats:
    """Return rows with more added at some places; what has no place is left out."""
    known = at >= 0
    rows = rows.copy()
    rows[at[known]] += more[known]
    return rows


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
    """Return variance over mean of the events of a node in ten seconds, at least 1, at most ``BUNCH_MAX``.

    From how events split between blocks that follow each other, so that neither a server's level nor its slow wandering counts:
    Pearson's chi-square of a binomial split over its degrees of freedom.
    """
    found: Floats = np.clip(past.bunched[0] / np.maximum(past.bunched[1], 1.0), 1.0, BUNCH_MAX)
    return found


@lru_cache(maxsize=CACHED)
def wander(past: Past) -> Floats:
    """Return the variance of the log of a server's rate from minute to minute around its own past; the prior's until known.

    Method of moments: residuals have the variance ``dispersion * due + (wander * due) ** 2``.
    """
    found = (past.wandered[0] + WANDER_TRUSTED * WANDER_PRIOR) / (past.wandered[1] + WANDER_TRUSTED)
    clipped: Floats = np.maximum(0.0, found)
    return clipped


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
        block=realigned(past.block, names, past.nodes),
        before=realigned(past.before, names, past.nodes),
        minute=realigned(past.minute, names, past.nodes),
        sums=realigned(past.sums, names, past.nodes),
        silent=realigned(past.silent, names, past.nodes),
    )


def _next_block(past: Past, end_ms: int) -> Past:
    """Close a block: it is compared with the one before it, and joins its minute."""
    bunched = past.bunched
    if past.before.shape == past.block.shape and past.start_ms:
        bunched = bunched * KEEP ** (BLOCK_MS / MINUTE_MS) + _bunching(past)
    block_ms = (end_ms - 1) // BLOCK_MS * BLOCK_MS
    follows = past.block_ms + BLOCK_MS == block_ms
    before = past.block if follows else past.block * 0
    minute = past.minute + _calmed(past)
    past = replace(past, bunched=bunched, minute=minute, before=before, block=past.block * 0, block_ms=block_ms)
    start_ms = (end_ms - 1) // MINUTE_MS * MINUTE_MS
    if start_ms == past.start_ms:
        return past
    return _next_minute(past, start_ms) if past.start_ms else replace(past, start_ms=start_ms)


def _calmed(past: Past) -> Floats:
    """Return the block with no more than ``HOT`` times the usual events of all servers together.

    Gates leave bursts out of every comparison, so what is usual must be without them, too. Where it has really become more, it is
    learned a factor at a time.
    """
    if not past.minutes:
        return past.block
    seen, due = past.block[:, :COUNT].sum(axis=0), rate(past) * _spread(_exposed(past, past.block)).sum(axis=0)
    burst = hot(seen, due, HOT) & (due > 0)
    if not burst.any():
        return past.block
    block = past.block.copy()
    block[:, :COUNT] *= np.where(burst, HOT * due / np.maximum(seen, 1e-9), 1.0)
    return block


def _exposed(past: Past, rows: Floats) -> Floats:
    """Return rows in which seconds with requests are the seconds with errors that were to be expected of them."""
    known = past.sums[:, _REQUESTS].any()
    level = float(rate(past)[0]) if known else rows[:, 0].sum() / max(1.0, rows[:, _REQUESTS].sum())
    level = max(1e-6, level)
    seconds = np.maximum(1.0, rows[:, _SECONDS])
    found = rows.copy()
    found[:, _SECONDS] = -np.expm1(-level * rows[:, _REQUESTS] / seconds) / level * seconds
    return found


def _next_minute(past: Past, start_ms: int) -> Past:
    """Close a minute: its residuals say how far servers wander, then it joins those before it."""
    minute = _exposed(past, past.minute)
    past = replace(past, minute=minute, minutes=past.minutes + 1)
    if past.minutes > EARLIEST_MINUTES:
        past = replace(past, wandered=past.wandered * KEEP + _wandering(past))
    elapsed = max(1, (start_ms - past.start_ms) // MINUTE_MS)
    keep = KEEP**elapsed
    past = replace(
        past,
        sums=past.sums * keep + minute,
        silent=np.where(minute[:, _REQUESTS] > 0, 0.0, past.silent + min(elapsed, AWAY_MINUTES)),
        minute=minute * 0,
        counts=past.counts * keep,
        start_ms=start_ms,
    )
    return _with_edges(_without_gone(past) if past.minutes % EARLIEST_MINUTES == 0 else past)


def _bunching(past: Past) -> Floats:
    """Return the sums of two blocks for ``dispersion``. What all nodes have in common cancels."""
    there = (past.before[:, _REQUESTS] > 0) & (past.block[:, _REQUESTS] > 0) & (past.sums[:, _REQUESTS] > 0)
    if there.sum() < NODES_MIN:
        return _zeros(2, COUNT)
    before, block = past.before[there], past.block[there]
    first, then = before[:, :COUNT], block[:, :COUNT]
    owed, due = _due(past, before, there), _due(past, block, there)
    share = due / np.maximum(owed + due, 1e-9)
    apart = (then - share * (first + then)) ** 2 * len(block) / (len(block) - 1)
    return np.stack((apart.sum(axis=0), (share * (1.0 - share) * (first + then)).sum(axis=0)))


def _wandering(past: Past) -> Floats:
    """Return the sums of a minute for ``wander``. What all nodes have in common is taken out; bursts and incidents say nothing,
    since gates leave them out and servers feel them as differently as they like.
    """
    there = (past.minute[:, _REQUESTS] > 0) & (past.sums[:, _REQUESTS] > 0)
    if there.sum() < NODES_MIN:
        return _zeros(2, COUNT)
    minute, sums = past.minute[there], past.sums[there]
    seen, due = minute[:, :COUNT], _due(past, minute, there)
    usual = _spread(minute) * (sums[:, :COUNT] + 0.5) / np.maximum(_spread(sums), 1e-9)
    chance = dispersion(past) * due * (1.0 + due / (sums[:, :COUNT] + 0.5))
    kept = ~hot(seen, due, HOT) & (due.sum(axis=0) < BURST * usual.sum(axis=0) + MARGIN)
    return np.stack(((((seen - due) ** 2 - chance) * kept).sum(axis=0), (due**2 * kept).sum(axis=0)))


def _due(past: Past, rows: Floats, there: NDArray[np.bool_]) -> Floats:
    """Return what was due of each node at the level that all had together."""
    usual = _spread(rows) * (past.sums[there, :COUNT] + 0.5) / np.maximum(_spread(past.sums[there]), 1e-9)
    found: Floats = usual * (rows[:, :COUNT].sum(axis=0) + 0.5) / (usual.sum(axis=0) + 0.5)
    return found


def _without_gone(past: Past) -> Past:
    """Drop nodes that have been silent for ``GONE_MINUTES``."""
    left = past.silent < GONE_MINUTES
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

    bunched, wandered = past.bunched.copy(), past.wandered.copy()
    bunched[:, first:] = 0.0
    wandered[:, first:] = 0.0
    return replace(
        past,
        edges=edges,
        edges_ms=past.start_ms,
        sums=without(past.sums),
        before=past.before * 0,
        bunched=bunched,
        wandered=wandered,
    )
