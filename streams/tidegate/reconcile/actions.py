"""From target, memory and observation to the next action: one at a time on a node, retreats first (F2).

Nothing here waits: the shell asks again at every change and every second, and what was accepted in time may be too late by then
(AWS DynamoDB, 2025-10-19: checked early, applied late). A crash loop of a new version is left without asking anybody
(CrowdStrike, 2024-07-19: hosts that could not reach those who would have taken it back).
"""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from tidegate.reconcile.accept import expired
from tidegate.reconcile.held import Accepted, FailureKind, Held, identity, same
from tidegate.reconcile.ladder import bad_of, barred, exhausted, is_left, known_good, revivable, rung, unproven
from tidegate.reconcile.lease import BEATING, Pulse, leased
from tidegate.reconcile.target import CohortName, Target, is_advance, target_of
from tidegate.wire.documents import Move
from tidegate.wire.plans import Artifact

CRASHES = 3
CRASH_WINDOW_MS = 60_000
"""Three unordered exits within a minute of a version that is not known to be good: back, without any network (F3)."""
PROBATION_MS = 60_000
"""So long a settled version runs without an exit before it becomes the one to go back to."""
BACKOFF_MS = 1_000
BACKOFF_MOST_MS = 30_000
NOTHING = Held()


class Kind(StrEnum):
    """What is to be done."""

    REVERT = "revert"
    """Back to last-known-good: the version that ran crashes again and again, or a person on the node has left it."""
    SWAP = "swap"
    START = "start"
    RESTART = "restart"
    """The same version anew, for a run token (B3)."""
    REVIVE = "revive"
    """The version that ran, after an exit that nobody ordered."""
    STOP = "stop"
    """What must be left, where no way back starts: it runs no longer."""
    FETCH = "fetch"
    PROBE = "probe"
    """See whether the way back starts, before a version on trial does: a rollback must not be the first to try."""


class Action(Struct, frozen=True, kw_only=True):
    """One thing to do with one service. ``retreat``: it takes the place of a download or a wait under way."""

    kind: Kind
    service: str
    artifact: Artifact
    token: str = ""
    cohort: CohortName = CohortName.REST
    retreat: bool = False


class Running(Struct, frozen=True, kw_only=True):
    """What runs now, as its executor says. ``artifact`` is what the process was started from."""

    artifact: Artifact
    token: str = ""
    boot: str = ""
    ready_ms: int = 0
    shared: bool = False
    """Whether another process of this service may still, or already, answer on its socket."""


class Seen(Struct, frozen=True, kw_only=True):
    """What an executor sees of one service. ``cached``: identities of artifacts that are here, digest checked."""

    running: Running | None = None
    cached: frozenset[tuple[str, str, str]] = frozenset()


_RANK = {Kind.REVERT: 0, Kind.STOP: 0, Kind.REVIVE: 2, Kind.START: 3, Kind.SWAP: 3, Kind.RESTART: 3, Kind.PROBE: 3, Kind.FETCH: 4}


class _Case(Struct, frozen=True):
    """One service at one moment."""

    service: str
    held: Held
    target: Target
    seen: Seen
    now_ms: int
    pulse: Pulse
    outdated: bool


def next_action(
    node: str,
    held: Mapping[str, Held],
    seen: Mapping[str, Seen],
    now_ms: int,
    pulse: Pulse = BEATING,
    *,
    outdated: Collection[str] = (),
) -> Action | None:
    """Return the one thing to do next on a node, None where nothing is to be done or all must wait.

    ``outdated``: services of which what is held is not the author's newest word (``is_newest``). There may be a retreat that is
    not held, so nothing of them goes forward.
    """
    found: list[Action] = []
    for service in sorted(seen):
        one = held.get(service, NOTHING)
        target = leased(target_of(one.accepted, node), one.accepted, pulse)
        found += _wanted(_Case(service, one, target, seen[service], now_ms, pulse, service in outdated))
    return min(found, key=lambda action: (1 if action.retreat else _RANK[action.kind], action.service), default=None)


def obsolete(node: str, held: Held, current: Action) -> bool:
    """Return whether an action under way is not wanted any more: its service owes something else by now (F2).

    Retreats are always finished, and so is whatever an empty target leaves alone.
    """
    target = target_of(held.accepted, node)
    if current.kind is Kind.REVIVE:
        return barred(held, target, current.artifact)
    if current.retreat or target.artifact is None:
        return False
    back = unproven(held, target.artifact)
    if current.kind is Kind.PROBE:
        return not same(current.artifact, back)
    return not any(same(current.artifact, one) for one in (target.artifact, back, *target.prefetch))


def proven_good(held: Held, running: Running | None, now_ms: int) -> Artifact | None:
    """Return what has become last-known-good: settled, ready for a minute, and without an exit in it."""
    settled = held.accepted.document.settled if held.accepted is not None else None
    if running is None or not running.ready_ms or not same(settled, running.artifact) or same(held.good, running.artifact):
        return None
    since = max([running.ready_ms, held.changed_ms, *held.exits_ms])
    return running.artifact if now_ms - since >= PROBATION_MS else None


def crash_looping(held: Held, now_ms: int) -> bool:
    """Return whether the version that runs crashes again and again while another is known to be good (F3)."""
    recent = [at for at in held.exits_ms if now_ms - at <= CRASH_WINDOW_MS]
    good = known_good(held)
    return len(recent) >= CRASHES and good is not None and not same(good, held.applied)


def _wanted(case: _Case) -> Iterator[Action]:
    target, running = case.target, case.seen.running
    if running is None:
        yield from _from_nothing(case)
    elif _to_be_stopped(case, running.artifact):
        yield Action(kind=Kind.STOP, service=case.service, artifact=running.artifact, retreat=True)
    elif is_left(case.held, running.artifact) and (target.artifact is None or same(running.artifact, target.artifact)):
        yield from _revert(case)
    elif target.artifact is not None and not same(target.artifact, running.artifact):
        yield from _change(Kind.SWAP, case)
    elif target.artifact is not None and target.token and target.token not in (case.held.token, running.token):
        yield from _change(Kind.RESTART, case)
    for artifact in target.prefetch:
        if identity(artifact) not in case.seen.cached:
            yield from _fetch(case, artifact)
            return


def _to_be_stopped(case: _Case, artifact: Artifact) -> bool:
    """Return whether nothing is better than what runs. A stop that failed rests 30 s, in which a way back is tried as before."""
    if not barred(case.held, case.target, artifact) or not exhausted(case.held, case.target, case.seen.cached):
        return False
    stuck = case.held.stuck
    return stuck is None or not stuck.last_ms <= case.now_ms < stuck.last_ms + BACKOFF_MOST_MS


def _from_nothing(case: _Case) -> Iterator[Action]:
    """Nothing runs: it never did, or it ended unasked."""
    before, target = case.held.applied, case.target.artifact
    if _looping(case) or (before is not None and not revivable(case.held, case.target, case.seen.cached)):
        yield from _back_from_nothing(case)
        return
    changes = list(_change(Kind.START, case)) if target is not None and not same(target, before) else []
    yield from changes
    if changes or before is None or (case.held.exits_ms and _rests(*_last_exits(case.held), case.now_ms)):
        return
    if identity(before) in case.seen.cached:
        yield Action(kind=Kind.REVIVE, service=case.service, artifact=before, token=case.held.applied_token)
    else:
        yield from _fetch(case, before)


def _looping(case: _Case) -> bool:
    good = known_good(case.held)
    return good is not None and identity(good) in case.seen.cached and crash_looping(case.held, case.now_ms)


def _back_from_nothing(case: _Case) -> Iterator[Action]:
    """Nothing runs, and what ran last must not run again."""
    target, before = case.target.artifact, case.held.applied
    if target is not None and not same(target, before) and not barred(case.held, case.target, target):
        yield from _change(Kind.START, case)
        return
    yield from _revert(case)


def _revert(case: _Case) -> Iterator[Action]:
    back = rung(case.held, replace(case.target, artifact=None), case.seen.cached)
    if back is not None and _rested(case, back):
        yield Action(kind=Kind.REVERT, service=case.service, artifact=back, retreat=True)


def _change(kind: Kind, case: _Case) -> Iterator[Action]:
    """Yield an ordered change of what runs; expiry, freeze, the author's life and failures are asked again each time (F1).

    Under a retreat nobody goes forward, also not who had been asked to and is late.
    """
    accepted, artifact = case.held.accepted, case.target.artifact
    if accepted is None or artifact is None:
        return
    forward = kind is Kind.RESTART or is_advance(accepted, artifact)
    document = accepted.document
    if forward and (case.held.freeze or document.move is Move.RETREAT or expired(document, accepted.plan, case.now_ms)):
        return
    if forward and (case.outdated or not case.pulse.agrees or (document.move is Move.ADVANCE and not case.pulse.fresh)):
        return
    if not forward:
        artifact = rung(case.held, case.target, case.seen.cached)
        if artifact is None or (case.seen.running is not None and same(artifact, case.seen.running.artifact)):
            return
    if not _may_start(case, accepted, artifact, forward=forward):
        return
    back = unproven(case.held, artifact) if forward and kind is not Kind.RESTART else None
    for one in (back, artifact):
        if one is not None and identity(one) not in case.seen.cached:
            yield from _fetch(case, one, retreat=not forward)
            return
    if back is not None:
        if _rested(case, back):
            yield Action(kind=Kind.PROBE, service=case.service, artifact=back)
        return
    yield Action(
        kind=kind,
        service=case.service,
        artifact=artifact,
        token=case.target.token if same(artifact, case.target.artifact) else "",
        cohort=case.target.cohort,
        retreat=not forward,
    )


def _may_start(case: _Case, accepted: Accepted, artifact: Artifact, *, forward: bool) -> bool:
    """Return whether an earlier failure allows another try.

    A version on trial that failed is not tried again in the same rollout, and one that crash-looped never is; an old or
    settled one is, ever more slowly.
    """
    if forward and bad_of(case.held, artifact) is not None:
        return False
    failure = case.held.failure
    if failure is None or failure.kind is FailureKind.FETCH or not same(failure.artifact, artifact):
        return forward or _rested(case, artifact)
    on_trial = forward and not same(accepted.document.settled, artifact)
    if failure.rollout == accepted.document.rollout and (on_trial or failure.kind is FailureKind.CRASH_LOOP):
        return False
    return on_trial or _rested(case, artifact)


def _rested(case: _Case, artifact: Artifact) -> bool:
    """Return whether an artifact that did not start has rested long enough; given up, it rests longest."""
    bad, failure = bad_of(case.held, artifact), case.held.failure
    if bad is not None:
        return not bad.last_ms <= case.now_ms < bad.last_ms + BACKOFF_MOST_MS
    return failure is None or not same(failure.artifact, artifact) or not _rests(failure.count, failure.last_ms, case.now_ms)


def _fetch(case: _Case, artifact: Artifact, *, retreat: bool = False) -> Iterator[Action]:
    failure = case.held.failure
    failed = failure is not None and failure.kind is FailureKind.FETCH and same(failure.artifact, artifact)
    if failure is None or not failed or not _rests(failure.count, failure.last_ms, case.now_ms):
        yield Action(kind=Kind.FETCH, service=case.service, artifact=artifact, retreat=retreat)


def _last_exits(held: Held) -> tuple[int, int]:
    """Return how many exits came soon before the last one, and when that was."""
    last = held.exits_ms[-1]
    return len([at for at in held.exits_ms if last - at <= CRASH_WINDOW_MS]) - 1, last


def _rests(count: int, last_ms: int, now_ms: int) -> bool:
    """Return whether a thing that failed ``count`` times is not to be tried again yet: it is at once, then after 1 s, 2 s, 4 s,
    at most 30 s. What failed in the future did so under another clock, which nobody waits for.
    """
    return last_ms <= now_ms < last_ms + (min(BACKOFF_MOST_MS, BACKOFF_MS << min(count - 1, 10)) if count > 0 else 0)
