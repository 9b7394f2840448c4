"""What travels on each topic, and in what form: beside the table of topics the other half of what is published about them."""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from tidegate.wire.decisions import Decision
from tidegate.wire.documents import (
    BreakGlass,
    Claim,
    Desired,
    Enrolment,
    FlagStamp,
    Heartbeat,
    Intent,
    Report,
    Root,
    Roster,
    Token,
)
from tidegate.wire.experiments import Sums
from tidegate.wire.exposures import Exposure, Outcome
from tidegate.wire.flags import Definition
from tidegate.wire.groups import Group
from tidegate.wire.judgement import Alarm, Kpi, Score, Verdict
from tidegate.wire.nodeseconds import Context, NodeSeconds
from tidegate.wire.plans import Plan
from tidegate.wire.policies import Policy
from tidegate.wire.telemetry import Telemetry


class Form(StrEnum):
    """How a message is written."""

    JSON = "application/json"
    MESSAGEPACK = "application/msgpack"
    BYTES = "application/octet-stream"
    """Not told further: of the writer's own, or of whoever sent it."""


class Message(Struct, frozen=True):
    """One kind of message: its name, what it holds (nothing that is told: None), how it is written, also how else."""

    name: str
    holds: type[Struct] | None
    form: Form = Form.JSON
    also: Form | None = None
    what: str = ""
    """What its struct does not say of itself."""
    signed: bool = False
    """What is written is a DSSE envelope, in which the document's own JSON stands in base64."""
    stamp: type[Struct] | None = None
    """What a header beside it signs."""


def _signed(*kinds: Any) -> tuple[Message, ...]:
    return tuple(Message(kind.__name__, kind, signed=True) for kind in kinds)


def _plain(*kinds: Any, form: Form = Form.JSON) -> tuple[Message, ...]:
    return tuple(Message(kind.__name__, kind, form) for kind in kinds)


MESSAGES: dict[str, tuple[Message, ...]] = {
    "telemetry": (Message("Telemetry", Telemetry, Form.JSON, Form.MESSAGEPACK),),
    "otlp": (
        Message("Export", None, Form.BYTES, what="What one process exported by OTLP at one moment, sorted out by a bridge."),
    ),
    "nodeseconds": _plain(NodeSeconds, Context, form=Form.MESSAGEPACK),
    "kpis": _plain(Kpi),
    "scores": _plain(Score),
    "checkpoints": (
        Message("Checkpoint", None, Form.BYTES, what="State of one partition, compressed, with the offset it covers."),
    ),
    "verdicts": _plain(Verdict),
    "exposures": _plain(Exposure, Outcome),
    "experiments": _plain(Sums),
    "plans": _signed(Plan, Policy, Group),
    "intents": _signed(Intent),
    "decisions": _plain(Decision),
    "desired": _signed(Desired, Plan, Roster, Claim, Heartbeat, BreakGlass),
    "keys": _signed(Root, Enrolment, Token),
    "reports": _signed(Report),
    "flags": (
        Message("Flag", Definition, what="flagd's flag object, verbatim; who stands for it is in a header.", stamp=FlagStamp),
    ),
    "alarms": _plain(Alarm),
    "deadletters": (Message("DeadLetter", None, Form.BYTES, what="What could not be read, as it came; headers say why."),),
}
"""By topic, without the prefix."""
