"""What one side of a comparison adds up to over some panes."""

import numpy as np
from msgspec import Struct

from tidegate.kpi.pane import CohortPane
from tidegate.wire.telemetry import HISTOGRAM_SLOTS


class Sums(Struct, frozen=True):
    """Requests, errors, latency counts, gauges as (sum, rows), ratios as (part, whole). Plain data: part of a checkpoint."""

    panes: int = 0
    requests: int = 0
    errors: int = 0
    counts: list[int] = []
    gauges: dict[str, tuple[float, int]] = {}
    ratios: dict[str, tuple[int, int]] = {}

    @property
    def error_ratio(self) -> float:
        """Share of requests that failed; 0.0 where there were none."""
        return self.errors / self.requests if self.requests else 0.0


def sums_of(cohort: CohortPane) -> Sums:
    """Return one pane of one cohort as sums; the order of its nodes does not matter."""
    requests = errors = 0
    counts = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)
    gauges: dict[str, tuple[float, int]] = {}
    ratios: dict[str, tuple[int, int]] = {}
    for _, node in sorted(cohort.nodes.items()):
        if not node.telemetry:
            continue
        requests += node.requests
        errors += node.errors
        if node.counts is not None:
            counts += node.counts
        for name, value in node.gauges.items():
            total, rows = gauges.get(name, (0.0, 0))
            gauges[name] = (total + value, rows + 1)
        for name, (part, whole) in node.ratios.items():
            before = ratios.get(name, (0, 0))
            ratios[name] = (before[0] + part, before[1] + whole)
    return Sums(1, requests, errors, counts.tolist() if counts.any() else [], gauges, ratios)


def plus(one: Sums, other: Sums) -> Sums:
    """Return both together."""
    gauges = dict(one.gauges)
    for name, (total, rows) in other.gauges.items():
        before = gauges.get(name, (0.0, 0))
        gauges[name] = (before[0] + total, before[1] + rows)
    ratios = dict(one.ratios)
    for name, (part, whole) in other.ratios.items():
        seen = ratios.get(name, (0, 0))
        ratios[name] = (seen[0] + part, seen[1] + whole)
    if one.counts and other.counts:
        counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
    else:
        counts = one.counts or other.counts
    return Sums(one.panes + other.panes, one.requests + other.requests, one.errors + other.errors, counts, gauges, ratios)
