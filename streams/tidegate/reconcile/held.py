"""What a node remembers across its own crashes: persisted before it acts (F1), read back before it does anything else.

It is enough to go on, and to go back, with nobody else in reach (LaunchDarkly, 2025-10-20: kill switches went down with the cloud
that carried them).
"""

from enum import StrEnum

from msgspec import Struct

from tidegate.wire.documents import BreakGlass, Desired, Roster
from tidegate.wire.plans import Artifact, Plan

EXITS_KEPT = 16
"""So many unordered exits are remembered by their time; more are only counted."""
EARLIER_KEPT = 2
BAD_KEPT = 8


class Accepted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A desired document that passed every check, with the plan and the roster that its digests name (E4)."""

    document: Desired
    digest: str
    """sha256 of the document; a second one of equal order with another digest freezes the service (E1)."""
    plan: Plan | None = None
    roster: Roster | None = None
    glass: BreakGlass | None = None
    """The break-glass document under which ``document`` is less than what was signed (E5); ``digest`` is of what was signed."""


class Freeze(Struct, frozen=True, kw_only=True):
    """Why advances of a service are refused, and until when: a document that is no advance, of a greater epoch, ends it."""

    why: str
    epoch: int


class FailureKind(StrEnum):
    """What went wrong with an artifact on this node."""

    FETCH = "fetch"
    START = "start"
    CRASH_LOOP = "crash_loop"


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last thing that went wrong. ``rollout`` scopes it: another rollout or attempt may try the artifact again."""

    kind: FailureKind
    artifact: Artifact
    rollout: str
    count: int
    last_ms: int
    error: str


class Bad(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An artifact that counts as bad here while a rollout lasts.

    It crash-looped, or a person on the node left it, and it is ``never`` started any more; or it is a way back that did not come
    or start, and is tried only where there is no other.
    """

    artifact: Artifact
    rollout: str
    last_ms: int
    """When it was tried last."""
    error: str
    never: bool = False


class Proof(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A way back of a rollout that was seen to start here, before the rollout's own version did."""

    artifact: Artifact
    rollout: str


class Undertaking(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change begun and not yet known to have ended. After a crash what really runs tells whether it took place."""

    artifact: Artifact
    token: str = ""
    token_before: str = ""


class Held(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a node remembers of one service. Times are ms since the epoch."""

    accepted: Accepted | None = None
    applied: Artifact | None = None
    """What was started last on purpose: what is started again after an exit nobody ordered."""
    applied_token: str = ""
    """The run token it was started for."""
    good: Artifact | None = None
    """Last-known-good: the last settled version that ran here without a fault (F3)."""
    earlier: tuple[Artifact, ...] = ()
    """What was last-known-good before, the newest first: where a rollback goes whose target does not start."""
    token: str = ""
    """The last run token carried out; persisted before the restart (B3)."""
    changed_ms: int = 0
    """When the last ordered change began."""
    exits: int = 0
    exits_ms: tuple[int, ...] = ()
    """Unordered exits since the last ordered start, the newest last."""
    failure: Failure | None = None
    stuck: Failure | None = None
    """Of a version that was to end and did not."""
    bad: tuple[Bad, ...] = ()
    proof: Proof | None = None
    undertaking: Undertaking | None = None
    freeze: Freeze | None = None


class NodeState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole memory of a node agent. ``serial`` rises with every write: of two good copies the greater one counts."""

    serial: int = 0
    root: str = ""
    """Envelope of the newest root document that was trusted here."""
    services: dict[str, Held] = {}


def same(one: Artifact | None, other: Artifact | None) -> bool:
    """Return whether two artifacts are the same thing to run; where they come from does not matter."""
    if one is None or other is None:
        return False
    return one is other or identity(one) == identity(other)


def identity(artifact: Artifact) -> tuple[str, str, str]:
    """Return what makes an artifact what it is: version, digest, config digest."""
    return artifact.version, artifact.sha256, artifact.config_sha256 or ""
