"""What a node says of one service, for liveness rows (A5) and reports (F4): from memory, observation and what is under way."""

from msgspec import Struct

from tidegate.reconcile.actions import Action, Kind, Seen
from tidegate.reconcile.held import Failure, FailureKind, Held, same
from tidegate.reconcile.ladder import bad_of, unproven
from tidegate.reconcile.target import target_of
from tidegate.wire.telemetry import ServiceState


class Status(Struct, frozen=True, kw_only=True):
    """A state and the version that it speaks of: the one that starts, failed or runs. Empty version: there is none."""

    state: ServiceState
    version: str = ""
    error: str = ""


def status_of(node: str, held: Held, seen: Seen, under_way: Action | None) -> Status:
    """Return the status of one service; ``under_way`` is the action at work on it, if any.

    A version that could not be started, or crash-looped, is FAILED for as long as it is what this node owes, although the
    one before it serves: a judge must see the failure, and the report says beside it what really runs.
    """
    target, failure, running = target_of(held.accepted, node), held.failure, seen.running
    rollout = held.accepted.document.rollout if held.accepted is not None else ""
    relevant = failure is not None and failure.rollout == rollout and same(failure.artifact, target.artifact)
    bad = bad_of(held, target.artifact)
    # What is fetched ahead is not owed yet, but why it does not come is what a rollout waits for.
    ahead = held.accepted is not None and held.accepted.document.prefetch and failure is not None and failure.rollout == rollout
    error = failure.error if failure is not None and (relevant or (ahead and failure.kind is FailureKind.FETCH)) else ""
    back = unproven(held, target.artifact) if target.artifact is not None else None
    if failure is not None and back is not None and same(failure.artifact, back) and failure.rollout == rollout:
        error = f"it waits for its way back, {back.version}: {failure.error}"
    stuck = held.stuck if held.stuck is not None and running is not None and same(held.stuck.artifact, running.artifact) else None
    error = _all(error, stuck)
    if under_way is not None and under_way.kind not in (Kind.FETCH, Kind.PROBE):
        state = ServiceState.DRAINING if under_way.kind is Kind.STOP else ServiceState.STARTING
        return Status(state=state, version=under_way.artifact.version, error=error)
    if bad is not None:
        return Status(state=ServiceState.FAILED, version=bad.artifact.version, error=_all(bad.error, failure, stuck))
    if failure is not None and relevant and failure.kind is not FailureKind.FETCH:
        return Status(state=ServiceState.FAILED, version=failure.artifact.version, error=error)
    if running is not None:
        state = ServiceState.READY if running.ready_ms else ServiceState.STARTING
        return Status(state=state, version=running.artifact.version, error=error)
    owed = held.applied or target.artifact
    return Status(state=ServiceState.STOPPED, version=owed.version if owed is not None else "", error=error)


def _all(error: str, *later: Failure | None) -> str:
    """Return what is wrong, and what went wrong since."""
    for failure in later:
        if failure is not None and failure.kind is not FailureKind.CRASH_LOOP and failure.error not in error:
            error = f"{error}; then {failure.artifact.version}: {failure.error}".removeprefix("; then ")
    return error
