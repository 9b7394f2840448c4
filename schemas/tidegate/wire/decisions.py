"""The ledger on the topic ``decisions``: one record for each change of what was decided, hash-chained, the state of
record (D1, D2).

A record carries the whole state of its subject after the change, so applying records needs no rule that a later release
could change.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.documents import Hush, Phase, Roster
from tidegate.wire.flagstates import FlagState, SharedState
from tidegate.wire.names import Duration, Label, Name
from tidegate.wire.plans import Artifact
from tidegate.wire.reasons import Reason


class DecisionKind(StrEnum):
    """What kind of change a record is."""

    TAKEOVER = "takeover"
    ACCEPT = "accept"
    START = "start"
    RELEASE = "release"
    """A batch of the stage was let go (B4)."""
    BAKE = "bake"
    """Every reachable node of the stage reports the right digest: the bake time begins."""
    GATE = "gate"
    PROMOTE = "promote"
    """The next stage begins."""
    WATCH = "watch"
    COMPLETE = "complete"
    PAUSE = "pause"
    RESUME = "resume"
    ROLLBACK = "rollback"
    RETURNED = "returned"
    """The fleet is back on the rollback target; who is not is named."""
    REFUSE = "refuse"
    SETTING = "setting"
    """A cordon, a silence, a policy, a quarantine lifted, a plan approved or withdrawn, what a set has beside its flags: no
    rollout moves.
    """
    KILL = "kill"
    SAFE = "safe"
    """Everyone gets a flag's safe variant, since a version that it needs goes back (G4)."""
    RESTORE = "restore"
    SHARE = "share"
    ARCHIVE = "archive"
    REMOVE = "remove"
    """A tombstone takes the place of an archived flag."""


class Result(StrEnum):
    """How a rollout ended, or is going to end."""

    NONE = ""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    """A first install that did not work: there is nothing to go back to (B7)."""


class SubjectState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that was decided about one subject. Counters are integers, times are decide's clock in ms."""

    subject: str
    generation: int = 0
    phase: Phase = Phase.IDLE
    result: Result = Result.NONE
    paused_reason: Reason | None = None
    plan_digest: str = ""
    """sha256 of the operator's envelope as it stands in ``plans``."""
    rollout: str = ""
    """``<plan id>.<attempt>``; the scope of tokens and of evidence."""
    attempt: int = 0
    stage: int = 0
    released: int = 0
    """Nodes of the roster that have been given the new version, in roster order."""
    controls: int = 0
    """Controls of this stage whose restart has been released, so many after the canary target."""
    roster_digest: str = ""
    placement: str = ""
    prefetch_done: bool = False
    batch_ms: int = 0
    """When the last batch was released; 0: none yet."""
    baking_since_ms: int = 0
    """When every reachable node of the stage was ready; 0: not yet."""
    gate_since_ms: int = 0
    gate_passed: bool = False
    started_ms: int = 0
    stage_ms: int = 0
    phase_ms: int = 0
    settled: Artifact | None = None
    """What nodes outside every cohort run, and what a retreat returns to."""
    quarantined: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    """Digests of accepted plans that wait."""
    missing: tuple[str, ...] = ()
    """Nodes that were not reached when the phase ended."""
    decided_ms: int = 0
    """When this rollout last moved: from here an advance's expiry counts, so that publishing it again gives equal bytes."""
    decided_reason: Reason | None = None
    """Why it moved."""
    watch_ms: int = 0
    """When watching began; 0: not yet. A pause does not begin it anew."""
    reached: int = 0
    """So many nodes of the roster had been given the new version when a retreat began: who must come back (D6)."""
    since_generation: int = 0
    """Generation at which this attempt, or its retreat, began: a report that accepted less is of the time before."""
    resumed_generation: int = 0
    """Generation at which a person last resumed: a pause asked for by a verdict on less is overruled."""
    approved: tuple[str, ...] = ()
    """Ids of plans, queued or current, that a second person has approved of."""
    late_rounds: int = 0
    """So often the last stage has taken in who was left over."""


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One plan of a group: its subject, and the sha256 of its envelope."""

    subject: str
    plan: str


class WaveState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One wave of a group, as accepted."""

    members: tuple[Member, ...]
    bake: Duration | None = None


class GroupState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that was decided about a group (D7). What becomes of its members stands in their own states."""

    subject: str
    generation: int = 0
    phase: Phase = Phase.IDLE
    result: Result = Result.NONE
    cause: Reason | None = None
    """Why it is paused, or goes back."""
    waves: tuple[WaveState, ...] = ()
    wave: int = 0
    """The wave under way, counted from 0; while the group goes back, the wave that does so."""
    baking_since_ms: int = 0
    """When everything of the wave was done; 0: not yet."""
    issued_ms: int = 0
    phase_ms: int = 0
    decided_ms: int = 0
    decided_reason: Reason | None = None

    @property
    def active(self) -> bool:
        """Whether its services belong to it: nothing else of them starts."""
        return self.phase in (Phase.RUNNING, Phase.PAUSED, Phase.ROLLING_BACK)

    @property
    def members(self) -> tuple[Member, ...]:
        """Members of all waves, in order."""
        return tuple(member for wave in self.waves for member in wave.members)


class Silence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Alarms that nobody is told of for a while (I1): asked for by a person, with a reason."""

    id: Name
    """Of the intent."""
    hush: Hush
    since_ms: int
    actor: Label = ""
    reason: Label = ""


class Decision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One record. ``facts`` holds the view facts that mattered, ``inputs`` the offsets that had been read
    (topic/partition to next offset).
    """

    seq: Annotated[int, Meta(ge=0)]
    prev: str
    """sha256 of the record before, empty for the first."""
    epoch: int
    kind: DecisionKind
    subject: str
    generation: int
    now_ms: int
    reason: Reason
    actor: str = ""
    message: str = ""
    facts: dict[str, str | int | float | list[str] | None] = {}
    inputs: dict[str, int] = {}
    answers: str = ""
    """Plan digest or intent id that this record answers (D3)."""
    state: SubjectState | None = None
    flag: FlagState | None = None
    flag_set: SharedState | None = None
    group: GroupState | None = None
    part: bool = False
    """Others of the same step follow: the question that it read is answered by the last of them only."""
    plan: str = ""
    """The operator's envelope, verbatim, in the record that accepts it."""
    roster: Roster | None = None
    cordoned: tuple[Name, ...] | None = None
    silences: tuple[Silence, ...] | None = None
    """All that hold after this record, where it changes them."""
    policy: str = ""
    """The operator's envelope, verbatim, in the record that puts a policy in force (H3)."""
    group_document: str = ""
    """The operator's envelope, verbatim, in the record that accepts a group."""
    cut: int = -1
    """Takeover only: records of older epochs at or after this offset of ``decisions`` are void (E3)."""
