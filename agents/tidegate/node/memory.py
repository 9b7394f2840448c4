"""What one agent holds of its services, and the moments at which that is made durable: always before the act (F1)."""

from collections.abc import Callable

import structlog
from msgspec.structs import replace

from tidegate.node.executor import FetchFailed
from tidegate.node.state import StateFile
from tidegate.ports import Disk
from tidegate.reconcile.actions import Action, Kind, Running
from tidegate.reconcile.held import EXITS_KEPT, Accepted, Failure, FailureKind, Freeze, Held, NodeState, Proof, Undertaking, same
from tidegate.reconcile.ladder import TRIES, bad_of, no_longer_bad, no_longer_good, noted_bad, proven, way_back
from tidegate.wire.documents import Move
from tidegate.wire.plans import Artifact

TORN = (
    "both copies of this node's state were damaged; what ran keeps running, and advances are refused until the next settled "
    "document of the fleet"
)

NOTHING = Held()

log = structlog.get_logger("node")


class Memory:
    """The state of a node, in memory and on disk. Every method that changes it returns whether the disk took it.

    What is to be done is not known before the disk has it. What has happened is true whether or not the disk takes it, and is
    written by ``retry``, before anything else is begun: a start that failed on a full disk would else have been carried out.
    """

    def __init__(self, disk: Disk, services: frozenset[str], changed: Callable[[], None]) -> None:
        self._file = StateFile(disk)
        self._changed = changed
        self.trouble = ""
        """Why the disk refuses the state; empty: it does not."""
        loaded = self._file.load()
        if loaded is None:
            log.error("state damaged", problem=TORN)
            loaded = NodeState(services={service: Held(freeze=Freeze(why=TORN, epoch=-1)) for service in services})
        self.state = loaded

    def held(self, service: str) -> Held:
        """Return what is held of a service."""
        return self.state.services.get(service, NOTHING)

    def accept(self, service: str, accepted: Accepted) -> bool:
        """Take the document that counts from now on. One of a later epoch that is no advance ends a freeze."""
        held, document = self.held(service), accepted.document
        if document.move is Move.RETREAT and accepted.plan is not None:
            held = no_longer_good(held, accepted.plan.artifact)
        thawed = held.freeze is not None and document.move is not Move.ADVANCE and document.epoch > held.freeze.epoch
        return self._put(service, replace(held, accepted=accepted, freeze=None if thawed else held.freeze))

    def freeze(self, service: str, why: str, epoch: int) -> bool:
        """Refuse advances of a service from now on (E1)."""
        held = self.held(service)
        if held.freeze is not None:
            return True
        log.error("service frozen", service=service, problem=why)
        return self._put(service, replace(held, freeze=Freeze(why=why, epoch=epoch)))

    def begin(self, action: Action, now_ms: int) -> bool:
        """Write down what is about to be done, its run token first of all (B3)."""
        held = self.held(action.service)
        undertaking = Undertaking(artifact=action.artifact, token=action.token, token_before=held.token)
        held = replace(held, undertaking=undertaking, token=action.token or held.token)
        if action.kind is Kind.REVERT and held.applied is not None and bad_of(held, held.applied) is None:
            why = _loop_text(held, action.artifact)
            failure = _failure(held, FailureKind.CRASH_LOOP, held.applied, now_ms, why)
            held = noted_bad(replace(held, failure=failure), failure, never=True)
        if action.kind is not Kind.REVIVE:
            held = replace(held, changed_ms=now_ms, exits=0, exits_ms=())
        return self._put(action.service, held)

    def done(self, action: Action) -> bool:
        """Write down that an action took place."""
        held = self.held(action.service)
        if action.kind is Kind.STOP:  # what was left, and what was given up, stands there already
            return self._note(action.service, replace(held, stuck=None))
        if held.failure is not None and same(held.failure.artifact, action.artifact):
            held = replace(held, failure=None)
        if action.kind is Kind.PROBE or (action.kind is not Kind.FETCH and same(action.artifact, way_back(held))):
            rollout = held.accepted.document.rollout if held.accepted is not None else ""
            held = replace(held, proof=Proof(artifact=action.artifact, rollout=rollout))
        if action.kind not in (Kind.FETCH, Kind.PROBE):
            held = no_longer_bad(held, action.artifact)
            held = replace(held, applied=action.artifact, applied_token=action.token, undertaking=None, stuck=None)
        return self._note(action.service, held)

    def failed(self, action: Action, error: Exception, now_ms: int) -> bool:
        """Write down that an action failed. A revival that fails is one more exit that nobody ordered.

        A restart that failed is owed still: the token of before is kept, so that it is tried again (B3).
        """
        kind = FailureKind.FETCH if isinstance(error, FetchFailed) else FailureKind.START
        held = self.held(action.service)
        owed = action.kind is Kind.RESTART and held.undertaking is not None
        held = replace(held, undertaking=None, token=held.undertaking.token_before if owed and held.undertaking else held.token)
        failure = _failure(held, kind, action.artifact, now_ms, str(error))
        if action.kind is Kind.STOP:
            return self._note(action.service, replace(held, stuck=failure))
        held = replace(held, failure=failure)
        if action.retreat and (failure.count >= TRIES or bad_of(held, action.artifact) is not None):
            held = noted_bad(held, failure)
        if action.kind is Kind.REVIVE:
            held = _with_exit(held, now_ms)
        return self._note(action.service, held)

    def undone(self, action: Action) -> bool:
        """Write down that an action was cancelled: its token was not carried out."""
        held = self.held(action.service)
        if held.undertaking is None:
            return True
        return self._note(action.service, replace(held, undertaking=None, token=held.undertaking.token_before))

    def exited(self, service: str, now_ms: int) -> bool:
        """Count an exit that nobody ordered."""
        return self._note(service, _with_exit(self.held(service), now_ms))

    def good(self, service: str, artifact: Artifact) -> bool:
        """Keep a version as the one to go back to."""
        return self._put(service, proven(self.held(service), artifact))

    def leave(self, service: str, why: str, now_ms: int) -> bool:
        """Leave what was started last, for as long as the rollout at hand lasts: a person on the node says so."""
        held = self.held(service)
        if held.applied is None:
            return True
        failure = _failure(held, FailureKind.CRASH_LOOP, held.applied, now_ms, why)
        log.warning("version left", service=service, version=held.applied.version, why=why)
        return self._put(service, noted_bad(replace(held, failure=failure), failure, never=True))

    def trust(self, root: str) -> bool:
        """Keep the newest key document."""
        return self._save(replace(self.state, root=root))

    def settle(self, service: str, running: Running | None) -> bool:
        """Finish or undo what an earlier life had begun, by what really runs."""
        held = self.held(service)
        begun = held.undertaking
        if begun is not None and running is not None and same(running.artifact, begun.artifact) and running.token == begun.token:
            held = replace(held, undertaking=None, applied=begun.artifact, applied_token=begun.token)
        elif begun is not None:
            held = replace(held, undertaking=None, token=begun.token_before)
        if running is not None and not same(held.applied, running.artifact):
            held = replace(held, applied=running.artifact, applied_token=running.token)
        return held == self.held(service) or self._note(service, held)

    def retry(self) -> bool:
        """Write again what the disk did not take."""
        return self._save(self.state)

    def _put(self, service: str, held: Held) -> bool:
        if held == self.held(service) and not self.trouble:
            self._changed()  # what is held is what it was; what is seen may not be
            return True
        return self._save(replace(self.state, services=self.state.services | {service: held}))

    def _note(self, service: str, held: Held) -> bool:
        """Keep what has happened, and write it if the disk takes it."""
        if self._put(service, held):
            return True
        self.state = replace(self.state, services=self.state.services | {service: held})
        return False

    def _save(self, state: NodeState) -> bool:
        try:
            self.state = self._file.save(state)
        except OSError as error:
            self.trouble = f"cannot write state: {error.strerror or error}"
            log.error("state not written", problem=self.trouble, remedy="free space in the folder that `state` names")  # noqa: TRY400
            return False
        self.trouble = ""
        self._changed()
        return True


def _failure(held: Held, kind: FailureKind, artifact: Artifact, now_ms: int, error: str) -> Failure:
    before = held.failure
    again = before is not None and before.kind is kind and same(before.artifact, artifact)
    rollout = held.accepted.document.rollout if held.accepted is not None else ""
    count = before.count + 1 if before is not None and again else 1
    return Failure(kind=kind, artifact=artifact, rollout=rollout, count=count, last_ms=now_ms, error=error)


def _with_exit(held: Held, now_ms: int) -> Held:
    return replace(held, exits=held.exits + 1, exits_ms=(*held.exits_ms, now_ms)[-EXITS_KEPT:])


def _loop_text(held: Held, back_to: Artifact) -> str:
    version = held.applied.version if held.applied is not None else "?"
    return f"{version} ended {held.exits} times by itself; went back to {back_to.version} without asking"
