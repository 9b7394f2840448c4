"""Telemetry: what one (node, service, boot) saw in one second, as any producer in any language may send it.

Two encodings, told apart by the first byte: JSON with plain integer lists, and MessagePack in which histogram counts
are binary. Both are maps
with the same field names; a field at its default may be left out. Decoding refuses what could poison a sum: NaN,
infinity, negative counts,
names and maps beyond their bounds.
"""

import math
import struct
from enum import StrEnum
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidegate.wire.codec import Malformed, malformed
from tidegate.wire.names import Label, UncheckedName, is_name

HISTOGRAM_SCALE = 3
"""Base of the buckets is 2 ** 2 ** -3: a value is known within 4.33 % (half the width of its bucket)."""
HISTOGRAM_OFFSET = -80
HISTOGRAM_SLOTS = 160
"""Slot 0 is bucket index -80: 160 slots reach from 1 ms to 1,024 s; values outside fall into the outermost ones."""

MESSAGE_BYTES_MAX = 256 << 10
FIELDS_MAX = 64
SLICES_MAX = 32
COUNT_MAX = 1 << 31
GAUGE_MAX = 1e100
"""Sums of gauges must not overflow, whatever one node says."""

Count = Annotated[int, Meta(ge=0, lt=COUNT_MAX)]
MillisecondsEpoch = Annotated[int, Meta(ge=0, lt=1 << 43)]


class Source(StrEnum):
    """Who measured. For one (node, service) and second the first in this order counts (A5). Rows of ``probe`` are the slice
    ``probe`` (I2), kept apart from what others measure; agent rows carry state, never requests.
    """

    SDK = "sdk"
    OTLP = "otlp"
    SCRAPE = "scrape"
    PROBE = "probe"
    AGENT = "agent"


class ServiceState(StrEnum):
    """What a node agent says of a service, in liveness rows and in reports."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Histogram(Struct, frozen=True, omit_defaults=True):
    """Latency counts: bucket i holds values in (base ** (offset + i), base ** (offset + i + 1)] seconds, base = 2 ** (1
    / 8).

    These are the buckets of OpenTelemetry's exponential histogram at scale 3. In MessagePack ``counts`` may be binary:
    one byte of width (2 or 4),
    then unsigned little-endian integers.
    """

    offset: Annotated[int, Meta(ge=HISTOGRAM_OFFSET, lt=HISTOGRAM_OFFSET + HISTOGRAM_SLOTS)]
    counts: list[Count] | bytes

    def check(self) -> None:
        """Refuse with Malformed counts that are torn or leave the fixed range, without unpacking them."""
        counts = self.counts
        slots = _slots(counts) if isinstance(counts, bytes) else len(counts)
        if self.offset + slots > HISTOGRAM_OFFSET + HISTOGRAM_SLOTS:
            last = HISTOGRAM_OFFSET + HISTOGRAM_SLOTS - 1
            raise Malformed("latency.counts", f"reaches beyond bucket {last} of scale {HISTOGRAM_SCALE}")

    def values(self) -> list[int]:
        """Return the counts as integers; Malformed as ``check`` raises it."""
        self.check()
        return unpack_counts(self.counts) if isinstance(self.counts, bytes) else self.counts


class Slice(Struct, frozen=True, omit_defaults=True):
    """Requests, errors and latency of a part of the traffic: of one route, or of one variant of a flag."""

    requests: Count = 0
    errors: Count = 0
    latency: Histogram | None = None


class Telemetry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node-second. Identity is (node, service, boot, seq) (A1); ``seq`` starts at 1 with each boot and rises by 1
    with each row made, sent or not.
    """

    node: UncheckedName
    service: UncheckedName
    boot: UncheckedName
    seq: Annotated[int, Meta(ge=1, lt=1 << 53)]
    version: UncheckedName
    start_ms: MillisecondsEpoch
    length_ms: Annotated[int, Meta(ge=1, le=60_000)] = 1_000
    requests: Count = 0
    errors: Count = 0
    latency: Histogram | None = None
    source: Source = Source.SDK
    cohort: Label = ""
    zone: Label = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=FIELDS_MAX)] = {}
    uptime_s: Annotated[float, Meta(ge=0)] = 0.0
    gauges: Annotated[dict[Label, float], Meta(max_length=FIELDS_MAX)] = {}
    counters: Annotated[dict[Label, Count], Meta(max_length=FIELDS_MAX)] = {}
    ratios: Annotated[dict[Label, tuple[Count, Count]], Meta(max_length=FIELDS_MAX)] = {}
    """Name to (part, whole): a custom ratio keeps both, so that sums of it stay right."""
    slices: Annotated[dict[Label, Slice], Meta(max_length=SLICES_MAX)] = {}
    """By ``route=<route>`` or ``flag/<set>/<flag>=<variant>``."""
    dropped: Count = 0
    """Rows of this boot that the sender's bounded buffer has dropped so far."""
    state: ServiceState | None = None
    """Agent rows only: what the node agent sees."""
    exits: Count = 0
    """Agent rows only: exits of the running version that nobody ordered, since its last ordered start."""
    changed_ms: MillisecondsEpoch = 0
    """Agent rows only: when the last ordered change of this service began on this node; 0 for never."""


_JSON = msgspec.json.Decoder(Telemetry)
_MSGPACK = msgspec.msgpack.Decoder(Telemetry)
_JSON_OUT = msgspec.json.Encoder()
_MSGPACK_OUT = msgspec.msgpack.Encoder()


def encode_json(row: Telemetry) -> bytes:
    """Return JSON bytes, counts as plain integers."""
    return _JSON_OUT.encode(_with_counts(row, binary=False))


def encode_msgpack(row: Telemetry) -> bytes:
    """Return MessagePack bytes, counts in binary."""
    return _MSGPACK_OUT.encode(_with_counts(row, binary=True))


def decode(data: bytes) -> Telemetry:
    """Return the row that a message of either encoding holds; Malformed, with its path, on anything that is none.

    The first byte decides: a MessagePack map begins at 0x80 or above, JSON below it.
    """
    if len(data) > MESSAGE_BYTES_MAX:
        raise Malformed("", f"{len(data)} bytes; at most {MESSAGE_BYTES_MAX} are read")
    if not data:
        raise Malformed("", "empty message")
    try:
        row = _MSGPACK.decode(data) if data[0] >= 0x80 else _JSON.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from error
    check(row)
    return row


def check(row: Telemetry) -> None:
    """Refuse with Malformed what types alone cannot: counts that contradict each other, numbers that are not finite,
    torn histograms.
    """
    if not (is_name(row.node) and is_name(row.service) and is_name(row.boot) and is_name(row.version)):
        field = next(name for name in ("node", "service", "boot", "version") if not is_name(getattr(row, name)))
        raise Malformed(field, "a name is made of letters, digits, . _ - and begins with a letter or digit")
    if row.errors > row.requests:
        raise Malformed("errors", f"{row.errors} errors of {row.requests} requests")
    if row.source is Source.AGENT and row.requests:
        raise Malformed("requests", "agent rows carry state, not requests")
    if row.latency is not None:
        row.latency.check()
    if not math.isfinite(row.uptime_s):
        raise Malformed("uptime_s", "not a finite number")
    if row.gauges or row.ratios or row.slices:
        _check_named(row)


def _check_named(row: Telemetry) -> None:
    for name, value in row.gauges.items():
        if not -GAUGE_MAX <= value <= GAUGE_MAX:
            raise Malformed(f"gauges.{name}", f"not a finite number of at most {GAUGE_MAX:g}")
    for name, (part, whole) in row.ratios.items():
        if part > whole:
            raise Malformed(f"ratios.{name}", f"part {part} exceeds whole {whole}")
    for name, piece in row.slices.items():
        if piece.errors > piece.requests:
            raise Malformed(f"slices.{name}.errors", f"{piece.errors} errors of {piece.requests} requests")
        if piece.latency is not None:
            piece.latency.check()


def pack_counts(counts: list[int]) -> bytes:
    """Return counts in the binary form: 16 bits each where all fit, 32 otherwise.

    >>> unpack_counts(pack_counts([1, 2, 70_000]))
    [1, 2, 70000]
    """
    try:
        return b"\x02" + _packer("H", len(counts)).pack(*counts)
    except struct.error:
        return b"\x04" + _packer("I", len(counts)).pack(*counts)


def unpack_counts(data: bytes) -> list[int]:
    """Return the counts of the binary form; Malformed where it is torn."""
    slots = _slots(data)
    return list(_packer("H" if data[0] == 2 else "I", slots).unpack(data[1:]))


@lru_cache(2 * HISTOGRAM_SLOTS + 2)
def _packer(code: str, number: int) -> struct.Struct:
    return struct.Struct(f"<{number}{code}")


def _slots(data: bytes) -> int:
    width = data[0] if data else 0
    if width not in (2, 4) or (len(data) - 1) % width:
        raise Malformed("latency.counts", "binary counts are a width byte (2 or 4), then little-endian integers of that width")
    return (len(data) - 1) // width


def _with_counts(row: Telemetry, *, binary: bool) -> Telemetry:
    def recode(latency: Histogram | None) -> Histogram | None:
        if latency is None or isinstance(latency.counts, bytes) is binary:
            return latency
        return Histogram(latency.offset, pack_counts(latency.values()) if binary else latency.values())

    slices = {name: msgspec.structs.replace(piece, latency=recode(piece.latency)) for name, piece in row.slices.items()}
    return msgspec.structs.replace(row, latency=recode(row.latency), slices=slices)
