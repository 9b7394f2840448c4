"""Rows as columns: how intake packs them for one partition, how the judge reads them without a loop (the format is in
``tidegate.wire.nodeseconds``).
"""

from collections.abc import Mapping
from struct import Struct

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.wire.codec import Malformed
from tidegate.wire.nodeseconds import SOURCES, Extra, NodeSeconds
from tidegate.wire.telemetry import COUNT_MAX, HISTOGRAM_OFFSET, HISTOGRAM_SLOTS, Source, Telemetry, pack_counts

SOURCE_CODE: dict[Source, int] = {source: code for code, source in enumerate(SOURCES)}
AGENT_CODE = SOURCE_CODE[Source.AGENT]
PROBE_CODE = SOURCE_CODE[Source.PROBE]
WIDTHS = {"service": "<u2", "node": "<u4", "boot": "<u4", "version": "<u2", "seq": "<i8", "start_ms": "<i8", "append_ms": "<i8"}
WIDTHS |= {"length_ms": "<u4", "requests": "<u4", "errors": "<u4", "sources": "u1", "first_slot": "u1", "slots": "u1"}

BOUNDS = {"seq": (1, (1 << 53) - 1), "start_ms": (0, (1 << 43) - 1), "append_ms": (0, (1 << 43) - 1)}
BOUNDS |= {"length_ms": (1, 60_000), "requests": (0, COUNT_MAX - 1)}
"""What rows may say, as in ``Telemetry``."""

_ROW = np.dtype(list(WIDTHS.items()))
_PACK = Struct("<HIIHqqqIIIBBB").pack
"""One row in the order of ``WIDTHS``."""


class Columns(msgspec.Struct, frozen=True):
    """Views on one record's columns; arrays have one entry a row. ``counts_start`` has one more: where each row's
    counts begin.
    """

    record: NodeSeconds
    service: NDArray[np.uint16]
    node: NDArray[np.uint32]
    boot: NDArray[np.uint32]
    version: NDArray[np.uint16]
    seq: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    append_ms: NDArray[np.int64]
    length_ms: NDArray[np.uint32]
    requests: NDArray[np.uint32]
    errors: NDArray[np.uint32]
    sources: NDArray[np.uint8]
    first_slot: NDArray[np.uint8]
    slots: NDArray[np.uint8]
    counts: NDArray[np.uint16] | NDArray[np.uint32]
    counts_start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.service)

    def flat(self, rows: NDArray[np.int64], base: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.unsignedinteger]]:
        """Return the latency counts of some rows, ascending, one after another: (base of its row + slot, count)."""
        slots = self.slots[rows].astype(np.int64)
        ends = np.cumsum(slots)
        within = np.arange(int(ends[-1]) if len(ends) else 0)
        at = np.repeat(base + self.first_slot[rows] - ends + slots, slots) + within
        if len(rows) == len(self):
            return at, self.counts
        return at, self.counts[np.repeat(self.counts_start[:-1][rows] - ends + slots, slots) + within]

    def above(self, rows: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the requests of some rows in slots above each of their own ``edges``; both int64[rows, edges]."""
        if not edges.shape[1]:
            return np.zeros(edges.shape, dtype=np.int64)
        seen = np.zeros(len(self.counts) + 1, dtype=np.int64)
        np.cumsum(self.counts, out=seen[1:])
        begin, slots = self.counts_start[rows], self.slots[rows].astype(np.int64)
        below = np.minimum(np.maximum(edges + (1 - self.first_slot[rows].astype(np.int64))[:, None], 0), slots[:, None])
        above: NDArray[np.int64] = seen[begin + slots][:, None] - seen[begin[:, None] + below]
        return above


def _extra(row: Telemetry) -> Extra | None:
    """Return what only some rows carry, None for most."""
    if not (
        row.zone
        or row.labels
        or row.cohort
        or row.uptime_s
        or row.gauges
        or row.counters
        or row.ratios
        or row.slices
        or row.dropped
        or row.state
        or row.exits
        or row.changed_ms
    ):
        return None
    return Extra(
        row.zone,
        row.labels,
        row.cohort,
        row.uptime_s,
        row.gauges,
        row.counters,
        row.ratios,
        row.slices,
        row.dropped,
        row.state,
        row.exits,
        row.changed_ms,
    )


class RowWriter:
    """Collects rows for one partition; ``flush`` gives one record and begins anew."""

    def __init__(self) -> None:
        self._clear()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Telemetry, append_ms: int) -> None:
        """Take one checked row and the time at which the broker appended it."""
        services, nodes, boots, versions = self._names
        latency = row.latency
        first_slot = slots = 0
        if latency is not None:
            packed = latency.counts if isinstance(latency.counts, bytes) else pack_counts(latency.counts)
            first_slot, slots = latency.offset - HISTOGRAM_OFFSET, (len(packed) - 1) // packed[0]
            self._counts.append(packed)
            if packed[0] > 2:
                self._wide = True
        extra = _extra(row)
        if extra is not None:
            self._extras[len(self._rows)] = extra
        self._rows.append(
            _PACK(
                services.setdefault(row.service, len(services)),
                nodes.setdefault(row.node, len(nodes)),
                boots.setdefault(row.boot, len(boots)),
                versions.setdefault(row.version, len(versions)),
                row.seq,
                row.start_ms,
                append_ms,
                row.length_ms,
                row.requests,
                row.errors,
                SOURCE_CODE[row.source],
                first_slot,
                slots,
            )
        )

    def flush(self, marks: Mapping[int, int]) -> NodeSeconds:
        """Return the rows so far with the marks that hold behind them; the writer is empty then."""
        services, nodes, boots, versions = ([*names] for names in self._names)
        rows = np.frombuffer(b"".join(self._rows), dtype=_ROW)
        counts = [_widened(packed) for packed in self._counts] if self._wide else [packed[1:] for packed in self._counts]
        record = NodeSeconds(
            marks=dict(sorted(marks.items())),
            services=services,
            nodes=nodes,
            boots=boots,
            versions=versions,
            **{name: rows[name].tobytes() for name in WIDTHS},
            counts=b"".join(counts),
            counts_width=4 if self._wide else 2,
            extras=self._extras,
        )
        self._clear()
        return record

    def _clear(self) -> None:
        self._names: tuple[dict[str, int], ...] = ({}, {}, {}, {})
        self._rows: list[bytes] = []
        self._counts: list[bytes] = []
        self._wide = False
        self._extras: dict[int, Extra] = {}


def _widened(packed: bytes) -> bytes:
    """Return counts as 32-bit ones: one row that needs them makes a record wide."""
    return packed[1:] if packed[0] == 4 else np.frombuffer(packed[1:], dtype="<u2").astype("<u4").tobytes()


def read(record: NodeSeconds) -> Columns:
    """Return views on the columns of a record. Malformed where they are torn, point beyond the dictionaries or say
    what no row may.
    """
    arrays = {}
    for name, kind in WIDTHS.items():
        try:
            arrays[name] = np.frombuffer(getattr(record, name), dtype=kind)
        except ValueError as error:
            raise Malformed(name, str(error)) from error
    try:
        counts = np.frombuffer(record.counts, dtype=f"<u{record.counts_width}")
    except (ValueError, TypeError) as error:
        raise Malformed("counts", str(error)) from error
    rows = len(arrays["service"])
    for name, array in arrays.items():
        if len(array) != rows:
            raise Malformed(name, f"{len(array)} rows; service has {rows}")
    if rows:
        for name in ("service", "node", "boot", "version"):
            known = len(getattr(record, f"{name}s"))
            if int(arrays[name].max()) >= known:
                raise Malformed(name, f"points beyond the {known} names of its dictionary")
        if int(arrays["sources"].max()) >= len(SOURCES):
            raise Malformed("sources", "unknown source")
        if int((arrays["first_slot"].astype(np.int64) + arrays["slots"]).max()) > HISTOGRAM_SLOTS:
            raise Malformed("slots", f"reach beyond slot {HISTOGRAM_SLOTS - 1}")
        for name, (least, most) in BOUNDS.items():
            if int(arrays[name].min()) < least or int(arrays[name].max()) > most:
                raise Malformed(name, f"not from {least} to {most}")
        if (arrays["errors"] > arrays["requests"]).any():
            raise Malformed("errors", "more of them than requests")
    starts = np.concatenate(([0], np.cumsum(arrays["slots"], dtype=np.int64)))
    if int(starts[-1]) != len(counts):
        raise Malformed("counts", f"{len(counts)} counts; the rows name {int(starts[-1])}")
    return Columns(record=record, **arrays, counts=counts, counts_start=starts)
