"""The rest of a service node by node, for statistics that compare nodes: one pass over the columns for all services at once."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tidegate.kpi.pane import Table
from tidegate.kpi.rows import Flags, Integers, Rows
from tidegate.kpi.strata import stratum_of
from tidegate.wire.nodeseconds import Extra
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

MANY = 64
CACHED = 64
"""Orders of so many sets of names are remembered. Never part of a state."""


def in_order(names: frozenset[str]) -> tuple[str, ...]:
    """Return names sorted. A large service has the same ones second after second: they are sorted once."""
    return _in_order(names) if len(names) >= MANY else tuple(sorted(names))


@lru_cache(maxsize=CACHED)
def _in_order(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def locate(strata: dict[int, str], place: int, extra: Extra) -> None:
    """Note the stratum of a place where a row names one; of several the last by name, so that their order never matters."""
    stratum = stratum_of(extra.zone, extra.labels) if extra.labels else extra.zone
    if stratum > strata.get(place, ""):
        strata[place] = stratum


def tables_of(
    rows: Rows,
    kinds: tuple[Flags, Flags],
    named: Mapping[str, tuple[str, ...]],
    edges: Mapping[str, tuple[int, ...]],
    strata: dict[int, str],
) -> dict[str, Table]:
    """Return the table of each service in ``named``: of these nodes, in their order.

    ``kinds`` has the rows of telemetry that count, and those of agents, which say where a node is if its telemetry does not;
    ``strata`` what the telemetry says, by place. Counts are exact below 2 ** 53.
    """
    if not named:
        return {}
    counted, agent = kinds
    places = [rows.places[service, node] for service, nodes in named.items() for node in nodes]
    line = np.full(len(rows.places), -1, dtype=np.int64)
    """Line of each place in all tables, one below the other."""
    line[places] = np.arange(len(places))
    unknown = line >= 0
    unknown[list(strata)] = False
    for place, extra in rows.extras(agent & unknown[rows.place]):
        locate(strata, place, extra)
    mine = counted & (line[rows.place] >= 0)
    own = line[rows.place[mine]]
    requests, errors = (_sums(own, column[mine], len(places)) for column in (rows.requests, rows.errors))
    service = np.repeat(np.arange(len(named)), [len(nodes) for nodes in named.values()])
    above = rows.above(mine, _padded([edges[name] for name in named])[service[own]])
    slow = (
        np.array([_sums(own, column, len(places)) for column in above.T], dtype=np.int64).reshape(above.shape[1], len(places)).T
    )
    where = [strata.get(place, "") for place in places] if strata else [""] * len(places)
    found: dict[str, Table] = {}
    end = 0
    for name, nodes in named.items():
        begin, end = end, end + len(nodes)
        counts = requests[begin:end], errors[begin:end], slow[begin:end, : len(edges[name])]
        found[name] = Table(nodes, *counts, tuple(where[begin:end]))
    return found


def _padded(edges: Sequence[tuple[int, ...]]) -> Integers:
    """Return int64[services, most edges]; nothing lies above the last slot."""
    width = max(map(len, edges))
    return np.array([[*own, *[HISTOGRAM_SLOTS - 1] * (width - len(own))] for own in edges], dtype=np.int64).reshape(
        len(edges), width
    )


def _sums(own: Integers, values: NDArray[np.int64], lines: int) -> Integers:
    return np.bincount(own, values, lines).astype(np.int64)
