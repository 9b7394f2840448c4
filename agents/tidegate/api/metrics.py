"""What the API process counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.api.board import Board


class Metrics:
    """Counters and gauges of one API process."""

    def __init__(self, registry: CollectorRegistry, board: Board) -> None:
        self.answers = Counter(
            "tidegate_api_ofrep_answers",
            "Answers over OFREP, by route (single, bulk) and status.",
            ("route", "status"),
            registry=registry,
        )
        self.denied = Counter(
            "tidegate_api_denied",
            "Requests that were not served and streams that were ended, by status.",
            ("status",),
            registry=registry,
        )
        self.subscribers = Gauge(
            "tidegate_api_subscribers", "Open streams, by kind (sync, events).", ("kind",), registry=registry
        )
        for kind in ("sync", "events"):
            self.subscribers.labels(kind)  # none is 0, not nothing
        self.slow = Counter("tidegate_api_slow_subscribers", "Sync streams ended since they did not read.", registry=registry)
        age = Gauge(
            "tidegate_api_flags_age_seconds",
            "Seconds since the flags were known to be all there are; NaN: nothing was read yet.",
            registry=registry,
        )
        age.set_function(lambda: float("nan") if board.age_s is None else board.age_s)


__all__ = ["Metrics"]
