"""What the decision agent counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


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
