"""Signed documents other than plans: who runs what, who is the author, what a node reports, what a person asks for,
whose keys count.

All are JSON inside a DSSE envelope (``tidegate.wire.envelope``). Unknown fields and doubled keys are refused. Times are
milliseconds since the epoch.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.codec import encode
from tidegate.wire.flagchanges import FlagChange
from tidegate.wire.names import Label, Name, Sha256, Share, Subject
from tidegate.wire.plans import Artifact
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

GLASS_PREFIX = "breakglass/"
Number = Annotated[int, Meta(ge=0, le=1 << 53)]
"""A counter: beyond 2^53 a reader in another language would see another number."""
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$(?!\n)", description="a sha256 of 64 hexadecimal digits, or nothing")]


class Order(Struct, frozen=True, order=True, array_like=True):
    """Position of a document (E1): compared as (root version, epoch, generation); only a greater one is acted on.

    The root version comes first, so that a number which a stolen key drove up (TUF: fast-forward) is worth nothing as soon as
    the root names other keys.
    """

    root_version: Number = 0
    epoch: Number = 0
    generation: Number = 0


class Phase(StrEnum):
    """Where a subject stands."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    WATCHING = "watching"
    DONE = "done"


class Move(StrEnum):
    """Which way a desired document moves the fleet: only an advance expires (F1)."""

    ADVANCE = "advance"
    HOLD = "hold"
    RETREAT = "retreat"


class Roster(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="roster", tag_field="kind"):
    """The nodes eligible for one rollout, in the order in which they are reached (B1). Late joiners are appended (B6)."""

    fleet: Name
    subject: Subject
    rollout: Label
    nodes: tuple[Name, ...]
    waves: tuple[Number, ...] = ()
    """How many of them are in the plan's waves up to each (``Plan.waves``)."""


class Cohort(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Roster positions ``first`` to ``first + count`` (excluded) run ``version``. ``token``: restart once when it is
    new (B3).
    """

    name: Annotated[str, Meta(pattern=r"^(canary|control)$(?!\n)")]
    first: Annotated[int, Meta(ge=0)]
    count: Annotated[int, Meta(ge=0)]
    version: Name
    token: Label = ""


class Desired(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="desired", tag_field="kind"):
    """The command: what each cohort should run now. A level, not an event: publishing it again changes nothing.

    A node in no cohort runs ``settled``; without one it runs nothing new. ``newcomers`` is what a node outside the
    roster takes.
    """

    fleet: Name
    subject: Subject
    service: Name
    root_version: Number
    epoch: Number
    generation: Number
    phase: Phase
    move: Move
    reason: Reason
    plan_digest: Digest = ""
    roster_digest: Digest = ""
    rollout: Label = ""
    stage: Number = 0
    placement: Label = ""
    released: Number = 0
    """How many nodes of the roster this rollout has been given to so far (B4)."""
    cohorts: tuple[Cohort, ...] = ()
    settled: Artifact | None = None
    newcomers: Artifact | None = None
    prefetch: bool = False
    """Nodes of the roster fetch the plan's artifact now, and start nothing."""
    issued_ms: Number = 0
    expires_ms: Number = 0
    """Advances only; 0: never."""

    @property
    def order(self) -> Order:
        """Position of this document."""
        return Order(self.root_version, self.epoch, self.generation)


class FlagStamp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="flag", tag_field="kind"):
    """Who stands for a record of ``flags``: it is sealed and goes in the record's header, for the value is flagd's own (G1)."""

    fleet: Name
    key: Annotated[str, Meta(max_length=257)]
    """The record's key, two names and a stroke between them: a value counts under no other."""
    root_version: Number
    epoch: Number
    generation: Number
    sha256: Digest
    """Of the value; nothing for a tombstone."""

    @property
    def order(self) -> Order:
        """Position of the record: readers keep the highest."""
        return Order(self.root_version, self.epoch, self.generation)


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="claim", tag_field="kind"):
    """I am the author of this epoch: the first claim for an epoch in log order wins (E2)."""

    fleet: Name
    epoch: Annotated[int, Meta(ge=1, le=1 << 53)]
    life: Name
    """One life of one decide process."""
    read_to: Number
    """Offset of ``desired`` read when the claim was made."""
    issued_ms: Number


class Heartbeat(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="heartbeat", tag_field="kind"
):
    """I am alive, and this is what I stand for (E4). ``resigned``: a successor may claim at once (E3)."""

    fleet: Name
    epoch: Number
    life: Name
    seq: Number
    issued_ms: Number
    digest: Sha256
    """``standing_digest`` of what the author has published in its epoch before this record."""
    resigned: bool = False


class ServiceReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one node says of one service. ``digest`` is measured from what runs, never remembered (F4)."""

    service: Name
    executor: Name
    state: ServiceState
    version: str = ""
    digest: str = ""
    order: Order = Order()
    """Order of the desired document that was accepted last."""
    token: str = ""
    """The run token that the running process was started for."""
    ready_ms: int = 0
    """When the running process became ready."""
    exits: int = 0
    """Exits nobody ordered since the last ordered start."""
    changed_ms: int = 0
    prefetched: tuple[str, ...] = ()
    """Versions whose artifacts are in the cache, digest checked."""
    pinned: str = ""
    """The version kept as the target of a rollback, start-able."""
    error: Annotated[str, Meta(max_length=4096)] = ""


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="report", tag_field="kind"):
    """What a node says it really runs; every 30 s and on change. ``counter`` rises by 1 within one ``boot`` of the
    agent.
    """

    fleet: Name
    node: Name
    boot: Name
    counter: int
    issued_ms: int
    agent_version: str
    services: tuple[ServiceReport, ...] = ()
    zone: Label = ""
    labels: dict[Label, Label] = {}
    disk_free_bytes: int = -1
    frozen: str = ""
    """Why this agent refuses to act (E1 equivocation, torn state); empty: it does not."""


class Verb(StrEnum):
    """What a person may ask for."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    UNDO = "undo"
    RETRY = "retry"
    RELEASE = "release"
    """Take a version out of quarantine."""
    APPROVE = "approve"
    """Approve of a plan that somebody else signed (H3)."""
    CORDON = "cordon"
    UNCORDON = "uncordon"
    SILENCE = "silence"
    """Tell nobody of some alarms for a while (I1)."""
    UNSILENCE = "unsilence"
    """End a silence."""
    SET = "set"
    """Want another definition of a flag, or of what its set has beside it."""
    KILL = "kill"
    """Give everyone a flag's kill variant, now (G5)."""
    RESTORE = "restore"
    """Bring back what was there before a kill or a switch-off."""
    SHARE = "share"
    """Lower a flag's weight, or bring it back to what its stages have given (G2)."""
    ARCHIVE = "archive"
    """Give everyone the safe variant for good; the name is never used again."""


class Hush(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which alarms a silence hides, and until when: those that have all that is named here. Naming nothing is refused."""

    service: Label = ""
    name: Label = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=16)] = {}
    until_ms: Annotated[int, Meta(ge=0)]


class Intent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="intent", tag_field="kind"):
    """What a person asked for. Refused when ``generation`` is not the one of the subject, except pause, abort and
    kill (D3).
    """

    id: Name
    fleet: Name
    subject: Subject
    verb: Verb
    generation: int
    actor: Label
    reason: Label = ""
    target: Label = ""
    """Version or digest of a spec for release, plan or intent id for approve, plan of a service for abort (none: what is under
    way and all that wait), node for cordon, id for unsilence.
    """
    hush: Hush | None = None
    """For silence."""
    flag: FlagChange | None = None
    """For set."""
    weight: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """For share: of 10,000."""
    issued_ms: int


class GlassAction(StrEnum):
    """All that break-glass may do (E5)."""

    PAUSE = "pause"
    ROLLBACK = "rollback"


class BreakGlass(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="breakglass", tag_field="kind"
):
    """Stop, or go back, whatever the decision agent says: beats every desired document not above ``generation`` (E5).

    Nodes obey it by themselves; decide, when it runs, folds it as an intent. It can only lessen what is exposed, so that the way
    around a broken control plane is no way around its guards (Azure Front Door 2025-10: a clean-up by hand passed the gate).
    """

    id: Name
    fleet: Name
    subject: Subject
    root_version: Number
    generation: Number
    action: GlassAction
    actor: Annotated[str, Meta(min_length=1, max_length=256)]
    reason: Annotated[str, Meta(min_length=1, max_length=256)]
    issued_ms: Number

    @property
    def key(self) -> str:
        """Key on the topic ``desired``."""
        return f"{GLASS_PREFIX}{self.subject}"


class KeyRole(StrEnum):
    """What a key may sign (H1)."""

    ROOT = "root"
    OPERATOR = "operator"
    API = "api"
    GATE = "gate"
    DECISION = "decision"
    NODE = "node"
    BREAKGLASS = "breakglass"
    JOIN = "join"
    """A join token: enrols nodes of certain names, for a while (H3)."""


class PublicKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One Ed25519 key and the role in which it counts. ``node`` binds a node's key to that node; ``subjects``, where there are
    any, bind an operator's, API's, gate's or break-glass key to those.
    """

    id: Name
    role: KeyRole
    public: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    node: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$(?!\n)")] = ""
    subjects: Annotated[tuple[Subject, ...], Meta(max_length=1_000)] = ()


class Root(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="root", tag_field="kind"):
    """The key document: every key that counts besides those of nodes and tokens. Version n + 1 is signed by ``threshold`` root
    keys of version n and by as many of its own as it asks for (TUF 5.3), so the chain is followed link by link.
    """

    fleet: Name
    version: Annotated[int, Meta(ge=1, le=1 << 30)]
    keys: Annotated[tuple[PublicKey, ...], Meta(max_length=10_000)]
    issued_ms: Number
    threshold: Annotated[int, Meta(ge=1, le=16)] = 1
    """So many root keys must sign."""
    revoked: Annotated[tuple[Sha256, ...], Meta(max_length=10_000)] = ()
    """Public keys that count for nothing any more, also where an enrolment or a token names them."""


class Token(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="token", tag_field="kind"):
    """A join token's public half (H3). Key on the topic ``keys``: ``token/<key id>``. Whoever holds the private half may enrol
    nodes that were never enrolled, of these names, until it expires.
    """

    fleet: Name
    key: PublicKey
    nodes: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\*?$(?!\n)", description="a node's name, or web-*")]
    expires_ms: Number
    """By the append time of the enrolment: no clock of a joining machine is asked."""
    issued_ms: Number

    def admits(self, node: str) -> bool:
        """Return whether a node may join by this token."""
        return node.startswith(self.nodes[:-1]) if self.nodes.endswith("*") else node == self.nodes


class Enrolment(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="enrolment", tag_field="kind"
):
    """A node that belongs to the fleet (H3). Key on the topic ``keys``: the node's name; by a token, ``enrolment_key``.

    ``retired``: it does no longer. Of one node only a later one counts, by ``issued_ms``.
    """

    fleet: Name
    node: Name
    key: PublicKey
    issued_ms: Number
    retired: bool = False


MaxUnavailable = Share


def digest(data: bytes) -> str:
    """Return the sha256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def standing_digest(generations: Mapping[str, int]) -> str:
    """Return the digest over the generation of each subject that has a command: what an author stands for (E4)."""
    return digest_of(sorted(generations.items()))


def digest_of(value: object) -> str:
    """Return the sha256 of a struct's deterministic JSON, in hexadecimal: stable across processes, machines and hash
    seeds.
    """
    return digest(encode(value))
