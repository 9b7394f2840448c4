"""Every guarded metric as parts of wholes, node by node, with what is allowed: the one form in which limits are judged."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.neighbours import NOBODY, Neighbours
from tidegate.detect.shares import quantile_ms, weights_above
from tidegate.kpi.pane import NodePane
from tidegate.kpi.sums import Sums
from tidegate.wire.plans import Guardrail

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class Measured(Struct, frozen=True, array_like=True):
    """One counted pane of one limit: ``part / whole > allowed`` breaks it.

    Error ratio: errors of requests. Quantile: requests slower than the bound, of requests. Gauge: sum of values, of rows.
    ``canary``, ``control`` and ``bound`` are what a person is shown, in the metric's own unit.
    """

    nodes: tuple[tuple[str, float, float], ...]
    allowed: float
    control_part: float
    control_whole: float
    canary: float
    control: float | None
    bound: float
    total: tuple[float, float, float] | None = None
    """Sums of parts and of wholes over the nodes, and the largest whole of one; None in checkpoints of version 3."""
    near: tuple[float, float] | None = None
    """Errors and requests of the canary's neighbours, in a pane that exceeds the control."""


def totals(pane: Measured) -> tuple[float, float, float]:
    """Return the part and the whole of all nodes of a pane, and the whole of the node that has most."""
    return pane.total if pane.total is not None else _total(pane.nodes)


def measure(
    guardrail: Guardrail, nodes: Sequence[NodePane], reference: Sums | None, neighbours: Neighbours = NOBODY
) -> Measured | None:
    """Return one pane of the canary under one guardrail, or None where the pane does not count for it (C1).

    It counts with ``minRequests`` on both sides (on the one side there is, where no reference exists), the metric present on the
    sides it needs. A ratio needs a reference, that of a gauge one above 0: no multiple of 0 or less is a level. Where the control
    is exceeded, the worse of control and neighbours is what counts: neighbours are looked at only then, since it is rare and they
    are many.
    """
    requests = sum(node.requests for node in nodes)
    if requests < guardrail.min_requests or (reference is not None and reference.requests < guardrail.min_requests):
        return None
    if guardrail.max_ratio_to_control is not None and reference is None:
        return None
    if guardrail.metric in QUANTILES:
        return _quantile(guardrail, nodes, reference, neighbours)
    measured = _share(guardrail, nodes, reference)
    if measured is None or guardrail.metric != "errorRatio" or not outside(measured):
        return measured
    near = neighbours.errors(nodes)
    if near is None or guardrail.max_ratio_to_control is None:
        return replace(measured, near=near)
    return replace(measured, near=near, allowed=max(measured.allowed, guardrail.max_ratio_to_control * near[0] / near[1]))


def is_gauge(guardrail: Guardrail) -> bool:
    """Return whether a limit is on values, which are measured, not on events, which are counted."""
    return guardrail.metric.startswith("gauge.")


def outside(measured: Measured) -> bool:
    """Return whether a pane breaks its limit."""
    part, whole, _ = totals(measured)
    return whole > 0 and part > measured.allowed * whole


def _share(guardrail: Guardrail, nodes: Sequence[NodePane], reference: Sums | None) -> Measured | None:
    parts, control = _parts(guardrail.metric, nodes, reference)
    part, whole = sum(item[1] for item in parts), sum(item[2] for item in parts)
    if whole <= 0:
        return None
    level = control[0] / control[1] if control[1] > 0 else None
    if guardrail.max is not None:
        allowed = guardrail.max
    elif guardrail.max_ratio_to_control is not None and level is not None and (level > 0 or not is_gauge(guardrail)):
        allowed = guardrail.max_ratio_to_control * level
    else:
        return None
    return Measured(parts, allowed, control[0], control[1], part / whole, level, allowed, _total(parts))


def _total(nodes: Sequence[tuple[str, float, float]]) -> tuple[float, float, float]:
    wholes = [whole for _, _, whole in nodes]
    return sum(part for _, part, _ in nodes), sum(wholes), max(wholes, default=0.0)


def _parts(
    metric: str, nodes: Sequence[NodePane], reference: Sums | None
) -> tuple[tuple[tuple[str, float, float], ...], tuple[float, float]]:
    control = (0.0, 0.0)
    if metric == "errorRatio":
        if reference is not None:
            control = _pair(reference.errors, reference.requests)
        return tuple((node.node, *_pair(node.errors, node.requests)) for node in nodes), control
    kind, _, name = metric.partition(".")
    if kind == "gauge":
        if reference is not None:
            control = _pair(*reference.gauges.get(name, (0.0, 0)))
        return tuple((node.node, *_pair(node.gauges[name], 1)) for node in nodes if name in node.gauges), control
    if reference is not None:
        control = _pair(*reference.ratios.get(name, (0, 0)))
    return tuple((node.node, *_pair(*node.ratios[name])) for node in nodes if name in node.ratios), control


def _pair(part: float, whole: float) -> tuple[float, float]:
    """Return both as they come back from a checkpoint: a count is a float there, and so it is before."""
    return float(part), float(whole)


def _quantile(guardrail: Guardrail, nodes: Sequence[NodePane], reference: Sums | None, neighbours: Neighbours) -> Measured | None:
    share = QUANTILES[guardrail.metric]
    timed = [(node.node, node.counts) for node in nodes if node.counts is not None]
    if not timed:
        return None
    table = np.array([counts for _, counts in timed], dtype=np.int64)
    canary = quantile_ms(table.sum(axis=0), share)
    counts = np.array(reference.counts, dtype=np.int64) if reference is not None and reference.counts else None
    control = quantile_ms(counts, share) if counts is not None else None
    if guardrail.max is not None:
        bound = guardrail.max
    elif guardrail.max_ratio_to_control is not None and control is not None:
        bound = guardrail.max_ratio_to_control * control
        if canary is not None and canary > bound:
            near = neighbours.quantile_ms(nodes, share)
            bound = max(bound, guardrail.max_ratio_to_control * near) if near is not None else bound
    else:
        return None
    if canary is None:
        return None
    above = weights_above(bound)
    slower, wholes = table @ above, table.sum(axis=1)
    parts = tuple((timed[row][0], float(slower[row]), float(wholes[row])) for row in range(len(timed)))
    control_part, control_whole = (float(counts @ above), float(counts.sum())) if counts is not None else (0.0, 0.0)
    return Measured(parts, 1.0 - share, control_part, control_whole, canary, control, bound, _total(parts))
