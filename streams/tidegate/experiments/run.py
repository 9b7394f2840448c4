"""One run of an experiment in one partition: its users, what they add up to, and how that came about."""

import math
from collections.abc import Sequence

from msgspec import Struct

from tidegate.experiments.users import DOUBLE, FREE, Users
from tidegate.wire.experiments import ArmSums, MetricSums, Point, Sums, Trial
from tidegate.wire.exposures import Exposure

POINTS_MAX = 64
STEP_MS = 10_000
"""The past of a run begins with a point each ten seconds; whenever it has 64, the step doubles, and what is between goes."""


class Tried(Struct):
    """What one metric of one variant adds up to: changed in place, for it is changed with every outcome."""

    users: int = 0
    total: float = 0.0
    squares: float = 0.0
    total_rest: float = 0.0
    squares_rest: float = 0.0
    """What rounding has left out of the sum: one large value that goes again must not take the small ones with it."""

    def add(self, before: float, value: float) -> None:
        """Add a value of a user who did ``before`` until now; NaN: nothing."""
        if math.isnan(before):
            self.users += 1
            before = 0.0
        self.total, self.total_rest = _plus(self.total, self.total_rest, value)
        if before:
            self._add_square(-before * before)
        self._add_square((before + value) * (before + value))

    def drop(self, total: float) -> None:
        """Forget a user who did ``total``."""
        if not math.isnan(total):
            self.users -= 1
            self.total, self.total_rest = _plus(self.total, self.total_rest, -total)
            self._add_square(-total * total)

    def sums(self) -> MetricSums:
        """Return the sums of now. Without users they are zero, whatever rounding has left."""
        if not self.users:
            return MetricSums()
        return MetricSums(self.users, self.total + self.total_rest, self.squares + self.squares_rest)

    def _add_square(self, square: float) -> None:
        self.squares, self.squares_rest = _plus(self.squares, self.squares_rest, square)


class Arm(Struct):
    """One variant."""

    users: int
    doubles: int
    metrics: list[Tried]


class Run:
    """A run, from its first exposure on. Numbers of variants are places in the order of the trial's shares, from 1 on."""

    def __init__(self, trial: Trial, set_id: str, flag: str) -> None:
        self.trial = trial
        self.set_id = set_id
        self.flag = flag
        self.generation = 0
        self.numbers = {variant: number for number, variant in enumerate(trial.shares, 1)}
        self.metrics = {metric: number for number, metric in enumerate(trial.metrics)}
        self.arms = [Arm(0, 0, [Tried() for _ in trial.metrics]) for _ in trial.shares]
        self.users = Users(len(trial.metrics))
        self.refused = 0
        self.first_ms = self.last_ms = 0
        self.closed = False
        """It gave way to another one: the sums stay, the users are forgotten, nobody is counted any more."""
        self.step_ms = STEP_MS
        self.past: list[Point] = []

    def expose(self, exposure: Exposure, room: int) -> None:
        """Count somebody who saw a variant. ``room``: so many more may be admitted."""
        number, key = self.numbers.get(exposure.variant), key_of(exposure.user)
        if number is None:
            return
        before = self.users.variant(key)
        if before in (number, DOUBLE):
            return
        if before != FREE:
            self._double(key, self.arms[before - 1])
        elif room <= 0:
            self.refused += 1
        else:
            self.users.put(key, number)
            self.arms[number - 1].users += 1

    def _double(self, key: int, arm: Arm) -> None:
        """Leave a user out of both variants: which of them brought about what was done cannot be known."""
        self.users.put(key, DOUBLE)
        arm.users -= 1
        arm.doubles += 1
        for metric, tried in enumerate(arm.metrics):
            tried.drop(self.users.total(key, metric))

    def heed(self, metric: str, user: str, value: float) -> None:
        """Count what somebody did, who was exposed before."""
        number, key = self.metrics[metric], key_of(user)
        variant = self.users.variant(key)
        if variant in (FREE, DOUBLE):
            return
        before = self.users.total(key, number)
        self.arms[variant - 1].metrics[number].add(before, value)
        self.users.tell(key, number, value if math.isnan(before) else before + value)

    def look(self, now_ms: int) -> None:
        """Remember how things stood at the last whole step before ``now_ms``, once."""
        at_ms = now_ms // self.step_ms * self.step_ms
        if self.first_ms == 0 or at_ms <= (self.past[-1].at_ms if self.past else self.first_ms):
            return
        self.past.append(Point(at_ms, tuple((arm.users, arm.metrics[0].sums()) for arm in self.arms)))
        while len(self.past) >= POINTS_MAX:
            # Those at whole steps, so that the points of all partitions lie at the same times.
            self.step_ms *= 2
            self.past = [point for point in self.past if point.at_ms % self.step_ms == 0]

    def close(self) -> None:
        """Forget the users, keep the sums."""
        self.closed = True
        self.users = Users(len(self.trial.metrics))

    def sums(self, partition: int, offset: int) -> Sums:
        """Return the record of now."""
        arms: Sequence[ArmSums] = [
            ArmSums(arm.users, arm.doubles, tuple(tried.sums() for tried in arm.metrics)) for arm in self.arms
        ]
        return Sums(
            trial=self.trial,
            partition=partition,
            offset=offset,
            set_id=self.set_id,
            flag=self.flag,
            generation=self.generation,
            arms=dict(zip(self.trial.shares, arms, strict=True)),
            refused=self.refused,
            first_ms=self.first_ms,
            last_ms=self.last_ms,
            step_ms=self.step_ms,
            past=tuple(self.past),
        )


def _plus(total: float, rest: float, value: float) -> tuple[float, float]:
    """Return a sum with one more value, and what rounding has left out of it (Neumaier, 1974)."""
    found = total + value
    lost = (total - found) + value if abs(total) >= abs(value) else (value - found) + total
    return found, rest + lost


def key_of(user: str) -> int:
    """Return the 64 bits by which a user is known here."""
    return int(user[:16], 16)


__all__ = ["Run"]
