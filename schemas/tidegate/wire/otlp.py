"""What one process exported by OTLP at one moment, as far as it is looked for: the payload of topic ``otlp``.

Collectors spread what they write over partitions as they like. The bridge sorts it out and writes it again, keyed by node, so
that whoever owns a partition sees all that a process says, in order. Nobody else reads or writes it: MessagePack, arrays without
names.
"""

import math
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidegate.wire.codec import malformed
from tidegate.wire.names import Label, UncheckedName

TIME_NS_MAX = (1 << 63) - 1
NanosecondsEpoch = Annotated[int, Meta(ge=0, le=TIME_NS_MAX)]
"""Nanoseconds since the epoch; 0: not said."""
COUNT_MAX = (1 << 53) - 1
Amount = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Text = Annotated[str, Meta(max_length=128)]

SCALE_MIN, SCALE_MAX = -10, 20
BUCKETS_MAX = 1_024


class Explicit(Struct, frozen=True, array_like=True, tag=0):
    """Buckets with bounds: ``counts[i]`` lies in (bounds[i - 1], bounds[i]], the last one above all bounds. May be empty."""

    bounds: Annotated[list[float], Meta(max_length=BUCKETS_MAX)] = []
    counts: Annotated[list[Amount], Meta(max_length=BUCKETS_MAX)] = []

    def fault(self, count: int) -> str:
        """Return what contradicts itself, or nothing; ``count`` is that of the point."""
        if len(self.counts) > BUCKETS_MAX:
            return f"{len(self.counts)} buckets; at most {BUCKETS_MAX} are read"
        if not self.counts:
            return "" if len(self.bounds) <= BUCKETS_MAX else f"{len(self.bounds)} bounds"
        if len(self.counts) != len(self.bounds) + 1:
            return f"{len(self.counts)} buckets of {len(self.bounds)} bounds"
        if not all(map(math.isfinite, self.bounds)) or any(a >= b for a, b in zip(self.bounds, self.bounds[1:], strict=False)):
            return "bounds that do not ascend"
        return "" if sum(self.counts) == count else f"buckets hold {sum(self.counts)}, the point says {count}"


class Exponential(Struct, frozen=True, array_like=True, tag=1):
    """Buckets of base 2 ** 2 ** -scale: ``counts[i]`` lies in (base ** (offset + i), base ** (offset + i + 1)].

    ``zero`` counts what lies within ``threshold`` of zero, and anything negative: no latency is.
    """

    scale: int
    threshold: float
    zero: Amount
    offset: int
    counts: Annotated[list[Amount], Meta(max_length=BUCKETS_MAX)]

    def fault(self, count: int) -> str:
        """Return what contradicts itself, or nothing; ``count`` is that of the point."""
        if not SCALE_MIN <= self.scale <= SCALE_MAX:
            return f"scale {self.scale}"
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            return "a zero threshold that is none"
        if not -(1 << 31) <= self.offset < 1 << 31:
            return f"offset {self.offset}"
        if len(self.counts) > BUCKETS_MAX:
            return f"{len(self.counts)} buckets; at most {BUCKETS_MAX} are read"
        held = self.zero + sum(self.counts)
        return "" if held == count else f"buckets hold {held}, the point says {count}"


class Point(Struct, frozen=True, array_like=True, kw_only=True):
    """How often something was done, and how long it took: ``count`` since ``start_ns``. ``series`` tells points of one metric
    apart. ``delta``: ``start_ns`` moves on with every point. ``unit_s``: what 1 means, in seconds.
    """

    metric: Text
    series: Text
    failed: bool
    delta: bool
    start_ns: NanosecondsEpoch
    end_ns: NanosecondsEpoch
    count: Amount
    unit_s: float
    buckets: Explicit | Exponential

    def fault(self) -> str:
        """Return what contradicts itself, or nothing."""
        if not 0 < self.end_ns <= TIME_NS_MAX:
            return "no time"
        if self.start_ns > self.end_ns:
            return "a time that ends before it begins"
        if self.count > COUNT_MAX:
            return f"a count of {self.count}"
        return self.buckets.fault(self.count)


class Level(Struct, frozen=True, array_like=True, kw_only=True):
    """A number as it is now, such as memory in use."""

    metric: Text
    series: Text
    end_ns: NanosecondsEpoch
    value: float


class Export(Struct, frozen=True, array_like=True, kw_only=True):
    """What one process said. ``resource`` tells processes apart: a digest of all that OTLP calls the resource."""

    resource: Text
    service: UncheckedName
    node: UncheckedName
    version: UncheckedName
    end_ns: NanosecondsEpoch
    """The latest time of any point, also of metrics that are not looked for: the process spoke."""
    cohort: Label = ""
    zone: Label = ""
    labels: dict[Label, Label] = {}
    points: list[Point] = []
    levels: list[Level] = []


_OUT = msgspec.msgpack.Encoder()
_IN = msgspec.msgpack.Decoder(Export)


def encode(export: Export) -> bytes:
    """Return MessagePack bytes."""
    return _OUT.encode(export)


def decode(data: bytes) -> Export:
    """Return what was exported; Malformed on anything else."""
    try:
        return _IN.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from error


__all__ = ["BUCKETS_MAX", "TIME_NS_MAX", "Explicit", "Exponential", "Export", "Level", "Point", "decode", "encode"]
