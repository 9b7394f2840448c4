"""The rows of one second, of all services at once, as closed panes.

Rows become sums by group: a group is one member of a compared cohort, or the whole of a service's ``rest``. So the cost of a
row does not depend on how many services or cohorts there are, and the order of rows never matters.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import compress
from math import fsum
from types import MappingProxyType

import numpy as np
from msgspec import Struct

from tidegate.kpi.columns import AGENT_CODE
from tidegate.kpi.membership import REST, Members
from tidegate.kpi.pane import CohortPane, Crowd, NodePane, ServicePane
from tidegate.kpi.rows import Flags, Integers, Rows
from tidegate.kpi.strata import stratum_of
from tidegate.kpi.sums import Sums
from tidegate.kpi.tables import in_order, locate, tables_of
from tidegate.wire.nodeseconds import Extra
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

ANY_VERSION = -1

_Row = tuple[int, str, Extra]
"""(number of a row, its version, what only it carries)."""


class Groups(Struct, frozen=True):
    """Who is summed up with whom: group of each place, and the version that its cohort runs."""

    group: Integers
    compared: dict[int, str]
    """Cohort of the places that are not rest."""
    version: Integers
    crowds: dict[str, int]
    """Group of each service's rest; they come first."""
    count: int


class Totals(Struct, frozen=True):
    """Sums by group."""

    requests: list[int]
    errors: list[int]
    counts: Integers
    """int64[groups, 160]."""


def close(
    start_ms: int,
    rows: Rows,
    members: Mapping[str, Members],
    services: Mapping[str, Collection[str]],
    edges: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> Iterator[ServicePane]:
    """Yield the closed pane of each of ``services``, by name. Its nodes: who has spoken lately; those of them that no cohort
    names should report as rest.

    The rest of a service in ``edges`` stands in a table too, with each node's requests above these histogram slots, which ascend.
    """
    groups = _group(rows, members)
    agent = rows.source == AGENT_CODE
    expected = groups.version[rows.place]
    transition = ~agent & (expected != ANY_VERSION) & (expected != rows.version)
    counted = rows.first_source(~agent & ~transition)
    totals = _total(rows, groups, counted)
    crowds = _crowds(rows, groups, (counted, agent), totals, edges)
    nodes = _nodes(rows, groups, (counted, agent), totals)
    names = list(rows.places)
    moved = Counter(names[place][0] for place in rows.place[transition].tolist())
    for service in sorted(services):
        known = members.get(service, _EVERYBODY)
        cohorts = {
            name: CohortPane(
                name=name,
                version=version,
                expected=in_order(frozenset(known.unnamed(services[service]))) if name == REST else known.named(name),
                nodes=nodes.get((service, name), {}),
                crowd=crowds.get(service, _NOBODY) if name == REST else _NOBODY,
            )
            for name, version in sorted(known.versions.items())
        }
        yield ServicePane(service=service, start_ms=start_ms, cohorts=cohorts, transition_rows=moved[service])


_EVERYBODY = Members()
_NOBODY = Crowd()


def _group(rows: Rows, members: Mapping[str, Members]) -> Groups:
    services: dict[str, int] = {}
    group = np.array([services.setdefault(service, len(services)) for service, _ in rows.places], dtype=np.int64)
    # A version that no row names is that of none of them.
    wanted = {service: members.get(service, _EVERYBODY).versions[REST] for service in services}
    versions = [rows.versions.get(version, len(rows.versions)) if version else ANY_VERSION for version in wanted.values()]
    version = np.array(versions, dtype=np.int64)[group]
    compared: dict[int, str] = {}
    for service in services:
        known = members.get(service, _EVERYBODY)
        for node, cohort in known.cohorts.items():
            place = rows.places.get((service, node))
            if place is not None:
                group[place] = len(services) + len(compared)
                version[place] = rows.versions.get(known.versions[cohort], len(rows.versions))
                compared[place] = cohort
    return Groups(group, compared, version, services, len(services) + len(compared))


def _speaking(rows: Rows, counted: Flags) -> Flags:
    """Return which places have telemetry that counts."""
    speaking = np.zeros(len(rows.places), dtype=np.bool_)
    speaking[rows.place[counted]] = True
    return speaking


def _total(rows: Rows, groups: Groups, counted: Flags) -> Totals:
    group = groups.group[rows.place[counted]]
    slots, counts = rows.latencies(counted, group)
    size = groups.count * HISTOGRAM_SLOTS
    # Weighted counts are doubles: exact up to 2 ** 53.
    flat = np.bincount(slots, counts, size)
    return Totals(
        [*map(int, np.bincount(group, rows.requests[counted], groups.count).tolist())],
        [*map(int, np.bincount(group, rows.errors[counted], groups.count).tolist())],
        flat.astype(np.int64).reshape(groups.count, HISTOGRAM_SLOTS),
    )


def _crowds(
    rows: Rows, groups: Groups, kinds: tuple[Flags, Flags], totals: Totals, edges: Mapping[str, tuple[int, ...]]
) -> dict[str, Crowd]:
    """Return each service's rest, summed up, and node by node where the service has edges."""
    counted, agent = kinds
    names: dict[str, list[str]] = {service: [] for service in groups.crowds}
    crowded = _speaking(rows, counted) & (groups.group < len(groups.crowds))
    for service, node in compress(rows.places, crowded.tolist()):
        names[service].append(node)
    custom: dict[int, Custom] = {}
    strata: dict[int, str] = {}
    group = groups.group.tolist()
    for place, extra in rows.extras(counted & crowded[rows.place]):
        if extra.gauges or extra.ratios or extra.counters:
            custom.setdefault(group[place], Custom()).take(extra)
        if edges:
            locate(strata, place, extra)
    crowd_of = {service: frozenset(nodes) for service, nodes in names.items()}
    named = {service: in_order(crowd_of[service]) for service in edges if names.get(service)}
    tables = tables_of(rows, (counted, agent), named, edges, strata)
    versions = _versions(rows, groups.group[rows.place], counted)
    return {
        service: Crowd(
            crowd_of[service],
            custom.get(of, Custom()).sums(totals, of),
            versions.get(of, "") if names[service] else "",
            tables.get(service),
        )
        for service, of in groups.crowds.items()
    }


def _versions(rows: Rows, group: Integers, counted: Flags) -> dict[int, str]:
    """Return the version of each group that most of its rows name; of equals the last by name."""
    names = list(rows.versions)
    pairs, counts = np.unique(group[counted] * (len(names) + 1) + rows.version[counted], return_counts=True)
    best: dict[int, tuple[int, str]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        of, version = divmod(pair, len(names) + 1)
        best[of] = max(best.get(of, (0, "")), (count, names[version]))
    return {of: version for of, (_, version) in best.items()}


def _nodes(rows: Rows, groups: Groups, kinds: tuple[Flags, Flags], totals: Totals) -> dict[tuple[str, str], dict[str, NodePane]]:
    """Return by (service, cohort) the nodes that are looked at one by one: members of compared cohorts, and of the rest those of
    which only the agent speaks.
    """
    counted, agent = kinds
    crowded = _speaking(rows, counted) & (groups.group < len(groups.crowds))
    wanted = np.flatnonzero((counted | agent) & ~crowded[rows.place])
    names, versions, group = list(rows.places), list(rows.versions), groups.group.tolist()
    mine: dict[int, tuple[list[_Row], list[_Row]]] = {}
    columns = (wanted, rows.place[wanted], rows.version[wanted], counted[wanted], rows.part[wanted], rows.row[wanted])
    for at, place, version, telemetry, part, row in zip(*(column.tolist() for column in columns), strict=True):
        own = mine.get(place)
        if own is None:
            own = mine[place] = ([], [])
        extra = rows.parts[part].columns.record.extras.get(row, _NOTHING)
        own[not telemetry].append((at, versions[version], extra))
    found: dict[tuple[str, str], dict[str, NodePane]] = {}
    for place, (told, agents) in sorted(mine.items(), key=lambda item: names[item[0]]):
        service, node = names[place]
        if len(told) > 1:
            told.sort(key=lambda one: rows.life(one[0]))
        latest = max(agents, key=lambda one: (one[2].changed_ms, *rows.life(one[0]))) if len(agents) > 1 else None
        pane = _node(node, told, latest or (agents[0] if agents else None), (totals, group[place]))
        found.setdefault((service, groups.compared.get(place, REST)), {})[node] = pane
    return found


def _node(node: str, told: Sequence[_Row], agent: _Row | None, sums: tuple[Totals, int]) -> NodePane:
    """Return what one node said; ``sums`` has its telemetry. Of several rows of its agent the one of the latest change counts."""
    totals, group = sums
    gauges: dict[str, float] = {}
    custom = _EMPTY
    if any(extra is not _NOTHING for _, _, extra in told):
        custom = Custom()
        for _, _, extra in told:
            custom.take(extra)
        gauges = {name: fsum(values) / len(values) for name, values in custom.gauges.items()}
    _, version, said = agent or (told[-1][0], told[-1][1], _NOTHING)
    says = [extra for _, _, extra in reversed(told)] + [said]
    where = next((extra for extra in says if stratum_of(extra.zone, extra.labels)), says[0])
    return NodePane(
        node=node,
        version=version,
        requests=totals.requests[group] if told else 0,
        errors=totals.errors[group] if told else 0,
        counts=totals.counts[group] if told else None,
        telemetry=bool(told),
        gauges=gauges,
        ratios=custom.ratios,
        counters=custom.counters,
        zone=where.zone,
        labels=where.labels,
        agent=agent is not None,
        state=said.state,
        exits=said.exits,
        changed_ms=said.changed_ms,
    )


class Custom:
    """Gauges, ratios and counters of some rows. The order of rows does not matter: gauges are summed exactly."""

    def __init__(self) -> None:
        self.gauges: dict[str, list[float]] = {}
        self.ratios: dict[str, tuple[int, int]] = {}
        self.counters: dict[str, int] = {}

    def take(self, extra: Extra) -> None:
        """Add what one row carries."""
        for name, value in extra.gauges.items():
            self.gauges.setdefault(name, []).append(value)
        for name, (part, whole) in extra.ratios.items():
            before = self.ratios.get(name, (0, 0))
            self.ratios[name] = (before[0] + part, before[1] + whole)
        for name, amount in extra.counters.items():
            self.counters[name] = self.counters.get(name, 0) + amount

    def sums(self, totals: Totals, group: int) -> Sums:
        """Return these together with the totals of a group."""
        counts = totals.counts[group]
        return Sums(
            1,
            totals.requests[group],
            totals.errors[group],
            counts.tolist() if counts.any() else [],
            {name: (fsum(values), len(values)) for name, values in self.gauges.items()},
            self.ratios,
            self.counters,
        )


_NOTHING = Extra()
_EMPTY = Custom()
