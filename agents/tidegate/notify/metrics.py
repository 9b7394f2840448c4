"""What notify counts; the delivery of each target is to be seen here."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Counters and gauges of one notify process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter(
            "tidegate_notify_notices", "Notices, by target and outcome (taken, failed).", ("target", "outcome"), registry=registry
        )
        self.waiting = Gauge(
            "tidegate_notify_waiting", "Groups with news that their target has not been told.", ("target",), registry=registry
        )
        self.failing = Gauge(
            "tidegate_notify_failing", "Sends that failed in a row; 0: the last one was taken.", ("target",), registry=registry
        )
        self.taken = Gauge(
            "tidegate_notify_last_taken_timestamp_seconds",
            "When the target took the last notice.",
            ("target",),
            registry=registry,
        )
        self.firing = Gauge("tidegate_notify_alarms_firing", "Alarms that fire.", registry=registry)
        self.hidden = Gauge(
            "tidegate_notify_alarms_hidden", "Of these, told to nobody, by why (silence, inhibited).", ("why",), registry=registry
        )
        self.refused = Counter(
            "tidegate_notify_refused", "Records that could not be read, by topic.", ("topic",), registry=registry
        )
