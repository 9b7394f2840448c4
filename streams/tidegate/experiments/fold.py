"""One exposure or outcome after another. A user's outcomes count from the first exposure on, in the order of the partition.

Bounds: 5 million users in all partitions, 32 experiments, the last 131,072 outcomes remembered to drop one that was sent twice.
"""

import struct
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from tidegate.experiments.recent import Recent
from tidegate.experiments.run import Run
from tidegate.wire.experiments import Sums, trial_in
from tidegate.wire.exposures import Exposure, Outcome
from tidegate.wire.topics import BY_NAME

USERS_ALL_MAX = 5_000_000
USERS_MAX = USERS_ALL_MAX // BY_NAME["exposures"].partitions
"""Of all experiments in one partition: users are hashed to partitions, so no partition has many more than another."""
RUNS_MAX = 32
IDLE_MS = 86_400_000
"""A run that nobody was exposed to for so long counts no outcomes any more, for its flag may give everyone one variant since. It
gives way where another one needs its place; its sums stay on the topic as they were written last.
"""
OVER_MS = 7 * IDLE_MS
"""A run that nobody was exposed to for so long has ended: declared again, it begins anew."""
VALUE_MAX = 1e9
"""An outcome beyond it is no measurement: one of it would drown all others."""


class Tally(Struct):
    """Records by what became of them; their sum is all records folded."""

    exposures: int = 0
    outcomes: int = 0
    """That belong to a metric of an experiment of their set; who did it may have been exposed or not."""
    elsewhere: int = 0
    """Of no experiment, or of one that has no room here."""
    stale: int = 0
    """Exposures of an earlier definition."""
    duplicate: int = 0
    excessive: int = 0

    def copy(self) -> "Tally":
        """Return the counts as they are now."""
        return replace(self)


class ExperimentState:
    """The state of one partition of ``exposures``. Every change is made by ``step``."""

    def __init__(self, partition: int = 0, users_max: int = USERS_MAX) -> None:
        self.partition = partition
        self.users_max = users_max
        self.now_ms = 0
        """The latest append time: order and age are those of the log."""
        self.runs: dict[str, Run] = {}
        """By the experiment's name."""
        self.recent = Recent()
        self.tally = Tally()
        self.lost = False
        """Whether what came before was lost."""
        self.changed: set[str] = set()
        """Experiments whose sums have changed since whoever writes them cleared this. No part of a snapshot."""

    @property
    def users(self) -> int:
        """Return how many users are known, doubly exposed ones among them."""
        return sum(run.users.count for run in self.runs.values())


def step(state: ExperimentState, event: Exposure | Outcome, append_ms: int) -> None:
    """Fold one record. Deterministic and total."""
    state.now_ms = max(state.now_ms, append_ms)
    if isinstance(event, Exposure):
        _expose(state, event)
    else:
        _heed(state, event)


def sums(state: ExperimentState, name: str, offset: int) -> Sums:
    """Return what belongs on ``experiments`` of one experiment, given the next offset. KeyError where it is not known."""
    return state.runs[name].sums(state.partition, offset)


def _expose(state: ExperimentState, exposure: Exposure) -> None:
    trial = trial_in(exposure.experiment) if exposure.experiment else None
    if trial is None:
        state.tally.elsewhere += 1
        return
    run = state.runs.get(trial.name)
    if run is None or (exposure.generation > run.generation and (run.trial.run != trial.run or _over(run, state.now_ms))):
        if run is None and not _place(state):
            state.tally.elsewhere += 1
            return
        run = state.runs[trial.name] = Run(trial, exposure.set_id, exposure.flag)
    if run.trial.run != trial.run or run.closed:
        state.tally.stale += 1
        return
    run.look(state.now_ms)
    state.tally.exposures += 1
    run.generation = max(run.generation, exposure.generation)
    run.first_ms, run.last_ms = run.first_ms or state.now_ms, state.now_ms
    run.expose(exposure, _room(state))
    state.changed.add(trial.name)


def _heed(state: ExperimentState, outcome: Outcome) -> None:
    runs = [run for run in state.runs.values() if run.set_id == outcome.set_id and outcome.metric in run.metrics]
    runs = [run for run in runs if not run.closed and run.last_ms >= state.now_ms - IDLE_MS]
    if not runs:
        state.tally.elsewhere += 1
        return
    if abs(outcome.value) > VALUE_MAX:
        state.tally.excessive += 1
        return
    if state.recent.seen(_digest(outcome)):
        state.tally.duplicate += 1
        return
    state.tally.outcomes += 1
    for run in runs:
        run.look(state.now_ms)
        run.heed(outcome.metric, outcome.user, outcome.value)
        state.changed.add(run.trial.name)


def _over(run: Run, now_ms: int) -> bool:
    return run.last_ms < now_ms - OVER_MS


def _place(state: ExperimentState) -> bool:
    """Return whether there is a place for one more experiment; forget the one that has been idle longest if need be."""
    if len(state.runs) < RUNS_MAX:
        return True
    idle = _idle(state)
    if idle:
        del state.runs[idle[0]]
        state.changed.discard(idle[0])
    return bool(idle)


def _room(state: ExperimentState) -> int:
    """Return how many users may be admitted; close runs that are idle if need be, those first that have been so longest."""
    room = state.users_max - state.users
    for name in _idle(state) if room <= 0 else ():
        if room <= 0 and not state.runs[name].closed:
            state.runs[name].close()
            room = state.users_max - state.users
    return room


def _idle(state: ExperimentState) -> list[str]:
    """Return the experiments that nobody was exposed to for long, the longest first."""
    over = [(run.last_ms, name) for name, run in state.runs.items() if run.last_ms < state.now_ms - IDLE_MS]
    return [name for _, name in sorted(over)]


def _digest(outcome: Outcome) -> int:
    """Return 64 bits by which an outcome is known again."""
    told = f"{outcome.user}/{outcome.set_id}/{outcome.metric}".encode() + struct.pack("<dq", outcome.value, outcome.at_ms)
    return int.from_bytes(blake2b(told, digest_size=8).digest(), "little")


__all__ = ["USERS_MAX", "ExperimentState", "Tally", "step", "sums"]
