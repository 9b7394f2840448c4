"""What may happen to the ledger. The shell has already checked signatures; what it refused arrives as a ``fault``."""

from msgspec import Struct

from tidegate.wire.documents import Intent, KeyRole, PublicKey, Report
from tidegate.wire.groups import Group
from tidegate.wire.judgement import Alarm, Verdict
from tidegate.wire.plans import Plan
from tidegate.wire.policies import Policy
from tidegate.wire.reasons import Reason


class PlanArrived(Struct, frozen=True):
    """A record of ``plans``. ``plan`` is None where it cannot be read or nobody entitled signed it; then ``fault`` says why."""

    plan: Plan | None
    envelope: bytes
    """As it stands in the topic: its sha256 is the plan's digest."""
    fault: Reason | None = None
    problem: str = ""
    seen_ms: int = 0
    subject: str = ""
    """The record's key, for a refusal of what cannot be read."""


class PolicyArrived(Struct, frozen=True):
    """A record of ``plans`` that is a policy (H3); as above."""

    policy: Policy | None
    envelope: bytes
    fault: Reason | None = None
    problem: str = ""
    seen_ms: int = 0
    subject: str = ""


class GroupArrived(Struct, frozen=True):
    """A record of ``plans`` that is a group (D7); as above. The shell has checked the signatures of the plans in it, too."""

    group: Group | None
    envelope: bytes
    fault: Reason | None = None
    problem: str = ""
    seen_ms: int = 0
    subject: str = ""


class IntentArrived(Struct, frozen=True):
    """A record of ``intents``; as above."""

    intent: Intent | None
    fault: Reason | None = None
    problem: str = ""
    seen_ms: int = 0
    envelope: bytes = b""
    """As it stands in the topic: names the record where there is no intent id."""
    subject: str = ""
    key: PublicKey | None = None
    """Whose signature counts; None only where there is no intent."""

    @property
    def of_gate(self) -> bool:
        """Whether an outgoing gate has asked for it (H1)."""
        return self.key is not None and self.key.role is KeyRole.GATE


class ReportArrived(Struct, frozen=True):
    """A node said what it runs. ``seen_ms``: append time, by which the node counts as reachable (B5)."""

    report: Report
    seen_ms: int


class VerdictArrived(Struct, frozen=True):
    """The judge said something."""

    verdict: Verdict
    seen_ms: int


class AlarmArrived(Struct, frozen=True):
    """An edge of an alarm, whoever wrote it."""

    alarm: Alarm


class AlarmForgotten(Struct, frozen=True):
    """An alarm that has been over for long stands on its topic no more (a tombstone)."""

    key: str


class NodesEnrolled(Struct, frozen=True):
    """All nodes that belong to the fleet now."""

    nodes: frozenset[str]


class Tick(Struct, frozen=True):
    """Time has passed."""


Event = (
    PlanArrived
    | PolicyArrived
    | GroupArrived
    | IntentArrived
    | ReportArrived
    | VerdictArrived
    | AlarmArrived
    | AlarmForgotten
    | NodesEnrolled
    | Tick
)
