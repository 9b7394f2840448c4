"""All partitions of an experiment together, in the words of the statistics. Adding is commutative: no order matters."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from tidegate.detect.experiments import Arm, Design, Seen
from tidegate.detect.experiments import Metric as Measured
from tidegate.wire.experiments import ArmSums, Better, Experiment, Metric, MetricKind, MetricSums, Point, Sums, Trial
from tidegate.wire.flags import TopicKey
from tidegate.wire.names import duration_ms


class Pooled(Struct, frozen=True, kw_only=True):
    """One run of an experiment, of all partitions."""

    trial: Trial
    set_id: str
    flag: str
    generation: int
    arms: dict[str, ArmSums]
    refused: int
    full: tuple[int, ...]
    """Partitions without room."""
    first_ms: int
    last_ms: int
    past: tuple[Point, ...]

    @property
    def users(self) -> int:
        """Return the users of all variants, without those who saw two."""
        return sum(arm.users for arm in self.arms.values())

    @property
    def doubles(self) -> int:
        """Return who saw two variants."""
        return sum(arm.doubles for arm in self.arms.values())

    @property
    def subject(self) -> str:
        """Return the subject of its flag."""
        return TopicKey(self.set_id, self.flag).subject

    @property
    def dealt(self) -> dict[str, int]:
        """Return how many users saw each variant first: what the declared shares are held against."""
        return {variant: arm.users + arm.doubles for variant, arm in self.arms.items()}


class Counted:
    """The sums that count, of records read in any order and any number of times."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, Sums]] = {}

    def see(self, record: Sums) -> None:
        """Keep a record, unless a newer one of its experiment and partition is there."""
        parts = self._parts.setdefault(record.trial.name, {})
        parts[record.partition] = newer(parts.get(record.partition), record)

    def pooled(self) -> dict[str, Pooled]:
        """Return the newest run of each experiment, by name."""
        found = {name: pooled(parts.values()) for name, parts in sorted(self._parts.items())}
        return {name: one for name, one in found.items() if one is not None}


def newer(known: Sums | None, record: Sums) -> Sums:
    """Return which of two records of one partition counts: one that woke up late may have written last."""
    if known is None or (known.generation, known.offset) <= (record.generation, record.offset):
        return record
    return known


def pooled(records: Iterable[Sums]) -> Pooled | None:
    """Return the newest run of one experiment, given a record of each partition that has one; None where there is none."""
    known = sorted(records, key=lambda one: one.partition)
    if not known:
        return None
    latest = max(known, key=lambda one: (one.generation, one.last_ms, one.trial.run))
    parts = [one for one in known if one.trial == latest.trial]
    return Pooled(
        trial=latest.trial,
        set_id=latest.set_id,
        flag=latest.flag,
        generation=latest.generation,
        arms={variant: _arm([one.arms[variant] for one in parts]) for variant in latest.trial.shares},
        refused=sum(one.refused for one in parts),
        full=tuple(one.partition for one in parts if one.refused),
        first_ms=min(one.first_ms for one in parts),
        last_ms=max(one.last_ms for one in parts),
        past=_past(parts),
    )


def design_of(experiment: Experiment, trial: Trial) -> Design:
    """Return what was declared."""
    return Design(
        control=experiment.control,
        weights=trial.shares,
        primary=_measured(experiment, experiment.primary, experiment.no_difference or 0.0),
        guards=tuple(_measured(experiment, metric, 0.0) for metric in experiment.secondary),
        alpha=experiment.alpha,
        run_s_min=duration_ms(experiment.min_run_time) / 1_000.0,
    )


def seen_of(experiment: Experiment, found: Pooled) -> Seen:
    """Return what has come in."""
    numbers = {name: number for number, name in enumerate(found.trial.metrics)}
    arms: dict[str, Mapping[str, Arm]] = {
        metric.name: {
            variant: arm_of(metric, arm.users, arm.metrics[numbers[metric.name]])
            for variant, arm in found.arms.items()
            if metric.name in numbers and arm.metrics
        }
        for metric in experiment.metrics
    }
    return Seen(ran_s=(found.last_ms - found.first_ms) / 1_000.0, users=found.dealt, double=found.doubles, arms=arms)


def arm_of(metric: Metric, users: int, sums: MetricSums) -> Arm:
    """Return what the statistics ask of one variant. Of a binary metric a user counts once, however often it happened."""
    if metric.kind is MetricKind.BINARY:
        return Arm(users, float(sums.users), float(sums.users))
    return Arm(users, sums.total, sums.squares)


def _measured(experiment: Experiment, metric: Metric, negligible: float) -> Measured:
    return Measured(
        name=metric.name,
        binary=metric.kind is MetricKind.BINARY,
        increase=metric.better is Better.INCREASE,
        negligible=negligible,
        expected=experiment.expected_users,
    )


def _arm(parts: list[ArmSums]) -> ArmSums:
    metrics = tuple(_sum(list(column)) for column in zip(*(part.metrics for part in parts), strict=True))
    return ArmSums(sum(part.users for part in parts), sum(part.doubles for part in parts), metrics)


def _sum(parts: list[MetricSums]) -> MetricSums:
    return MetricSums(sum(part.users for part in parts), sum(part.total for part in parts), sum(part.squares for part in parts))


def _past(parts: list[Sums]) -> tuple[Point, ...]:
    """Return how all partitions stood at every step of the coarsest; one that has no point there is as at its last one before."""
    points: list[Point] = []
    standing: dict[int, Point] = {}
    step_ms = max(one.step_ms for one in parts)
    steps = [(point.at_ms, one.partition, point) for one in parts for point in one.past if point.at_ms % step_ms == 0]
    for at_ms, partition, point in sorted(steps, key=lambda step: step[:2]):
        standing[partition] = point
        together = Point(
            at_ms, tuple(_together(list(arms)) for arms in zip(*(one.arms for one in standing.values()), strict=True))
        )
        if points and points[-1].at_ms == at_ms:
            points.pop()
        points.append(together)
    return tuple(points)


def _together(arms: list[tuple[int, MetricSums]]) -> tuple[int, MetricSums]:
    return sum(users for users, _ in arms), _sum([sums for _, sums in arms])


__all__ = ["Counted", "Pooled", "arm_of", "design_of", "newer", "pooled", "seen_of"]
