"""One second of a service as arrays: who, how many requests, how many events, where, and how long after a restart."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import chain

import numpy as np
from msgspec import Struct

from tidegate.detect.drift.metrics import COUNT, SLOW, Floats
from tidegate.kpi.pane import CohortPane, NodePane, ServicePane, Table
from tidegate.kpi.strata import stratum_of

WARM = 1e9
"""Age in s of a server whose restart nobody saw."""
_FIRST_SLOW = COUNT - len(SLOW)


class Kind(IntEnum):
    """On which side of the comparison a node stands."""

    CANARY = 0
    CONTROL = 1
    REST = 2


_KINDS = np.array((Kind.CANARY, Kind.CONTROL, Kind.REST, Kind.REST), dtype=np.float64)


class Second(Struct, frozen=True, eq=False):
    """Nodes with telemetry, canaries first. ``requests`` float64[n, metrics]: 0 where a metric could not be counted."""

    end_ms: int
    nodes: tuple[str, ...]
    kinds: Floats
    requests: Floats
    events: Floats
    strata: tuple[str, ...]
    age_s: Floats


def second_of(pane: ServicePane, edges: tuple[int, ...], ages_s: Mapping[str, float]) -> Second:
    """Return a closed pane as arrays. ``ages_s``: since their own restart, for the canaries and controls of which it is known."""
    parts = [*(table_of(pane.cohorts.get(name), edges) for name in ("canary", "control")), *_rest(pane, edges)]
    nodes = tuple(chain.from_iterable(part.nodes for part in parts))
    counts = [len(part.nodes) for part in parts]
    kinds = np.repeat(_KINDS[: len(parts)], counts)
    requests = np.concatenate([part.requests for part in parts]).astype(np.float64)
    errors = np.concatenate([part.errors for part in parts]).astype(np.float64)
    events, counted = np.zeros((len(nodes), COUNT)), np.zeros((len(nodes), COUNT))
    events[:, 0], events[:, 1] = errors, np.minimum(errors, 1.0)
    counted[:, :2] = requests[:, None]
    at = 0
    for part, count in zip(parts, counts, strict=True):
        if count and part.slow.shape[1] == len(SLOW):
            events[at : at + count, _FIRST_SLOW:] = part.slow
            counted[at : at + count, _FIRST_SLOW:] = part.requests[:, None]
        at += count
    compared = counts[0] + counts[1]
    ages = np.full(len(nodes), WARM)
    ages[:compared] = [max(0.0, ages_s.get(name, WARM)) for name in nodes[:compared]]
    return Second(pane.end_ms, nodes, kinds, counted, events, tuple(chain.from_iterable(part.strata for part in parts)), ages)


def _rest(pane: ServicePane, edges: tuple[int, ...]) -> list[Table]:
    cohort = pane.cohorts.get("rest")
    table = cohort.crowd.table if cohort is not None else None
    one_by_one = table_of(cohort, edges)
    return [one_by_one, table] if table is not None else [one_by_one]


def table_of(cohort: CohortPane | None, edges: tuple[int, ...]) -> Table:
    """Return the nodes of a cohort that are known one by one, as columns."""
    nodes = [*cohort.reporting()] if cohort is not None else []
    return Table(
        nodes=tuple(node.node for node in nodes),
        requests=np.array([node.requests for node in nodes], dtype=np.int64),
        errors=np.array([node.errors for node in nodes], dtype=np.int64),
        slow=_slow(nodes, edges),
        strata=tuple(stratum_of(node.zone, node.labels) if node.labels else node.zone for node in nodes),
    )


def _slow(nodes: Sequence[NodePane], edges: tuple[int, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    if not nodes or not edges:
        return np.zeros((len(nodes), len(edges)), dtype=np.int64)
    zeros = np.zeros(1, dtype=np.int64)
    table = np.array([node.counts if node.counts is not None else np.broadcast_to(zeros, 160) for node in nodes])
    below = np.cumsum(table, axis=1)
    slow: np.ndarray[tuple[int, int], np.dtype[np.int64]] = below[:, -1:] - below[:, list(edges)]
    return slow
