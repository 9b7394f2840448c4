"""Seconds of little traffic as panes that limits can use: as many as it takes for both sides to have enough requests.

A limit counts panes with ``minRequests`` on both sides (C1). A lone canary that is asked ten times a second would never have
one, and its guardrails would say nothing for ever. So seconds are added up until there are enough, and that is one pane of the
limit; ``of: 2/3`` means two of the last three of these. Every guarantee of ``limits`` holds as it stands, since nothing about a
pane says how long it is.

Of a service limits that ask for as many (``least``) share a pane; a second that is enough by itself is one. What the canary's
neighbours said is added up with it (C2). What is added up is said by both sides at the same time: a second in which both have a
request, or the shortest stretch in which both have one, at most ``STRETCH_MS``. What one side says while the other is away longer
is no part of a pane: it would stand against nothing. So nothing in a pane grows old, and it may take as long as it takes: at half
a request a second 40 s for 20 requests.

Of probes and of a flag's variants all limits share a pane of every second: enough are ``PANE_REQUESTS``, and of a flag whose
guardrails ask for more, that.

| knob | default | why |
|---|---|---|
| ``PANE_REQUESTS`` | 20 | what a guardrail asks for by default; with 10, three slow answers in 30 would break a p99 |
| ``QUANTILE_REQUESTS`` | 40 | of 20 requests the p95 is the slowest one, and 1.3 times that is nothing |
| ``STRETCH_MS`` | 10 s | after so long a canary is held for being idle (``absence.idle``): it is no part of the same traffic |
| ``OPEN_MOST_MS`` | 60 s | of slices: a side that is not there for so long begins anew, what the other one saw has grown old |
| ``LOST_PANES`` | 60 | after lost state a pass waits for panes of so many seconds each, no longer: nobody may ask any more |
| ``GROSS_PANES`` | 30 s | the gross trip needs 10 errors, and a canary that is asked once a second has no more in ten |
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.limits import Limit
from tidegate.detect.measure import QUANTILES
from tidegate.detect.neighbours import NOBODY, Neighbours
from tidegate.kpi.pane import NodePane, Table
from tidegate.kpi.strata import stratum_of
from tidegate.kpi.sums import Sums, plus
from tidegate.wire.plans import Guardrail
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

PANE_REQUESTS = 20
QUANTILE_REQUESTS = 40
STRETCH_MS = 10_000
OPEN_MOST_MS = 60_000
LOST_PANES = 60
GROSS_PANES = 30
METRICS = frozenset(("errorRatio", "p50", "p95", "p99"))
"""What slices measure, and what can be added up: of a gauge or a ratio of the service a second counts or does not."""


class Beside(Struct, frozen=True, array_like=True):
    """What nodes of one stratum counted that stay as they are: ``slow`` above each edge that the service is looked at by."""

    requests: int = 0
    errors: int = 0
    slow: tuple[int, ...] = ()


class Gathered(Struct, frozen=True, array_like=True):
    """A pane that is not full yet. ``since_ms``: end of its first second, 0: there is none."""

    since_ms: int = 0
    nodes: dict[str, Sums] = {}
    """Of the canary."""
    control: Sums = Sums()
    strata: dict[str, str] = {}
    """Of the canary's nodes."""
    beside: dict[str, Beside] = {}
    """By stratum; for what was counted above ``edges``."""
    edges: tuple[int, ...] = ()


NOTHING = Gathered()

Said = tuple[tuple[NodePane, ...], Sums | None, Neighbours]
"""What canary, control (None: there is none) and the canary's neighbours said in a second, or in several."""


def limits_of(rules: tuple[Limit, ...], *, probes: bool) -> tuple[Limit, ...]:
    """Return the limits that a slice can be held to. Of probes there are few: a limit cannot ask for more than a pane has."""
    found = (limit for limit in rules if limit.guardrail.metric in METRICS)
    if not probes:
        return tuple(found)
    return tuple(
        replace(limit, guardrail=replace(limit.guardrail, min_requests=min(limit.guardrail.min_requests, PANE_REQUESTS)))
        for limit in found
    )


def pane_requests(rules: tuple[Limit, ...]) -> int:
    """Return how many requests make a pane full."""
    return max((PANE_REQUESTS, *(limit.guardrail.min_requests for limit in rules)))


def least(guardrail: Guardrail) -> int:
    """Return how many requests make a pane of a service full for a limit."""
    compared = guardrail.metric in QUANTILES and guardrail.max_ratio_to_control is not None
    return max(guardrail.min_requests, QUANTILE_REQUESTS if compared else 0)


def is_full(canary: Sequence[NodePane], control: Sums | None, least: int, *, compared: bool) -> bool:
    """Return whether a second has ``least`` requests by itself; ``compared``: with a control, which needs as many."""
    few = compared and (control is None or control.requests < least)
    return not few and sum(node.requests for node in canary) >= least


def stretch(before: Gathered, second: Said, end_ms: int, *, compared: bool) -> tuple[Said | None, Gathered]:
    """Return what both sides said at the same time, once they did, and what one side said that waits for the other.

    A second in which both speak stands for itself, so that a control which is never silent brings nothing but that second to a
    canary that comes back.
    """
    canary, control, neighbours = second
    if is_full(canary, control, 1, compared=compared):
        return second, NOTHING
    if not compared or not (is_full(canary, None, 1, compared=False) or (control is not None and control.requests)):
        return None, before
    waiting = gather(young(before, end_ms, STRETCH_MS), canary, control, end_ms, neighbours)
    if enough(waiting, 1, compared=compared):
        return (nodes_of(waiting), waiting.control, neighbours_of(waiting)), NOTHING
    return None, waiting


def young(before: Gathered, end_ms: int, most_ms: int) -> Gathered:
    """Return what was gathered, nothing where it began ``most_ms`` ago."""
    return before if end_ms - before.since_ms < most_ms else NOTHING


def gather(
    before: Gathered, canary: tuple[NodePane, ...], control: Sums | None, end_ms: int, neighbours: Neighbours = NOBODY
) -> Gathered:
    """Return the pane with one more second, or stretch of seconds."""
    nodes = dict(before.nodes)
    for node in canary:
        nodes[node.node] = plus(nodes.get(node.node, Sums()), _sums(node))
    return Gathered(
        before.since_ms or end_ms,
        nodes,
        plus(before.control, control) if control is not None else before.control,
        {**before.strata, **{node.node: stratum_of(node.zone, node.labels) for node in canary}},
        _with(before.beside if before.edges == neighbours.edges else {}, neighbours.table),
        neighbours.edges,
    )


def enough(gathered: Gathered, least: int, *, compared: bool) -> bool:
    """Return whether the pane has ``least`` requests; ``compared``: with a control, which needs as many."""
    requests = sum(sums.requests for sums in gathered.nodes.values())
    return requests >= least and (not compared or gathered.control.requests >= least)


def nodes_of(gathered: Gathered) -> tuple[NodePane, ...]:
    """Return the canary's nodes over the whole pane."""
    return tuple(
        NodePane(
            node=node,
            zone=gathered.strata.get(node, ""),
            requests=sums.requests,
            errors=sums.errors,
            counts=np.array(sums.counts or [0] * HISTOGRAM_SLOTS, dtype=np.int64),
            telemetry=True,
        )
        for node, sums in sorted(gathered.nodes.items())
    )


def neighbours_of(gathered: Gathered) -> Neighbours:
    """Return the canary's neighbours over the whole pane, each stratum as one."""
    strata = tuple(sorted(gathered.beside))
    if not strata:
        return Neighbours(edges=gathered.edges)
    told = [gathered.beside[stratum] for stratum in strata]
    table = Table(
        nodes=strata,
        requests=np.array([one.requests for one in told], dtype=np.int64),
        errors=np.array([one.errors for one in told], dtype=np.int64),
        slow=np.array([one.slow for one in told], dtype=np.int64).reshape(len(told), -1),
        strata=strata,
    )
    return Neighbours(table, gathered.edges)


def _with(before: dict[str, Beside], table: Table | None) -> dict[str, Beside]:
    if table is None:
        return before
    found, strata = dict(before), np.array(table.strata)
    for stratum in sorted(set(table.strata)):
        there = strata == stratum
        slow = table.slow[there].sum(axis=0).tolist()
        one = found.get(stratum, Beside(slow=(0,) * len(slow)))
        found[stratum] = Beside(
            one.requests + int(table.requests[there].sum()),
            one.errors + int(table.errors[there].sum()),
            tuple(a + b for a, b in zip(one.slow, slow, strict=True)),
        )
    return found


def _sums(node: NodePane) -> Sums:
    counts = node.counts.tolist() if node.counts is not None and node.counts.any() else []
    return Sums(1, node.requests, node.errors, counts)
