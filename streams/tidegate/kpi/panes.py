"""Open panes: rows wait here by second and service until the clock closes their second. Folding rows is commutative."""

from collections.abc import Iterable, Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.kpi.columns import AGENT_CODE, Columns
from tidegate.kpi.membership import REST, Members
from tidegate.kpi.pane import PANE_MS, CohortPane, Counts, NodePane, ServicePane
from tidegate.wire.nodeseconds import Extra

AHEAD_MAX_MS = 60_000
"""A row further ahead of its append time than this is not kept: it would stay open for that long."""


class Part(Struct, frozen=True):
    """Some rows of one record, all of one service and second."""

    columns: Columns
    rows: NDArray[np.int64]


class OpenPanes:
    """Rows by (start of second in ms, service). Mutable; bounded by what the grace and ``AHEAD_MAX_MS`` let wait."""

    def __init__(self) -> None:
        self.seconds: dict[int, dict[str, list[Part]]] = {}

    def add(self, columns: Columns, rows: NDArray[np.int64], second_ms: NDArray[np.int64]) -> None:
        """Take rows; ``second_ms`` has the start of the second of each of them."""
        if not len(rows):
            return
        services = columns.service[rows].astype(np.int64)
        keys = second_ms * (1 << 17) + services
        for key in np.unique(keys).tolist():
            start_ms, service = divmod(key, 1 << 17)
            name = columns.record.services[service]
            parts = self.seconds.setdefault(start_ms, {}).setdefault(name, [])
            parts.append(Part(columns, rows[keys == key]))

    def take(self, start_ms: int) -> dict[str, list[Part]]:
        """Remove and return one second's rows by service."""
        return self.seconds.pop(start_ms, {})


class _Node:
    """What one node's rows of one second add up to."""

    __slots__ = (
        "agent",
        "changed_ms",
        "counters",
        "counts",
        "errors",
        "exits",
        "extra",
        "gauges",
        "ratios",
        "requests",
        "source",
        "state",
        "version",
    )

    def __init__(self) -> None:
        self.source = -1
        self.version = ""
        self.agent: Extra | None = None
        self.extra: Extra | None = None
        self._empty()

    def _empty(self) -> None:
        self.requests = self.errors = 0
        self.counts: Counts | None = None
        self.gauges: dict[str, float] = {}
        self.ratios: dict[str, tuple[int, int]] = {}
        self.counters: dict[str, int] = {}

    def tell(self, source: int, numbers: tuple[int, int], counts: Counts, extra: Extra | None) -> None:
        """Add one row of telemetry; of several sources the first in order counts (A5)."""
        if self.source >= 0 and source > self.source:
            return
        if source < self.source:
            self._empty()
        self.source = source
        self.requests += numbers[0]
        self.errors += numbers[1]
        self.counts = counts if self.counts is None else self.counts + counts
        if extra is None:
            return
        self.extra = extra
        self.gauges.update(extra.gauges)
        for name, (part, whole) in extra.ratios.items():
            before = self.ratios.get(name, (0, 0))
            self.ratios[name] = (before[0] + part, before[1] + whole)
        for name, amount in extra.counters.items():
            self.counters[name] = self.counters.get(name, 0) + amount

    def pane(self, node: str) -> NodePane:
        """Return the sum."""
        extra = self.extra or self.agent or _NOTHING
        agent = self.agent or _NOTHING
        return NodePane(
            node=node,
            version=self.version,
            requests=self.requests,
            errors=self.errors,
            counts=self.counts,
            gauges=self.gauges,
            ratios=self.ratios,
            counters=self.counters,
            zone=extra.zone,
            labels=extra.labels,
            telemetry=self.source >= 0,
            agent=self.agent is not None,
            state=agent.state,
            exits=agent.exits,
            changed_ms=agent.changed_ms,
        )


_NOTHING = Extra()


def build(service: str, start_ms: int, parts: Iterable[Part], members: Members, recent: Iterable[str]) -> ServicePane:
    """Return the closed pane of a service. ``recent``: nodes that have spoken within the last minute; those of no
    cohort make up rest.
    """
    cohorts: dict[str, dict[str, _Node]] = {name: {} for name in members.versions}
    transition = 0
    for node, version, source, numbers, counts, extra in _rows(parts):
        cohort = members.cohort_of(node)
        if source != AGENT_CODE and members.versions[cohort] not in ("", version):
            transition += 1
            continue
        seen = cohorts[cohort].setdefault(node, _Node())
        if source == AGENT_CODE:
            if seen.agent is None or extra is None or extra.changed_ms >= seen.agent.changed_ms:
                seen.agent, seen.version = extra or _NOTHING, version
        else:
            seen.tell(source, numbers, counts, extra)
            seen.version = seen.version if seen.agent is not None else version
    unnamed = tuple(sorted(node for node in recent if node not in members.cohorts))
    return ServicePane(
        service=service,
        start_ms=start_ms,
        cohorts={
            name: CohortPane(
                name=name,
                version=version,
                expected=unnamed if name == REST else members.named(name),
                nodes={node: seen.pane(node) for node, seen in sorted(cohorts[name].items())},
            )
            for name, version in sorted(members.versions.items())
        },
        transition_rows=transition,
    )


def _rows(parts: Iterable[Part]) -> Iterator[tuple[str, str, int, tuple[int, int], Counts, Extra | None]]:
    for part in parts:
        columns, record = part.columns, part.columns.record
        table = columns.histograms(part.rows)
        for index, row in enumerate(part.rows.tolist()):
            yield (
                record.nodes[columns.node[row]],
                record.versions[columns.version[row]],
                int(columns.sources[row]),
                (int(columns.requests[row]), int(columns.errors[row])),
                table[index],
                record.extras.get(row),
            )


def second_of(start_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the start of the second in which each window begins, in ms."""
    return start_ms // PANE_MS * PANE_MS
