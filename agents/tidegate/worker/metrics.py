"""Counters of the workers, updated once per chunk: Faust's own sensors cost 30 us an event."""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.wire.judgement import Alarm
from tidegate.wire.telemetry import Telemetry

if TYPE_CHECKING:
    from tidegate.experiments import ExperimentState
    from tidegate.experiments import Tally as ExperimentTally
    from tidegate.judge import JudgeState, Outcome, Tally

ROW_OUTCOMES = ("accepted", "duplicate", "late", "excluded", "overflow", "skewed", "transition", "no_room")
"""Fields of the judge's tally; the last three are among the others."""


class WorkerMetrics:
    """What every role tells of the partitions it reads."""

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


class KeeperMetrics(WorkerMetrics):
    """What roles with a state tell of it."""

    def __init__(self, registry: CollectorRegistry, role: str) -> None:
        super().__init__(registry)
        of = f"tidegate_{role}"
        self._checkpoints = Counter(f"{of}_checkpoints", "Checkpoints written.", registry=registry)
        self._checkpoint_bytes = Gauge(f"{of}_checkpoint_bytes", "Size of the last checkpoint.", registry=registry)
        self.too_large = Counter(f"{of}_checkpoints_too_large", "Checkpoints that were not written.", registry=registry)
        self.unreadable = Counter(f"{of}_checkpoints_unreadable", "Checkpoints passed over.", registry=registry)
        self.lost = Counter(f"{of}_states_lost", "Partitions begun without all that came before (C7).", registry=registry)

    def checkpointed(self, size_bytes: int) -> None:
        """Count one checkpoint."""
        self._checkpoints.inc()
        self._checkpoint_bytes.set(size_bytes)


class JudgeMetrics(KeeperMetrics):
    """What became of rows, and what came out."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "judge")
        self._rows = Counter("tidegate_judge_rows", "Rows folded, by what became of them.", ("outcome",), registry=registry)
        self._refused = Counter(
            "tidegate_judge_cardinality_exceeded",
            "Names without room, each as often as it came, by cap; what they say is summed up as overflow.",
            ("cap",),
            registry=registry,
        )
        self._known = Gauge(
            "tidegate_judge_known", "Names in a partition's state, by kind.", ("partition", "kind"), registry=registry
        )
        self._panes = Counter("tidegate_judge_panes_closed", "Seconds of one service closed.", registry=registry)
        self._kpis = Counter("tidegate_judge_kpis", "KPI records written.", registry=registry)
        self._scores = Counter("tidegate_judge_scores", "Scores written.", registry=registry)
        self._verdicts = Counter(
            "tidegate_judge_verdicts", "Verdicts, by what they say and why.", ("outcome", "reason"), registry=registry
        )
        self._alarms = Counter("tidegate_judge_alarms", "Edges of alarms.", ("name", "state"), registry=registry)
        self._clock = Gauge("tidegate_judge_clock_seconds", "The judge's clock (A3).", ("partition",), registry=registry)
        self.unwritable = Counter("tidegate_judge_unwritable", "Outputs that were no number.", ("topic",), registry=registry)

    def forget(self, topic: str) -> None:
        """Drop the gauges of partitions that may be another's now."""
        super().forget(topic)
        self._known.clear()

    def folded(self, before: "Tally", after: "Tally") -> None:
        """Count what one chunk did to a partition's tally."""
        for outcome in ROW_OUTCOMES:
            self._rows.labels(outcome).inc(getattr(after, outcome) - getattr(before, outcome))
        for cap, times in after.refused.items():
            self._refused.labels(cap).inc(times - before.refused.get(cap, 0))
        self._panes.inc(after.panes - before.panes)

    def emitted(self, outcome: "Outcome") -> None:
        """Count what one step gave."""
        self._kpis.inc(len(outcome.kpis))
        self._scores.inc(len(outcome.scores))
        for verdict in outcome.verdicts:
            self._verdicts.labels(verdict.outcome, verdict.reason).inc()
        for alarm in outcome.alarms:
            self._alarms.labels(alarm.name, alarm.state).inc()

    def clock_at(self, partition: int, now_ms: int | None) -> None:
        """Note a partition's clock."""
        if now_ms is not None:
            self._clock.labels(partition).set(now_ms / 1000)

    def saved(self, partition: int, state: "JudgeState", size_bytes: int) -> None:
        """Count one checkpoint, and note how much its state knows."""
        for kind, table in state.tables().items():
            self._known.labels(partition, kind).set(table)
        self.checkpointed(size_bytes)


class ExperimentMetrics(KeeperMetrics):
    """What became of exposures and outcomes, and how much is known of users."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "experiment")
        self._records = Counter(
            "tidegate_experiment_records",
            "Exposures and outcomes folded, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self._users = Gauge("tidegate_experiment_users", "Users known in a partition.", ("partition",), registry=registry)
        self._sums = Counter("tidegate_experiment_sums", "Records of sums written.", registry=registry)
        self._alarms = Counter("tidegate_experiment_alarms", "Edges of alarms.", ("name", "state"), registry=registry)

    def forget(self, topic: str) -> None:
        """Drop the gauges of partitions that may be another's now."""
        super().forget(topic)
        self._users.clear()

    def folded(self, partition: int, before: "ExperimentTally", state: "ExperimentState") -> None:
        """Count what one chunk did."""
        for outcome in state.tally.__struct_fields__:
            self._records.labels(outcome).inc(getattr(state.tally, outcome) - getattr(before, outcome))
        self._users.labels(partition).set(state.users)

    def summed(self) -> None:
        """Count one record of sums."""
        self._sums.inc()

    def alarmed(self, alarm: Alarm) -> None:
        """Count one edge."""
        self._alarms.labels(alarm.name, alarm.state).inc()


def field_of(path: str) -> str:
    """Return the field of a telemetry row that a path begins with, or ``message``: a label must stay bounded.

    >>> field_of("latency.counts[3]"), field_of("nonsense"), field_of("")
    ('latency', 'message', 'message')
    """
    name = path.partition(".")[0].partition("[")[0]
    return name if name in Telemetry.__struct_fields__ else "message"
