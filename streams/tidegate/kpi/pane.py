"""A pane: one closed second of one service, cohort by cohort."""

from collections.abc import Iterator, Mapping
from math import fsum

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.kpi.sums import Sums, plus
from tidegate.wire.telemetry import HISTOGRAM_SLOTS, ServiceState

PANE_MS = 1_000

Counts = NDArray[np.int64]


class NodePane(Struct, frozen=True, kw_only=True):
    """What one node said in one second as a member of its cohort: telemetry of the cohort's version, and its agent's row.

    ``version`` is the agent's word where there is one, else the telemetry's. ``counts`` has one entry for each of the
    160 slots. ``gauges`` are means over the node's rows.
    """

    node: str
    version: str = ""
    requests: int = 0
    errors: int = 0
    counts: Counts | None = None
    gauges: dict[str, float] = {}
    ratios: dict[str, tuple[int, int]] = {}
    counters: dict[str, int] = {}
    zone: str = ""
    labels: dict[str, str] = {}
    telemetry: bool = False
    agent: bool = False
    state: ServiceState | None = None
    exits: int = 0
    changed_ms: int = 0


class Table(Struct, frozen=True):
    """What each of some nodes counted in one second, as columns in the order of ``nodes``, which is sorted."""

    nodes: tuple[str, ...]
    requests: Counts
    errors: Counts
    slow: Counts
    """int64[nodes, edges]: requests in buckets above each edge that the service is looked at by; no edges, no columns."""
    strata: tuple[str, ...]
    """Where each node is, as ``tidegate.kpi.strata`` writes it; empty where it does not say."""


class Crowd(Struct, frozen=True):
    """Nodes with telemetry that nobody looks at one by one, summed up together: what makes a large fleet cheap."""

    nodes: frozenset[str] = frozenset()
    sums: Sums = Sums()
    version: str = ""
    """The one that most of them run."""
    table: Table | None = None
    """The same, node by node, for a service that is looked at so."""


class CohortPane(Struct, frozen=True, kw_only=True):
    """One cohort in one second. ``expected`` should report; who did stands in ``nodes`` or in ``crowd``.

    Compared cohorts have all their members in ``nodes``; ``rest`` has its members with telemetry in ``crowd``, and in
    ``nodes`` those of which only the agent speaks.
    """

    name: str
    version: str = ""
    expected: tuple[str, ...] = ()
    nodes: dict[str, NodePane] = {}
    crowd: Crowd = Crowd()

    def reporting(self) -> Iterator[NodePane]:
        """Yield the nodes with telemetry that are known one by one, by name."""
        return (node for _, node in sorted(self.nodes.items()) if node.telemetry)

    @property
    def reported(self) -> frozenset[str]:
        """Names of all nodes with telemetry."""
        return (
            self.crowd.nodes.union(name for name, node in self.nodes.items() if node.telemetry)
            if self.nodes
            else self.crowd.nodes
        )

    @property
    def sums(self) -> Sums:
        """This pane as one sum; the order of nodes does not matter."""
        nodes = list(self.reporting())
        if not nodes:
            return replace(self.crowd.sums, panes=1)
        counts = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)
        gauges: dict[str, list[float]] = {}
        ratios: dict[str, tuple[int, int]] = {}
        counters: dict[str, int] = {}
        for node in nodes:
            if node.counts is not None:
                counts += node.counts
            for name, value in node.gauges.items():
                gauges.setdefault(name, []).append(value)
            for name, (part, whole) in node.ratios.items():
                before = ratios.get(name, (0, 0))
                ratios[name] = (before[0] + part, before[1] + whole)
            for name, amount in node.counters.items():
                counters[name] = counters.get(name, 0) + amount
        own = Sums(
            1,
            sum(node.requests for node in nodes),
            sum(node.errors for node in nodes),
            counts.tolist() if counts.any() else [],
            {name: (fsum(values), len(values)) for name, values in gauges.items()},
            ratios,
            counters,
        )
        return plus(own, self.crowd.sums) if self.crowd.nodes else own


class Exceeded(Struct, array_like=True):
    """What had no room under a cap: how often it came, and some of the names in the order in which they came."""

    times: int = 0
    names: list[str] = []


class FlagPane(Struct, frozen=True, kw_only=True):
    """What one second of a service came to under one flag, ``tidegate.kpi.flags``."""

    sides: "ServicePane"
    """Cohorts ``canary`` and ``control``: servers of both, each with the requests that had a variant of that side."""
    variants: "ServicePane"
    """One cohort for each variant that was served, for KPIs."""
    served: dict[str, int] = {}
    """Server to the sides that it has served in this placement."""


class ServicePane(Struct, frozen=True, kw_only=True):
    """The second [start_ms, start_ms + 1000) of one service. Cohorts: ``canary``, ``control``, ``rest``; only ``rest``
    without a rollout.
    """

    service: str
    start_ms: int
    cohorts: dict[str, CohortPane]
    late_rows: int = 0
    transition_rows: int = 0
    excluded_nodes: tuple[str, ...] = ()
    """Nodes whose clock is so wrong that their rows are left out (A4)."""
    late_nodes: Mapping[str, int] = {}
    """Members of compared cohorts of which rows came too late since the last pane, with how many."""
    skewed_nodes: frozenset[str] = frozenset()
    """Members of compared cohorts whose rows were shifted or left out since the last pane (A4)."""

    exceeded: dict[str, Exceeded] = {}
    """By cap."""
    probe: "ServicePane | None" = None
    """The same second as its probes saw it, in the same cohorts (I2); None: the service has none."""
    flags: "Mapping[str, FlagPane]" = {}
    """By subject: the same second as the variants of each flag saw it that is being judged on this service (G3)."""

    @property
    def end_ms(self) -> int:
        """End of the pane, excluded."""
        return self.start_ms + PANE_MS
