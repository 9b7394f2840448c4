"""A pane: one closed second of one service, cohort by cohort, node by node."""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.wire.telemetry import HISTOGRAM_SLOTS, ServiceState

PANE_MS = 1_000

Counts = NDArray[np.int64]


class NodePane(Struct, frozen=True, kw_only=True):
    """What one node said in one second as a member of its cohort: telemetry of the cohort's version, and its agent's row.

    ``version`` is the agent's word where there is one, else the telemetry's. ``counts`` has one entry for each of the
    160 slots.
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


class CohortPane(Struct, frozen=True, kw_only=True):
    """One cohort in one second. ``expected`` should report, ``nodes`` did (telemetry, or only their agent)."""

    name: str
    version: str = ""
    expected: tuple[str, ...] = ()
    nodes: dict[str, NodePane] = {}

    def reporting(self) -> Iterator[NodePane]:
        """Yield the nodes with telemetry, by name."""
        return (node for _, node in sorted(self.nodes.items()) if node.telemetry)

    @property
    def requests(self) -> int:
        """Requests of all nodes."""
        return sum(node.requests for node in self.nodes.values())

    @property
    def errors(self) -> int:
        """Errors of all nodes."""
        return sum(node.errors for node in self.nodes.values())

    @property
    def counts(self) -> Counts:
        """Latency counts of all nodes together: int64[160]."""
        total = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)
        for node in self.nodes.values():
            if node.counts is not None:
                total += node.counts
        return total

    @property
    def coverage(self) -> float:
        """Share of the expected nodes with telemetry; 0.0 where none is expected."""
        return sum(node.telemetry for node in self.nodes.values()) / len(self.expected) if self.expected else 0.0


class ServicePane(Struct, frozen=True, kw_only=True):
    """The second [start_ms, start_ms + 1000) of one service. Cohorts: ``canary``, ``control``, ``rest``; only ``rest``
    without a rollout.
    """

    service: str
    start_ms: int
    cohorts: dict[str, CohortPane]
    late_rows: int = 0
    transition_rows: int = 0

    @property
    def end_ms(self) -> int:
        """End of the pane, excluded."""
        return self.start_ms + PANE_MS
