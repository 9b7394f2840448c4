"""Gates: seconds that say nothing about a release, because everybody, a whole stratum or a single server is in trouble.

All look at sums over about five seconds against what is to be expected of these servers. A gate shuts when a sum is more than
twice that and beyond four standard deviations, and stays shut for ten seconds, since bursts have tails.

| gate | who is hot | what is left out |
|---|---|---|
| burst | all servers of the old version together | the second, for the whole family of metrics |
| stratum | those of one zone and kind of machine | the second of that stratum, likewise |
| peer | one server of the rest against the others of its stratum, where there are three | its second |

Of canaries and controls none is left out here: of one side alone it would be a bias, and what ails two of five canaries is no
incident. One canary that is ill is left out by ``weigh.without``.
"""

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.detect.drift.arrays import places
from tidegate.detect.drift.metrics import COUNT, FAMILIES, Floats

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

TRAIL = 0.8
"""What is kept of a trailing sum a second later: it remembers five."""
HOT = 2.0
HOT_UNKNOWN = 3.0
"""For a server with next to no history: its own level may well be half or twice that of others."""
SIGMAS = 4.0
MARGIN = 3.0
PEERS_MIN = 3
HOLD_S = 10
LEVEL_S = 300.0
"""How fast the level of a stratum follows: what lasts much longer than a burst is what the service is like now."""
CAP_MIN, CAP_TIMES = 5.0, 4.0
"""Events of a node in one second count up to this many times what was to be expected: a storm of retries is one event."""


def capped(events: Floats, due: Floats) -> Floats:
    """Return events a node and second, no more than a few times those due."""
    found: Floats = np.minimum(events, np.maximum(CAP_MIN, 1.0 + np.ceil(CAP_TIMES * due)))
    return found


class Gates(Struct, frozen=True, eq=False):
    """Trailing sums of events and of what was due, and seconds for which a gate stays shut. Rows: nodes; strata, and last all."""

    nodes: tuple[str, ...] = ()
    roots: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 2, COUNT), dtype=np.float16))
    """[nodes, (events, due), metrics], as square roots: a sum is known to a thousandth up to four billions, in two bytes.
    There is a row for each node, so they are most of a rollout's state.
    """
    holds: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, COUNT), dtype=np.uint8))
    """[nodes, metrics]."""
    strata: Floats = field(default_factory=lambda: np.zeros((1, 4, COUNT)))
    """[strata + 1, (events, due, hold, level), metrics]."""
    burning_s: Floats = field(default_factory=lambda: np.zeros(COUNT))
    """For how long the burst gate has been shut without a gap."""


class Who(Struct, frozen=True, eq=False):
    """The nodes of a second, the numbers of their strata, who is a canary, who a control, and who restarted lately."""

    nodes: tuple[str, ...]
    stratum: Integers
    canary: Flags
    control: Flags
    cold: Flags


def look(gates: Gates, who: Who, told: tuple[Floats, Floats, Floats]) -> Gates:
    """Return the gates after one more second. ``told``: events, due, and how well each node's level is known (0 to 1), by metric.

    Who restarted lately is compared with others that did, and tells nothing about the weather. ``gates.strata`` must have a row
    for each stratum and one more.
    """
    events, due, known = told
    before, holds = _rows(gates, who.nodes)
    seen, expected = before[:, 0] * TRAIL + events, before[:, 1] * TRAIL + due
    alone = _alone(who, seen, expected, known)
    holds = holds - (holds > 0)
    if alone is not None:
        holds[alone] = HOLD_S
    steadfast = ~who.canary & ~who.cold
    steady = steadfast[:, None] & (holds == 0)
    size = len(gates.strata)
    inside = np.zeros((size, len(who.nodes)))
    inside[who.stratum, np.arange(len(who.nodes))] = 1.0
    sums, owed = inside @ (seen * steady), inside @ (expected * steady)
    levels = np.where(gates.strata[:, 3] > 0, gates.strata[:, 3], 1.0)
    # A stratum that is in trouble is no weather for the others: what is left of them makes the last row.
    calm = ~hot(sums, owed * levels, HOT) & (gates.strata[:, 2] <= 1.0)
    sums[-1], owed[-1] = (sums * calm)[:-1].sum(axis=0), (owed * calm)[:-1].sum(axis=0)
    together = hot(sums, owed * levels, HOT)
    for columns in FAMILIES.values():
        # Latency is one thing: where its quantiles below are in trouble, slower servers are so in one above that is not yet.
        together[:, columns] = together[:, columns].any(axis=1, keepdims=True)
    present = owed[:-1].sum(axis=1) > 0
    ratio = np.clip(np.where(owed > 0, sums / np.maximum(owed, 1e-9), 1.0), 0.5 * levels, HOT * levels)
    held = np.where(together, HOLD_S, np.maximum(0.0, gates.strata[:, 2] - 1.0))
    if present.any():
        # Where each stratum is shut, all are, and no longer than the first of them.
        held[-1] = np.maximum(held[-1], held[:-1][present].min(axis=0))
    strata = np.stack((sums, owed, held, levels + (ratio - levels) / LEVEL_S), axis=1)
    burning = np.where(held[-1] > 0, gates.burning_s + 1.0, 0.0)
    roots = np.sqrt(np.stack((seen, expected), axis=1)).astype(np.float16)
    return replace(gates, nodes=who.nodes, roots=roots, holds=holds, strata=strata, burning_s=burning)


def trailing(gates: Gates) -> Floats:
    """Return trailing events and what was due, float64[nodes, 2, metrics]."""
    found: Floats = np.square(gates.roots, dtype=np.float64)
    return found


def _rows(gates: Gates, nodes: tuple[str, ...]) -> tuple[Floats, NDArray[np.uint8]]:
    """Return trailing sums and holds in the order of the nodes of this second."""
    if nodes == gates.nodes:
        return trailing(gates), gates.holds
    sums, holds = np.zeros((len(nodes), 2, COUNT)), np.zeros((len(nodes), COUNT), dtype=np.uint8)
    at = places(nodes, gates.nodes)
    known = at >= 0
    sums[known], holds[known] = trailing(gates)[at[known]], gates.holds[at[known]]
    return sums, holds


def _alone(who: Who, seen: Floats, expected: Floats, known: Floats) -> Flags | None:
    """Return who of the rest is hot beside its peers; None: nobody. A level is at least 1, so it must be hot by itself first.

    Peers are those of its stratum: where a zone is in trouble, none of it is alone.
    """
    suspects = hot(seen, expected, HOT)
    if not suspects.any():
        return None
    alone = np.zeros_like(suspects)
    rest = ~who.canary & ~who.control
    for stratum in np.unique(who.stratum[rest & suspects.any(axis=1)]).tolist():
        mine = np.flatnonzero(rest & (who.stratum == stratum))
        if len(mine) >= PEERS_MIN:
            level = _others(seen[mine], expected[mine])
            times = np.where(known[mine] > 0.5, HOT, HOT_UNKNOWN)
            alone[mine] = hot(seen[mine], expected[mine] * level, times)
    return alone


def counted(gates: Gates, who: Who) -> Floats:
    """Return which node-seconds count, float64[nodes, metrics] of 0 and 1."""
    shut = gates.strata[:, 2] > 0
    found: Floats = ((gates.holds == 0) & ~shut[who.stratum] & ~shut[-1]).astype(np.float64)
    return found


def _others(seen: Floats, expected: Floats) -> Floats:
    """Return how far above its expectation the rest of a cohort is, without its most conspicuous member, at least 1."""
    worst = np.argmax(seen - expected, axis=0)
    at = np.arange(seen.shape[1])
    rest = seen.sum(axis=0) - seen[worst, at]
    due = expected.sum(axis=0) - expected[worst, at]
    found: Floats = np.maximum(1.0, rest / np.maximum(due, 1e-9))
    return found


def hot(seen: Floats, due: Floats, times: Floats | float) -> Flags:
    """Return where a sum is more than ``times`` what was due, and beyond chance."""
    found: Flags = (seen > times * due) & (seen - due > SIGMAS * np.sqrt(2.0 * due) + MARGIN)
    return found
