"""All rows of one second, of all services, as columns; names stand once."""

from collections.abc import Container, Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.kpi.columns import Columns
from tidegate.kpi.panes import Part
from tidegate.wire.nodeseconds import Extra
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

Place = tuple[str, str]
"""(service, node)."""
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
NO_SOURCE = 255


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

    def first_source(self, telemetry: Flags) -> Flags:
        """Return which rows of some telemetry count: of several sources of one place the first in order (A5)."""
        best = np.full(len(self.places), NO_SOURCE, dtype=np.int64)
        np.minimum.at(best, self.place[telemetry], self.source[telemetry])
        first: Flags = self.source == best[self.place]
        return telemetry & first

    def extras(self, chosen: Flags) -> Iterator[tuple[int, Extra]]:
        """Yield (place, what only this row carries) of those of some rows that carry more than the columns."""
        extras = [part.columns.record.extras for part in self.parts]
        at = np.flatnonzero(chosen) if any(extras) else np.zeros(0, dtype=np.int64)
        for place, part, row in zip(self.place[at].tolist(), self.part[at].tolist(), self.row[at].tolist(), strict=True):
            extra = extras[part].get(row)
            if extra is not None:
                yield place, extra

    def latencies(self, chosen: Flags, group: Integers) -> tuple[Integers, NDArray[np.unsignedinteger]]:
        """Return the latency counts of some rows, one after another: (160 x the row's ``group`` + slot, count)."""
        found = [columns.flat(rows, group[at] * HISTOGRAM_SLOTS) for columns, rows, at in self._by_part(chosen)]
        if not found:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint32)
        slots, counts = zip(*found, strict=True)
        return np.concatenate(slots), np.concatenate(counts)

    def above(self, chosen: Flags, edges: Integers) -> Integers:
        """Return the requests of some rows in slots above each of their own ``edges``, int64[rows, edges], in the same shape."""
        found = [columns.above(rows, edges[at]) for columns, rows, at in self._by_part(chosen)]
        return np.concatenate([np.zeros((0, edges.shape[1]), dtype=np.int64), *found])

    def _by_part(self, chosen: Flags) -> Iterator[tuple[Columns, Integers, slice]]:
        """Yield the chosen rows of each record, and where they stand among all that are chosen."""
        part, row = self.part[chosen], self.row[chosen]
        # Rows stand in the order of their parts.
        ends = np.searchsorted(part, np.arange(len(self.parts) + 1)).tolist()
        for of, begin, end in zip(self.parts, ends, ends[1:], strict=False):
            yield of.columns, row[begin:end], slice(begin, end)

    def life(self, at: int) -> tuple[str, int]:
        """Return (boot, seq) of a row."""
        columns, row = self.parts[int(self.part[at])].columns, int(self.row[at])
        return columns.record.boots[columns.boot[row]], int(columns.seq[row])


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
