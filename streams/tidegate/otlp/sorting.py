"""One request sorted out: what each process said, as far as it is looked for; and what could not be used, with the reason.

A fault costs the point that has it, or the resource that is nobody; the rest of the request counts (OTLP's partial success).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct, field

from tidegate.otlp import messages
from tidegate.otlp.conventions import LEVELS, REQUESTS, UNITS_S, failed
from tidegate.otlp.identity import NODE_FROM, Nobody, Speaker, digest, speaker_of
from tidegate.otlp.messages import CUMULATIVE, DELTA, NO_RECORDED_VALUE
from tidegate.wire.otlp import TIME_NS_MAX, Explicit, Exponential, Export, Level, Point
from tidegate.wire.telemetry import GAUGE_MAX

DEPTH_MAX = 4
"""Of values within values of an attribute; deeper ones are all alike."""
POINTS_MAX = 4_000
"""Of one process in one request: twice as many as SDKs let a metric have."""
POINTS_OF_EXPORT_MAX = 256
"""Of the longest histograms that are 2.4 MB; topic ``otlp`` takes 4 MiB."""
LEVELS_MAX = 256


class Reason(Struct, frozen=True):
    """Why points were not taken: ``kind`` for a metric's label, ``words`` for who sent them."""

    kind: str
    words: str


class Sorted(Struct):
    """What a request comes to. ``rejected``: points by reason."""

    exports: list[Export] = []
    rejected: Counter[Reason] = field(default_factory=Counter)


def sort(request: messages.Request, node_from: tuple[str, ...] = NODE_FROM) -> Sorted:
    """Sort a request out. Total: whatever it holds, it comes to something."""
    found = Sorted()
    for of_resource in request.resource_metrics:
        attributes = texts(of_resource.resource.attributes)
        resource = _Resource(found.rejected)
        for scoped in of_resource.scope_metrics:
            for metric in scoped.metrics:
                resource.take(metric, scoped.scope.name)
        try:
            speaker = speaker_of(attributes, node_from)
        except Nobody as nobody:
            found.rejected[Reason("nobody", str(nobody))] += len(resource.points) + len(resource.levels)
            continue
        found.exports += resource.exports(speaker)
    found.rejected = +found.rejected
    return found


def texts(attributes: Iterable[messages.KeyValue]) -> dict[str, str]:
    """Return attributes as texts; of a key that stands twice the last one counts."""
    return {attribute.key: _text(attribute.value) for attribute in attributes}


def _text(value: messages.AnyValue, depth: int = 0) -> str:
    which = value.WhichOneof("value")
    if which is None or depth > DEPTH_MAX:
        return ""
    if which == "array_value" and value.array_value is not None:
        return "[" + ",".join(_text(one, depth + 1) for one in value.array_value.values) + "]"
    if which == "kvlist_value" and value.kvlist_value is not None:
        return "{" + ",".join(f"{one.key}={_text(one.value, depth + 1)}" for one in value.kvlist_value.values) + "}"
    return str(getattr(value, which))


class _Resource:
    """What one resource says, gathered metric by metric."""

    def __init__(self, rejected: Counter[Reason]) -> None:
        self._rejected = rejected
        self.points: list[Point] = []
        self.levels: list[Level] = []
        self.end_ns = 0

    def take(self, metric: messages.Metric, scope: str) -> None:
        """Take one metric, whatever it is: also what is not looked for shows that the process spoke. That a series has ended does
        not: a collector says so of a process that is gone.
        """
        kind = metric.WhichOneof("data")
        if kind not in ("gauge", "sum", "histogram", "exponential_histogram"):
            return
        data = getattr(metric, kind)
        for point in data.data_points:
            if not point.flags & NO_RECORDED_VALUE:
                self.end_ns = min(max(self.end_ns, point.time_unix_nano), TIME_NS_MAX)
        if metric.name in REQUESTS and kind in ("histogram", "exponential_histogram"):
            self._durations(metric, data, scope)
        elif metric.name in LEVELS and (kind == "gauge" or (kind == "sum" and data.aggregation_temporality == CUMULATIVE)):
            self._levels(metric.name, data.data_points, scope)

    def exports(self, speaker: Speaker) -> Iterator[Export]:
        """Yield what was gathered, in as many parts as it takes; nothing where the process has said nothing at all."""
        for at in range(0, max(len(self.points), 1) if self.end_ns else 0, POINTS_OF_EXPORT_MAX):
            yield Export(
                resource=speaker.resource,
                service=speaker.service,
                node=speaker.node,
                version=speaker.version,
                end_ns=self.end_ns,
                cohort=speaker.cohort,
                zone=speaker.zone,
                labels=speaker.labels,
                points=self.points[at : at + POINTS_OF_EXPORT_MAX],
                levels=self.levels if at == 0 else [],
            )

    def _durations(self, metric: messages.Metric, data: Any, scope: str) -> None:
        for told in data.data_points:
            if told.flags & NO_RECORDED_VALUE:
                continue
            if data.aggregation_temporality not in (DELTA, CUMULATIVE):
                self._reject("malformed", f"{metric.name}: neither delta nor cumulative")
                continue
            attributes = texts(told.attributes)
            point = Point(
                metric=metric.name,
                series=digest(attributes, scope),
                failed=failed(attributes),
                delta=data.aggregation_temporality == DELTA,
                start_ns=told.start_time_unix_nano,
                end_ns=told.time_unix_nano,
                count=told.count,
                unit_s=UNITS_S.get(metric.unit, REQUESTS[metric.name].unit_s),
                buckets=_buckets(told),
            )
            fault = point.fault() or ("" if len(self.points) < POINTS_MAX else f"more than {POINTS_MAX} series")
            if fault:
                self._reject("malformed", f"{metric.name}: {fault}")
            else:
                self.points.append(point)

    def _levels(self, name: str, points: Iterable[messages.NumberDataPoint], scope: str) -> None:
        for told in points:
            which = told.WhichOneof("value")
            if told.flags & NO_RECORDED_VALUE or which is None:
                continue
            value, series = float(getattr(told, which)), digest(texts(told.attributes), scope)
            if not -GAUGE_MAX <= value <= GAUGE_MAX or not 0 < told.time_unix_nano <= TIME_NS_MAX:
                self._reject("malformed", f"{name}: no finite number, or no time")
            elif len(self.levels) < LEVELS_MAX:
                self.levels.append(Level(metric=name, series=series, end_ns=told.time_unix_nano, value=value))

    def _reject(self, kind: str, words: str) -> None:
        self._rejected[Reason(kind, words)] += 1


def _buckets(told: Any) -> Explicit | Exponential:
    """Return the buckets of a point of either kind; what lies below zero is no latency, and as good as zero."""
    if hasattr(told, "explicit_bounds"):
        return Explicit(list(told.explicit_bounds), list(told.bucket_counts))
    return Exponential(
        scale=told.scale,
        threshold=told.zero_threshold,
        zero=told.zero_count + sum(told.negative.bucket_counts),
        offset=told.positive.offset,
        counts=list(told.positive.bucket_counts),
    )
