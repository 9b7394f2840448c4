"""A state as bytes and back, versioned as the judge's is: fields are only added, with a default that means "not known".

Of a user 8 bytes of hash, one of variant and 8 for each metric, all but the hash of which compress well.
"""

from typing import Any

import msgspec
from msgspec import Struct

from tidegate.experiments.fold import ExperimentState, Tally
from tidegate.experiments.recent import Recent
from tidegate.experiments.run import Arm, Run
from tidegate.experiments.users import Columns, Users
from tidegate.wire.codec import Malformed, malformed
from tidegate.wire.experiments import Point, Trial

VERSION = 1
READABLE_BY = 1
"""The oldest version that may read what this one writes; it rises only where a new field changes what an old one means."""
OLDEST = 1


class KeptRun(Struct, frozen=True, kw_only=True):
    """One run."""

    trial: Trial
    set_id: str
    flag: str
    generation: int
    arms: list[Arm]
    users: Columns
    refused: int
    first_ms: int
    last_ms: int
    closed: bool
    step_ms: int
    past: list[Point]


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything in an ``ExperimentState``."""

    version: int = VERSION
    readable_by: int = READABLE_BY
    now_ms: int
    runs: list[KeptRun]
    recent: tuple[bytes, bytes]
    tally: Tally


class Envelope(Struct, frozen=True):
    """Who may read a snapshot."""

    version: int
    readable_by: int


_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPE = msgspec.msgpack.Decoder(Envelope)
_DECODER = msgspec.msgpack.Decoder(Snapshot)
_PLAIN = (
    "trial",
    "set_id",
    "flag",
    "generation",
    "arms",
    "refused",
    "first_ms",
    "last_ms",
    "closed",
    "step_ms",
    "past",
)


def snapshot(state: ExperimentState) -> bytes:
    """Return a state as bytes: equal states give equal ones."""
    runs = [_kept(run) for _, run in sorted(state.runs.items())]
    return _ENCODER.encode(Snapshot(now_ms=state.now_ms, runs=runs, recent=state.recent.packed(), tally=state.tally))


def restore(data: bytes, partition: int = 0) -> ExperimentState:
    """Return the state of a partition that a snapshot holds. Malformed where it is torn or of a version that is not read here."""
    try:
        envelope = _ENVELOPE.decode(data)
        _refuse_others(envelope)
        found = _DECODER.decode(data)
        state = ExperimentState(partition)
        state.now_ms, state.tally, state.recent = found.now_ms, found.tally, Recent.of(found.recent)
        state.runs = {kept.trial.name: _run(kept) for kept in found.runs}
    except (msgspec.DecodeError, ValueError) as error:
        raise error if isinstance(error, Malformed) else malformed(error) from error
    state.changed = set(state.runs)
    return state


def _refuse_others(envelope: Envelope) -> None:
    if envelope.version < OLDEST or envelope.readable_by > VERSION:
        raise Malformed("version", f"this checkpoint is of version {envelope.version}; here is {VERSION}")


def _kept(run: Run) -> KeptRun:
    plain: dict[str, Any] = {name: getattr(run, name) for name in _PLAIN}
    return KeptRun(users=run.users.columns(), **plain)


def _run(kept: KeptRun) -> Run:
    run = Run(kept.trial, kept.set_id, kept.flag)
    if len(kept.arms) != len(run.arms) or len(kept.users.totals) != len(kept.trial.metrics):
        raise Malformed("runs", f"{kept.trial.name} does not have the variants and metrics of its trial")
    for name in _PLAIN:
        setattr(run, name, getattr(kept, name))
    run.users = Users.of(kept.users)
    return run


__all__ = ["restore", "snapshot"]
