"""The rows of one second, of all services at once, as closed panes.

Rows become sums by group: a group is one member of a compared cohort, or the whole of a service's ``rest``. So the cost of a
row does not depend on how many services or cohorts there are, and the order of rows never matters.
"""

from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from itertools import compress
from math import fsum

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.kpi.columns import AGENT_CODE
from tidegate.kpi.membership import REST, Members
from tidegate.kpi.pane import CohortPane, Crowd, NodePane, ServicePane
from tidegate.kpi.panes import Part
from tidegate.kpi.sums import Sums
from tidegate.wire.nodeseconds import Extra
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

ANY_VERSION = -1
NO_SOURCE = 255

Place = tuple[str, str]
"""(service, node)."""
_Row = tuple[int, str, Extra]
"""(number of a row, its version, what only it carries)."""
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Rows(Struct, frozen=True):
    """All rows of a second as columns; ``place`` and ``version`` point into the two lists of names."""

    parts: Sequence[Part]
    places: dict[Place, int]
    versions: dict[str, int]
    place: Integers
    version: Integers
    source: Integers
    requests: Integers
    errors: Integers
    part: Integers
    row: Integers

    def extra_of(self, at: int) -> Extra | None:
        """Return what only this row carries."""
        record = self.parts[int(self.part[at])].columns.record
        return record.extras.get(int(self.row[at]))

    def custom(self) -> bool:
        """Return whether any record carries more than the columns."""
        return any(part.columns.record.extras for part in self.parts)

    def life(self, at: int) -> tuple[str, int]:
        """Return (boot, seq) of a row."""
        columns, row = self.parts[int(self.part[at])].columns, int(self.row[at])
        return columns.record.boots[columns.boot[row]], int(columns.seq[row])


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


def gather(parts: Sequence[Part], services: Container[str] | None = None) -> Rows:
    """Return the rows of one second as columns; those of some services only where they are named."""
    places: dict[Place, int] = {}
    versions: dict[str, int] = {}
    columns: list[tuple[Integers, ...]] = [(np.zeros(0, dtype=np.int64),) * 7]
    for number, part in enumerate(parts):
        source, record = part.columns, part.columns.record
        rows = part.rows
        if services is not None:
            wanted = np.array([name in services for name in record.services], dtype=np.bool_)
            rows = rows[wanted[source.service[rows]]]
        codes = source.service[rows].astype(np.int64) * len(record.nodes) + source.node[rows]
        unique, inverse = np.unique(codes, return_inverse=True)
        services_of, nodes_of = np.divmod(unique, max(1, len(record.nodes)))
        at = zip(
            map(record.services.__getitem__, services_of.tolist()), map(record.nodes.__getitem__, nodes_of.tolist()), strict=True
        )
        found = [places.setdefault(place, len(places)) for place in at]
        named = [versions.setdefault(version, len(versions)) for version in record.versions]
        columns.append(
            (
                np.array(found, dtype=np.int64)[inverse],
                np.array(named, dtype=np.int64)[source.version[rows]],
                source.sources[rows].astype(np.int64),
                source.requests[rows].astype(np.int64),
                source.errors[rows].astype(np.int64),
                np.full(len(rows), number, dtype=np.int64),
                rows,
            )
        )
    return Rows(parts, places, versions, *map(np.concatenate, zip(*columns, strict=True)))


def close(
    start_ms: int, rows: Rows, members: Mapping[str, Members], services: Mapping[str, Collection[str]]
) -> Iterator[ServicePane]:
    """Yield the closed pane of each of ``services``, by name. Its nodes: who has spoken lately; those of them that no cohort
    names should report as rest.
    """
    groups = _group(rows, members)
    agent = rows.source == AGENT_CODE
    expected = groups.version[rows.place]
    transition = ~agent & (expected != ANY_VERSION) & (expected != rows.version)
    counted = _first_source(rows, ~agent & ~transition)
    totals = _total(rows, groups, counted)
    crowds = _crowds(rows, groups, counted, totals)
    nodes = _nodes(rows, groups, (counted, agent), totals)
    names = list(rows.places)
    moved = Counter(names[place][0] for place in rows.place[transition].tolist())
    for service in sorted(services):
        known = members.get(service, _EVERYBODY)
        cohorts = {
            name: CohortPane(
                name=name,
                version=version,
                expected=tuple(sorted(known.unnamed(services[service]))) if name == REST else known.named(name),
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


def _first_source(rows: Rows, telemetry: Flags) -> Flags:
    """Return which rows count: of several sources of one place the first in order (A5)."""
    best = np.full(len(rows.places), NO_SOURCE, dtype=np.int64)
    np.minimum.at(best, rows.place[telemetry], rows.source[telemetry])
    first: Flags = rows.source == best[rows.place]
    return telemetry & first


def _speaking(rows: Rows, counted: Flags) -> Flags:
    """Return which places have telemetry that counts."""
    speaking = np.zeros(len(rows.places), dtype=np.bool_)
    speaking[rows.place[counted]] = True
    return speaking


def _total(rows: Rows, groups: Groups, counted: Flags) -> Totals:
    group = groups.group[rows.place[counted]]
    part, row = rows.part[counted], rows.row[counted]
    slots: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.unsignedinteger]] = []
    # Rows stand in the order of their parts.
    ends = np.searchsorted(part, np.arange(len(rows.parts) + 1)).tolist()
    for of, begin, end in zip(rows.parts, ends, ends[1:], strict=False):
        at, counts = of.columns.flat(row[begin:end], group[begin:end] * HISTOGRAM_SLOTS)
        slots.append(at)
        weights.append(counts)
    size = groups.count * HISTOGRAM_SLOTS
    # Weighted counts are doubles: exact up to 2 ** 53.
    flat = np.bincount(np.concatenate(slots), np.concatenate(weights), size) if slots else np.zeros(size)
    return Totals(
        [*map(int, np.bincount(group, rows.requests[counted], groups.count).tolist())],
        [*map(int, np.bincount(group, rows.errors[counted], groups.count).tolist())],
        flat.astype(np.int64).reshape(groups.count, HISTOGRAM_SLOTS),
    )


def _crowds(rows: Rows, groups: Groups, counted: Flags, totals: Totals) -> dict[str, Crowd]:
    """Return each service's rest, summed up."""
    names: dict[str, list[str]] = {service: [] for service in groups.crowds}
    crowded = _speaking(rows, counted) & (groups.group < len(groups.crowds))
    for service, node in compress(rows.places, crowded.tolist()):
        names[service].append(node)
    custom: dict[int, Custom] = {}
    group = groups.group[rows.place]
    for at in np.flatnonzero(counted & (group < len(groups.crowds))).tolist() if rows.custom() else ():
        extra = rows.extra_of(at)
        if extra is not None:
            custom.setdefault(int(group[at]), Custom()).take(extra)
    versions = _versions(rows, group, counted)
    return {
        service: Crowd(
            frozenset(names[service]), custom.get(of, Custom()).sums(totals, of), versions.get(of, "") if names[service] else ""
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
    where = told[-1][2] if told else said
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
