"""An OTLP metrics request, as far as it is read: opentelemetry/proto/metrics/v1, with the names of its fields.

JSON is decoded into these. Messages of protobuf's library have the same fields and the same ``WhichOneof``, so that
``tidegate.otlp.sorting`` reads either. What is not named here is not looked at.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidegate.wire.codec import malformed

Unsigned = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""Bounded, for counts are added up and shown."""
Signed = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]

DELTA, CUMULATIVE = 1, 2
"""AggregationTemporality."""
NO_RECORDED_VALUE = 1
"""A flag of data points: the series has ended, and the point holds nothing."""


class _Message(Struct, frozen=True, rename="camel"):
    """A message with at most one of some fields."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - the name that protobuf's library gives it
        """Return the name of the field that is there; None where none is."""
        return next((name for name in self.__struct_fields__ if getattr(self, name) is not None), None)


class ArrayValue(Struct, frozen=True):
    """Several values."""

    values: "list[AnyValue]" = []


class KeyValueList(Struct, frozen=True):
    """Values with names."""

    values: "list[KeyValue]" = []


class AnyValue(_Message, frozen=True):
    """One value of an attribute."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Signed | None = None
    double_value: float | None = None
    bytes_value: str | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None


class KeyValue(Struct, frozen=True):
    """One attribute."""

    key: str = ""
    value: AnyValue = AnyValue()


class NumberDataPoint(Struct, frozen=True, rename="camel"):
    """One number of a gauge or sum."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: Unsigned = 0
    time_unix_nano: Unsigned = 0
    as_double: float | None = None
    as_int: Signed | None = None
    flags: int = 0

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - as above
        """Return which of both numbers is there."""
        return "as_int" if self.as_int is not None else "as_double" if self.as_double is not None else None


class HistogramDataPoint(Struct, frozen=True, rename="camel"):
    """One histogram with bounds."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: Unsigned = 0
    time_unix_nano: Unsigned = 0
    count: Count = 0
    bucket_counts: list[Count] = []
    explicit_bounds: list[float] = []
    flags: int = 0


class Buckets(Struct, frozen=True, rename="camel"):
    """One side of an exponential histogram."""

    offset: int = 0
    bucket_counts: list[Count] = []


class ExponentialHistogramDataPoint(Struct, frozen=True, rename="camel"):
    """One histogram whose buckets grow."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: Unsigned = 0
    time_unix_nano: Unsigned = 0
    count: Count = 0
    scale: int = 0
    zero_count: Count = 0
    zero_threshold: float = 0.0
    positive: Buckets = Buckets()
    negative: Buckets = Buckets()
    flags: int = 0


DataPoint = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint


class Numbers(Struct, frozen=True, rename="camel"):
    """The points of a gauge or sum."""

    data_points: list[NumberDataPoint] = []
    aggregation_temporality: int = 0
    is_monotonic: bool = False


class Histogram(Struct, frozen=True, rename="camel"):
    """The points of a histogram."""

    data_points: list[HistogramDataPoint] = []
    aggregation_temporality: int = 0


class ExponentialHistogram(Struct, frozen=True, rename="camel"):
    """The points of an exponential histogram."""

    data_points: list[ExponentialHistogramDataPoint] = []
    aggregation_temporality: int = 0


class Metric(Struct, frozen=True, rename="camel"):
    """One metric."""

    name: str = ""
    unit: str = ""
    gauge: Numbers | None = None
    sum: Numbers | None = None
    histogram: Histogram | None = None
    exponential_histogram: ExponentialHistogram | None = None

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - as above
        """Return what kind of metric it is."""
        kinds = ("gauge", "sum", "histogram", "exponential_histogram")
        return next((kind for kind in kinds if getattr(self, kind) is not None), None)


class Scope(Struct, frozen=True):
    """Who measured."""

    name: str = ""


class ScopeMetrics(Struct, frozen=True, rename="camel"):
    """The metrics of one instrumentation."""

    scope: Scope = Scope()
    metrics: list[Metric] = []


class Resource(Struct, frozen=True):
    """Who is spoken of."""

    attributes: list[KeyValue] = []


class ResourceMetrics(Struct, frozen=True, rename="camel"):
    """The metrics of one resource."""

    resource: Resource = Resource()
    scope_metrics: list[ScopeMetrics] = []


class Request(Struct, frozen=True, rename="camel"):
    """ExportMetricsServiceRequest; MetricsData is the same on the wire."""

    resource_metrics: list[ResourceMetrics] = []


# OTLP writes 64-bit numbers, NaN and infinity as strings.
_JSON = msgspec.json.Decoder(Request, strict=False)


def from_json(data: bytes) -> Request:
    """Return the request of OTLP's JSON form; Malformed with the path of what is wrong."""
    try:
        return _JSON.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from error
