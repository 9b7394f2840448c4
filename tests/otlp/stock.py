"""A service that knows OpenTelemetry's SDK and nothing of Tidegate."""

import re

from google.protobuf.json_format import MessageToJson
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Of http.server.request.duration, as the conventions advise."""
DURATION = "http.server.request.duration"
EXPLICIT, EXPONENTIAL = ExplicitBucketHistogramAggregation(BOUNDS_S), ExponentialBucketHistogramAggregation()
DELTA = {Histogram: AggregationTemporality.DELTA, Counter: AggregationTemporality.DELTA}
CUMULATIVE = {Histogram: AggregationTemporality.CUMULATIVE, Counter: AggregationTemporality.CUMULATIVE}
ATTRIBUTES = {
    "service.name": "shop",
    "service.version": "v1",
    "host.name": "web-1",
    "service.instance.id": "one",
    "deployment.id": "r1",
    "cloud.availability_zone": "a",
}


class Service:
    """``export`` returns what the SDK would send now, as protobuf's bytes."""

    def __init__(self, temporality=CUMULATIVE, histogram=EXPLICIT, **attributes: str) -> None:
        self._reader = InMemoryMetricReader(preferred_temporality=temporality, preferred_aggregation={Histogram: histogram})
        told = ATTRIBUTES | {key.replace("_", "."): value for key, value in attributes.items()}
        self._provider = MeterProvider([self._reader], resource=Resource.create(told))
        self.meter = self._provider.get_meter("stock")
        self._durations = self.meter.create_histogram(DURATION, unit="s")

    def request(self, seconds: float, status: int = 200, **attributes: str) -> None:
        told = {"http.request.method": "GET", "http.response.status_code": status}
        self._durations.record(seconds, told | {re.sub("_", ".", key): value for key, value in attributes.items()})

    def export(self):
        data = self._reader.get_metrics_data()
        return b"" if data is None else encode_metrics(data).SerializeToString()

    def close(self) -> None:
        self._provider.shutdown()


def as_json(data: bytes) -> bytes:
    """Return the JSON form of a request: OTLP writes enums as numbers."""
    return MessageToJson(ExportMetricsServiceRequest.FromString(data), indent=None, use_integers_for_enums=True).encode()
