"""What a bridge counts."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Counters and gauges of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter("tidegate_bridge_answers", "Answers over HTTP, by status.", ("status",), registry=registry)
        self.messages = Counter(
            "tidegate_bridge_messages", "Messages read from a collector's topic.", ("topic",), registry=registry
        )
        self.deadletters = Counter(
            "tidegate_bridge_deadletters", "Messages that no request is in.", ("topic",), registry=registry
        )
        self.exports = Counter(
            "tidegate_bridge_exports", "What one process said at one moment, passed on to topic otlp.", registry=registry
        )
        self.rejected = Counter(
            "tidegate_bridge_points_rejected",
            "Data points that could not be used: malformed, or of nobody (no service or node is named).",
            ("reason",),
            registry=registry,
        )
        self.points = Counter(
            "tidegate_bridge_points",
            "Data points by what became of them: counted; first, gap (counting begins); old (came before); late; full; newer.",
            ("result",),
            registry=registry,
        )
        self.rows = Counter("tidegate_bridge_rows", "Node-seconds sent to topic telemetry.", registry=registry)
        self.rows_dropped = Counter(
            "tidegate_bridge_rows_dropped", "Node-seconds that the broker did not take in time.", registry=registry
        )
        self.processes = Gauge(
            "tidegate_bridge_processes", "Processes that are known in the partitions in hand.", registry=registry
        )
        self.partitions = Gauge("tidegate_bridge_partitions", "Partitions of topic otlp in hand.", registry=registry)

    def points_became(self, results: Mapping[str, int]) -> None:
        """Add points by result."""
        for result, number in results.items():
            self.points.labels(result).inc(number)


__all__ = ["Metrics"]
