"""Counters of the workers, updated once per chunk: Faust's own sensors cost 30 us an event."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.wire.telemetry import Telemetry


class WorkerMetrics:
    """What both roles tell of the partitions they read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        where = ("topic", "partition")
        self.position = Gauge("tidegate_worker_position", "Next offset to be read.", where, registry=registry)
        self.lag = Gauge("tidegate_worker_lag_records", "Records that wait in the partition.", where, registry=registry)
        self.deadletters = Counter(
            "tidegate_deadletters",
            "Messages that could not be read, by the field at fault.",
            ("source", "field"),
            registry=registry,
        )

    def read_to(self, topic: str, partition: int, position: int, end: int | None) -> None:
        """Note how far a partition has been read."""
        self.position.labels(topic, partition).set(position)
        if end is not None:
            self.lag.labels(topic, partition).set(max(0, end - position))

    def forget(self, topic: str) -> None:
        """Drop the gauges of a topic: its partitions may be another's now."""
        for gauge in (self.position, self.lag):
            for at in [labels for labels in gauge._metrics if labels[0] == topic]:  # noqa: SLF001 - no public listing
                gauge.remove(*at)


class IntakeMetrics(WorkerMetrics):
    """read = accepted + dead letters of telemetry, exactly."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.read = Counter("tidegate_intake_messages_read", "Telemetry messages read.", registry=registry)
        self.accepted = Counter("tidegate_intake_rows_accepted", "Node-seconds passed on.", registry=registry)
        self.flushes = Counter("tidegate_intake_flushes", "Flushes, each one message per target partition.", registry=registry)


def field_of(path: str) -> str:
    """Return the field of a telemetry row that a path begins with, or ``message``: a label must stay bounded.

    >>> field_of("latency.counts[3]"), field_of("nonsense"), field_of("")
    ('latency', 'message', 'message')
    """
    name = path.partition(".")[0].partition("[")[0]
    return name if name in Telemetry.__struct_fields__ else "message"
