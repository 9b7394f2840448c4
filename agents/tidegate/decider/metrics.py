"""What the decision agent counts."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge


class Standing(NamedTuple):
    """How one agent stands after what it has read last."""

    clock_off_ms: int
    epoch: int
    broken: bool
    waiting: int
    """Plans and intents."""


class Metrics:
    """Counters and gauges of one decision agent."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.decisions = Counter("tidegate_decisions", "Records written to the ledger.", ("kind", "reason"), registry=registry)
        self.refused = Counter("tidegate_decide_refused", "Records that do not count, by topic.", ("topic",), registry=registry)
        self.deadletters = Counter("tidegate_decide_deadletters", "Dead letters written.", registry=registry)
        self.clock_off = Gauge(
            "tidegate_decide_clock_off_seconds", "How far this machine's clock is ahead of the broker's.", registry=registry
        )
        self.levels = Counter(
            "tidegate_decide_levels", "Levels published to desired, and records put back on keys.", registry=registry
        )
        self.unknown = Counter("tidegate_decide_sends_unknown", "Sends that got no answer.", registry=registry)
        self.epoch = Gauge("tidegate_decide_epoch", "Highest epoch claimed by anyone.", registry=registry)
        self.leading = Gauge("tidegate_decide_leading", "1: this process is the author.", registry=registry)
        self.broken = Gauge("tidegate_decide_chain_broken", "1: decisions is broken and nobody may lead.", registry=registry)
        self.waiting = Gauge("tidegate_decide_waiting", "Plans and intents not answered yet.", registry=registry)
        self.lag = Gauge("tidegate_decide_lag_seconds", "Age of the last record when it was read.", registry=registry)
        self.input = Gauge(
            "tidegate_decide_last_input_timestamp_seconds", "Append time of the last record read.", registry=registry
        )
        self._standing: Standing | None = None

    def read(self, last_ms: int, now_ms: int, standing: Standing) -> None:
        """Take when the last record read was appended, the time now, and how the agent stands."""
        self.input.set(last_ms / 1000)
        self.lag.set(max(0, now_ms - last_ms) / 1000)
        if standing != self._standing:  # most of what is read changes none of it
            self._standing = standing
            self.clock_off.set(standing.clock_off_ms / 1_000)
            self.epoch.set(standing.epoch)
            self.broken.set(standing.broken)
            self.waiting.set(standing.waiting)
