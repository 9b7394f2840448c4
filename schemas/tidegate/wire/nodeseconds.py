"""The judge's one ordered input: columns of rows, the watermarks that follow them, and the rollout context.

A record of ``nodeseconds`` is MessagePack of ``NodeSeconds`` or ``Context``, told apart by its tag. Columns are
little-endian arrays as bytes, so
that a worker reads them without a loop; strings stand once in a dictionary column.
"""

import sys
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidegate.wire.absence import AbsenceRules
from tidegate.wire.codec import Malformed, malformed
from tidegate.wire.names import Label, Name, Subject, UncheckedName, judged, service_of
from tidegate.wire.plans import ControlMode, Guardrail
from tidegate.wire.probes import Probe
from tidegate.wire.telemetry import FIELDS_MAX, GAUGE_MAX, SLICES_MAX, Count, MillisecondsEpoch, ServiceState, Slice, Source

SOURCES: tuple[Source, ...] = tuple(Source)
"""Order of the codes in ``NodeSeconds.sources``."""


class Extra(Struct, frozen=True, omit_defaults=True, array_like=True):
    """What only some rows carry, within the bounds of ``Telemetry``: a sum of what no producer may say would end the judge."""

    zone: Label = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=FIELDS_MAX)] = {}
    cohort: Label = ""
    uptime_s: Annotated[float, Meta(ge=0, le=sys.float_info.max)] = 0.0
    gauges: Annotated[dict[Label, Annotated[float, Meta(ge=-GAUGE_MAX, le=GAUGE_MAX)]], Meta(max_length=FIELDS_MAX)] = {}
    counters: Annotated[dict[Label, Count], Meta(max_length=FIELDS_MAX)] = {}
    ratios: Annotated[dict[Label, tuple[Count, Count]], Meta(max_length=FIELDS_MAX)] = {}
    slices: Annotated[dict[Label, Slice], Meta(max_length=SLICES_MAX)] = {}
    dropped: Count = 0
    state: ServiceState | None = None
    exits: Count = 0
    changed_ms: MillisecondsEpoch = 0


class NodeSeconds(Struct, frozen=True, kw_only=True, tag="rows", tag_field="kind"):
    """Rows of many services, and the marks that hold once these rows are folded (A2).

    All columns have one entry a row, in this order of bytes per entry: ``service``, ``version`` u16; ``node``, ``boot``
    u32 (indices into the
    dictionaries); ``seq``, ``start_ms``, ``append_ms`` i64; ``length_ms``, ``requests``, ``errors`` u32; ``sources``,
    ``first_slot``, ``slots`` u8. ``counts`` holds the rows' latency
    counts one after another, ``slots`` of each, ``counts_width`` (2 or 4) bytes a count.
    """

    marks: dict[int, int] = {}
    """Telemetry partition to append time in ms: every row appended before it has been sent."""
    services: list[Name] = []
    nodes: list[UncheckedName] = []
    boots: list[UncheckedName] = []
    versions: list[Name] = []
    service: bytes = b""
    node: bytes = b""
    boot: bytes = b""
    version: bytes = b""
    seq: bytes = b""
    start_ms: bytes = b""
    append_ms: bytes = b""
    length_ms: bytes = b""
    requests: bytes = b""
    errors: bytes = b""
    sources: bytes = b""
    first_slot: bytes = b""
    slots: bytes = b""
    counts: bytes = b""
    counts_width: Annotated[int, Meta(ge=2, le=4)] = 2
    extras: dict[int, Extra] = {}
    """Row index to what only that row carries."""


class CohortMembers(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One compared group as decide defines it: nodes, or of a flag variants, which every node of the service may serve. Neither
    means nobody.
    """

    name: Name
    version: Name
    """Of a flag: the short digest of its spec."""
    nodes: tuple[Name, ...] = ()
    variants: tuple[str, ...] = ()


class Context(Struct, frozen=True, kw_only=True, tag="context", tag_field="kind", omit_defaults=True):
    """What decide tells the judge of one subject (A6, B8, C7): written on every change and again every 10 s.

    A node named by no cohort belongs to ``rest``, which runs ``rest_version``. Only the released part of a cohort is
    named, so a row of a node that has not
    changed yet is judged as what it is. The judge keeps the greatest (epoch, generation) of a subject.
    """

    subject: Subject
    service: Name
    epoch: int
    generation: int
    placement: str = ""
    """Empty: nothing is being rolled out, all rows are rest and the baseline may be learned."""
    rollout: str = ""
    """Plan digest and attempt: evidence spans the placements of one attempt (B8)."""
    attempt: int = 0
    stage: int = 0
    last_stage: bool = False
    watching: bool = False
    retreating: bool = False
    cohorts: tuple[CohortMembers, ...] = ()
    rest_version: str = ""
    control: ControlMode = ControlMode.RESTART
    guardrails: tuple[Guardrail, ...] = ()
    """The ones that the plan declares."""
    default_guardrails: bool = True
    """The default ones hold beside them (C1)."""
    min_requests: int = 0
    stage_nodes: int = 0
    """How many nodes the stage will have when it is complete."""
    started_ms: int = 0
    """decide's clock when this attempt began."""
    absence: AbsenceRules = AbsenceRules()
    slo: float | None = None
    """Percent of the service's requests that shall succeed; None: not declared."""
    probe: Probe | None = None
    """What node agents ask: the slice ``probe`` is judged beside people's requests (I2). Of the subject's last plan, also while
    nothing is rolled out.
    """

    @property
    def name(self) -> str:
        """What it is kept under: of a flag there is one for each guarded service (G3)."""
        return judged(self.subject, self.service)

    @property
    def of_flag(self) -> bool:
        """Whether variants of a flag are compared, and not nodes."""
        return service_of(self.subject) is None


Record = NodeSeconds | Context

_DECODER: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
_ENCODER = msgspec.msgpack.Encoder()


def encode(record: Record) -> bytes:
    """Return MessagePack bytes."""
    return _ENCODER.encode(record)


def decode(data: bytes) -> Record:
    """Return the record that a message holds; Malformed on anything else."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from error


__all__ = ["SOURCES", "CohortMembers", "Context", "Extra", "Malformed", "NodeSeconds", "Record", "decode", "encode"]
