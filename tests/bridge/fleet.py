"""Services that know OpenTelemetry's SDK and its stock exporter, and nothing of Tidegate."""

import asyncio
import math
import random

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from tests.otlp.stock import ATTRIBUTES, DURATION

P99_S = 0.321
LATENCIES_S = [random.Random(number).uniform(0.002, 0.2) for number in range(97)] + 3 * [P99_S]
"""What a hundred requests take; every hundred take the same, and of any two hundred in a row the 99th percentile is P99_S."""
FAILED_EVERY = 10


class StockService:
    """One service: ``lives`` of its process follow each other. Counts what it has recorded."""

    def __init__(self, url: str, name: str, temporality, histogram, interval_ms: int = 1_000) -> None:
        self.name = name
        self._how = (url, temporality, histogram, interval_ms)
        self._lives = 0
        self.requests = self.errors = 0
        self.start()

    def start(self) -> None:
        url, temporality, histogram, interval_ms = self._how
        self._lives += 1
        exporter = OTLPMetricExporter(
            url, timeout=2, preferred_temporality=temporality, preferred_aggregation={Histogram: histogram}
        )
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=interval_ms)
        told = ATTRIBUTES | {"service.name": self.name, "service.instance.id": f"{self.name}-{self._lives}"}
        self._provider = MeterProvider([reader], resource=Resource.create(told))
        self._durations = self._provider.get_meter("stock").create_histogram(DURATION, unit="s")

    def serve(self, requests: int) -> None:
        for _ in range(requests):
            bad = self.requests % FAILED_EVERY == 0
            status = {"http.response.status_code": 500 if bad else 200}
            # 37 and 100 have no common divisor: a hundred requests take each time once, in whatever order they fail.
            self._durations.record(LATENCIES_S[self.requests * 37 % 100], status)
            self.requests += 1
            self.errors += bad

    async def stop(self) -> None:
        """End the process: the SDK exports once more."""
        await asyncio.to_thread(self._provider.shutdown)

    async def restart(self) -> None:
        await self.stop()
        self.start()


def within(told: float, truth: float, histogram_bounds: tuple[float, ...] | None, error: float) -> bool:
    """Return whether a quantile is within the bound of its kind of histogram: its own error, or the bucket of the true one."""
    if histogram_bounds is None:
        return abs(told - truth) <= truth * error * 1.001
    at = next(at for at, bound in enumerate(histogram_bounds) if truth <= bound)
    return histogram_bounds[at - 1] * (1 - 2 * error) <= told <= histogram_bounds[at] * (1 + 2 * error) and math.isfinite(told)
