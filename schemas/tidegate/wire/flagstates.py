"""What was decided about flags: the state of each, and of what a set has beside its flags. It stands whole in the record that
changes it.

The value on the topic ``flags`` is a function of these (``tidegate.rollout.flag_levels``).
"""

from enum import StrEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate.wire.codec import encode
from tidegate.wire.documents import Phase, digest_of
from tidegate.wire.flagchanges import FlagRamp
from tidegate.wire.flags import TopicKey, topic_key
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.names import FLAG_PREFIX
from tidegate.wire.reasons import Reason


class RampResult(StrEnum):
    """How the last ramp of a flag ended."""

    NONE = ""
    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    """A gate was refused, or its time ended so: back to what was before."""
    SWITCHED_OFF = "switched_off"
    """A guard's telemetry broke a limit: everyone has the safe variant (G3)."""


class Off(StrEnum):
    """Why everyone has the safe variant, whatever the definition says."""

    NONE = ""
    SWITCHED_OFF = "switched_off"
    CODE_RETREATED = "code_retreated"
    """A version that it needs went back (G4)."""


class FlagState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that was decided about one flag. ``weight`` of the users have what ``spec`` says; the others have what ``before`` says
    at ``before_weight``, and the safe variant where there is no ``before``. Above all that stand, in this order: ``archived``,
    ``killed``, ``off``. Times are decide's clock in ms; weights are of 10,000.
    """

    subject: str
    generation: int = 0
    seq: int = 0
    """Number of the record that made it so."""
    fleet: str = ""
    spec: FlagSpec
    """The one that was set last."""
    weight: int = 0
    held: int = 0
    """The weight that stages have given: a share that was lowered goes back to it at once, and beyond it by stages only (G2)."""
    before: FlagSpec | None = None
    before_weight: int = 0
    ramp: FlagRamp | None = None
    """Under way, or waiting to begin."""
    phase: Phase = Phase.IDLE
    """``idle``: it waits to begin; ``running``, ``paused``: its ramp is under way; ``done``: it rests."""
    result: RampResult = RampResult.NONE
    paused_reason: Reason | None = None
    proposed: str = ""
    """Id of the intent that set ``spec``: what an approval names."""
    proposer: str = ""
    proposer_key: str = ""
    why: str = ""
    """The proposer's reason."""
    approved: bool = False
    rollout: str = ""
    """``<intent id>.<attempt>``: the scope of evidence."""
    attempt: int = 0
    stage: int = 0
    placement: str = ""
    """Digest of (rollout, attempt, stage, weight) while a ramp is judged; its SDKs report by variant then."""
    judged: tuple[str, ...] = ()
    """Services whose telemetry judges its ramp, or judged the last one."""
    baking_since_ms: int = 0
    gate_since_ms: int = 0
    gate_passed: bool = False
    started_ms: int = 0
    phase_ms: int = 0
    decided_ms: int = 0
    """When it last changed."""
    decided_reason: Reason | None = None
    asked_ms: int = 0
    """When a person last asked for a change of it."""
    resumed_generation: int = 0
    """Generation at which it was last resumed: a pause that a verdict on less asks for is overruled."""
    killed: bool = False
    off: Off = Off.NONE
    archived: bool = False
    removed: bool = False
    """A tombstone stands on the topic. The name stays taken."""
    quarantined: tuple[str, ...] = ()
    """``spec_digest`` of what was switched off."""

    @property
    def key(self) -> TopicKey:
        """Key on the topic ``flags``."""
        return flag_key(self.subject)

    @property
    def pinned(self) -> bool:
        """Whether everyone has one variant, whatever the definition says."""
        return self.archived or self.killed or self.off is not Off.NONE

    @property
    def rests(self) -> bool:
        """Whether nothing comes of it without being asked for, and nothing is to be told of it."""
        if self.archived:
            return self.removed
        return self.phase is Phase.DONE and self.off is Off.NONE

    @property
    def under_way(self) -> bool:
        """Whether a ramp has begun and not ended."""
        return self.phase in (Phase.RUNNING, Phase.PAUSED)


class SharedState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The ``$evaluators`` or the ``$metadata`` of one set, with who set it and why."""

    subject: str
    generation: int = 0
    seq: int = 0
    value: msgspec.Raw
    """The JSON object on the topic, verbatim."""
    actor: str = ""
    why: str = ""
    asked_ms: int = 0

    @property
    def key(self) -> TopicKey:
        """Key on the topic ``flags``."""
        return flag_key(self.subject)


def is_flag(subject: str) -> bool:
    """Return whether a subject is a flag, or what a set has beside its flags."""
    return subject.startswith(FLAG_PREFIX)


def flag_key(subject: str) -> TopicKey:
    """Return the topic's key of a flag's subject. Malformed where it is none.

    >>> flag_key("flag/web/dark")
    TopicKey(set_id='web', name='dark')
    """
    return topic_key(subject.removeprefix(FLAG_PREFIX))


def spec_digest(spec: FlagSpec) -> str:
    """Return what names a spec in quarantine: 16 hexadecimal digits that neither spaces nor the order of keys change. Malformed
    where its definition is none.
    """
    return digest_of(replace(spec, definition=msgspec.Raw(encode(spec.decoded()))))[:16]
