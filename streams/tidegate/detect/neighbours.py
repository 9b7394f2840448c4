"""A second control: old-version servers of the canary's own zones and machines. An incident of one zone hits them alike (C2).

The matched control (B2) need not stand where the canary stands: of a lone canary it is in another zone more often than not. So
what exceeds the control is looked at again beside the neighbours: the rest, weighted as the canary's requests lie over strata
(direct standardisation). Nothing is said where a stratum has no neighbours, or where they are not counted one by one.
"""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.detect.drift.metrics import QUANTILES
from tidegate.detect.shares import BUCKETS_PER_OCTAVE
from tidegate.kpi.pane import NodePane, Table
from tidegate.kpi.strata import stratum_of
from tidegate.wire.telemetry import HISTOGRAM_OFFSET

REQUESTS_MIN = 20
"""Of the neighbours in a pane: fewer have no 95th percentile."""


class Neighbours(Struct, frozen=True):
    """Who stands beside a canary in one pane; ``edges`` are those that the columns of the table were counted above."""

    table: Table | None = None
    edges: tuple[int, ...] = ()
    slower: float = 1.0
    """By which factor the canary may be slower than they are without being worse: its own machine's luck."""

    def errors(self, nodes: Sequence[NodePane]) -> tuple[float, float] | None:
        """Return the errors of the neighbours in as many requests as the canary has, and those; None without neighbours."""
        if self.table is None:
            return None
        found = self._beside(nodes, self.table.errors)
        return None if found is None else (float(found[0]), found[1])

    def quantile_ms(self, nodes: Sequence[NodePane], share: float) -> float | None:
        """Return a quantile of the neighbours' latency; None without neighbours, or without edges.

        It lies between two edges, where log odds are taken as linear in the logarithm of latency; below the first and above the
        last it is that edge.
        """
        table = self.table
        if table is None or len(self.edges) != len(QUANTILES) or table.slow.shape[1] != len(QUANTILES):
            return None
        found = self._beside(nodes, table.slow)
        if found is None:
            return None
        above, whole = found
        odds = np.log((whole - above + 0.5) / (above + 0.5))
        slot = float(np.interp(math.log(share / (1.0 - share)), odds, np.array(self.edges) + 1.0))
        return float(self.slower * 1_000.0 * 2.0 ** ((slot + HISTOGRAM_OFFSET) / BUCKETS_PER_OCTAVE))

    def _beside(self, nodes: Sequence[NodePane], events: NDArray[np.int64]) -> tuple[NDArray[np.float64], float] | None:
        """Return what events the neighbours had in as many requests as the canary has, and those requests."""
        table = self.table
        weights: dict[str, int] = {}
        for node in nodes:
            stratum = stratum_of(node.zone, node.labels)
            weights[stratum] = weights.get(stratum, 0) + node.requests
        if table is None or not any(weights.values()):
            return None
        strata = np.array(table.strata)
        near = np.zeros(events.shape[1:])
        for stratum, weight in weights.items():
            there = strata == stratum
            whole = int(table.requests[there].sum())
            if whole < REQUESTS_MIN:
                return None
            near += events[there].sum(axis=0) * (weight / whole)
        return near, float(sum(weights.values()))


NOBODY = Neighbours()
"""Where there are none."""
