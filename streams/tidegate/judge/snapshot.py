"""A state as bytes and back: plain data, versioned. What cannot be read is refused, never guessed.

During an upgrade code of this version stands beside code of the one before, and partitions go from one to the other and back. So:

* Fields are only added, at the end of structs that are arrays, and with a default that means "not known": older code leaves
  out what it does not know, and what comes back from it is read with the defaults. No field is renamed or given another meaning.
* A snapshot says by which version it was written and which is the oldest that may read it. A reader takes what was written by
  ``OLDEST`` or later and may be read by itself. ``READABLE_BY`` rises only where a new field changes what an old one means; two
  releases later ``OLDEST`` may follow.
* A value that older code has no name for (a new reason, a new alarm) costs the judgement, the alarm or the context that holds it,
  not the partition: that subject is judged anew (C7).

``tests/golden`` keeps a checkpoint of each version, which must go on as if nothing had happened.
"""

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, field

from tidegate.alarms.book import AlarmBook
from tidegate.detect.drift.arrays import pack, unpack
from tidegate.detect.scores import ScoreState
from tidegate.detect.state import SubjectJudgement
from tidegate.judge.state import JudgeState, Tally
from tidegate.kpi.clock import Clock
from tidegate.kpi.columns import Columns, read
from tidegate.kpi.dedupe import Seen
from tidegate.kpi.metrics import Metrics
from tidegate.kpi.pane import Exceeded
from tidegate.kpi.panes import Part
from tidegate.kpi.skew import Offset
from tidegate.kpi.sources import Sources
from tidegate.kpi.windows import Windows
from tidegate.wire.codec import Malformed, malformed
from tidegate.wire.nodeseconds import Context, NodeSeconds

VERSION = 5
"""5 added what DRIFT knows, in place of an older evidence, which begins anew; 4 added sources, metrics, exceeded, heard,
begun_ms, and the rule above; 3 knew only itself.
"""
READABLE_BY = 3
OLDEST = 3


class OpenRows(Struct, frozen=True):
    """One record of which rows are still open: (start of second, row numbers)."""

    record: NodeSeconds
    rows: list[tuple[int, list[int]]]


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything in a ``JudgeState``."""

    version: int = VERSION
    readable_by: int = READABLE_BY
    clock: Clock
    boots: list[Seen]
    skews: dict[str, Offset]
    windows: Windows
    scores: ScoreState
    closed_ms: int | None
    contexts: dict[str, Context]
    subjects: dict[str, SubjectJudgement]
    books: dict[str, AlarmBook]
    seen: dict[str, dict[str, int]]
    late: dict[str, int]
    excluded: dict[str, set[str]]
    early: dict[str, int]
    down: bool
    tally: Tally
    open_rows: list[OpenRows]
    sources: Sources = field(default_factory=Sources)
    metrics: Metrics = field(default_factory=Metrics)
    exceeded: dict[str, dict[str, Exceeded]] = {}
    heard: dict[str, int] = {}
    late_seconds: dict[str, dict[str, set[int]]] = {}
    skewed: dict[str, set[str]] = {}
    begun_ms: int = 0
    plant: AlarmBook = field(default_factory=AlarmBook)
    void_ms: tuple[int, int] = (0, 0)


class Envelope(Struct, frozen=True):
    """Who may read a snapshot."""

    version: int
    readable_by: int = 0
    """0: written by version 3, which did not say."""


_ENCODER = msgspec.msgpack.Encoder(enc_hook=pack)
_ENVELOPE = msgspec.msgpack.Decoder(Envelope)
_DECODER = msgspec.msgpack.Decoder(Snapshot, dec_hook=unpack)
_PIECES = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_TOLERANT: dict[str, tuple[msgspec.msgpack.Decoder[Any], msgspec.Raw | None]] = {
    "contexts": (msgspec.msgpack.Decoder(Context), None),
    "subjects": (
        msgspec.msgpack.Decoder(SubjectJudgement, dec_hook=unpack),
        msgspec.Raw(_ENCODER.encode(SubjectJudgement(lost=True))),
    ),
    "books": (msgspec.msgpack.Decoder(AlarmBook), None),
}
"""Fields of which single pieces may be unreadable, and what stands for such a piece then."""


def snapshot(state: JudgeState) -> bytes:
    """Return a state as bytes."""
    chunks: dict[int, tuple[Columns, list[tuple[int, list[int]]]]] = {}
    for start_ms, parts in sorted(state.panes.seconds.items()):
        for part in parts:
            chunk = chunks.setdefault(id(part.columns.record), (part.columns, []))
            chunk[1].append((start_ms, part.rows.tolist()))
    return _ENCODER.encode(
        Snapshot(
            clock=state.clock,
            boots=[*state.dedupe.known()],
            skews=dict(state.skews.known()),
            windows=state.windows,
            scores=state.scores,
            closed_ms=state.closed_ms,
            contexts=state.contexts,
            subjects=state.subjects,
            books=state.books,
            seen=state.seen,
            late=state.late,
            excluded=state.excluded,
            early=state.early,
            down=state.down,
            tally=state.tally,
            sources=state.sources,
            open_rows=[OpenRows(columns.record, rows) for columns, rows in chunks.values()],
            metrics=state.metrics,
            exceeded=state.exceeded,
            heard=state.heard,
            late_seconds=state.late_seconds,
            skewed=state.skewed,
            begun_ms=state.begun_ms,
            plant=state.plant,
            void_ms=state.panes.void_ms,
        )
    )


def restore(data: bytes, partition: int = 0) -> JudgeState:
    """Return the state of a partition that a snapshot holds. Malformed where it is torn or of a version that is not read here."""
    try:
        envelope = _ENVELOPE.decode(data)
        if envelope.version < OLDEST or envelope.readable_by > VERSION:
            read_by = f"read by {envelope.readable_by} and later"
            raise Malformed("version", f"this checkpoint is of version {envelope.version}, {read_by}; here is {VERSION}")
        found = _decoded(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(error) from error
    return _state(found, partition)


def _decoded(data: bytes) -> Snapshot:
    """Return a snapshot; without those pieces that hold what has no name here."""
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError:
        fields = dict(_PIECES.decode(data))
        for name, (decoder, lost) in _TOLERANT.items():
            pieces = _PIECES.decode(fields[name]) if name in fields else {}
            readable = {key: piece if _reads(decoder, piece) else lost for key, piece in pieces.items()}
            fields[name] = msgspec.Raw(_ENCODER.encode({key: piece for key, piece in readable.items() if piece is not None}))
        return _DECODER.decode(_ENCODER.encode(fields))


def _reads(decoder: msgspec.msgpack.Decoder[Any], piece: msgspec.Raw) -> bool:
    try:
        decoder.decode(piece)
    except msgspec.ValidationError:
        return False
    return True


def _state(found: Snapshot, partition: int) -> JudgeState:
    state = JudgeState(partition)
    state.clock = found.clock
    for seen in found.boots:
        state.dedupe.recall(seen)
    for node, offset in found.skews.items():
        state.skews.recall(node, offset)
    state.windows, state.scores, state.closed_ms = found.windows, found.scores, found.closed_ms
    state.subjects, state.books = found.subjects, found.books
    for context in found.contexts.values():
        state.know(context)
    state.seen, state.late, state.early = found.seen, found.late, found.early
    state.excluded, state.sources = found.excluded, found.sources
    state.late_seconds, state.skewed = found.late_seconds, found.skewed
    state.exceeded, state.metrics, state.heard = found.exceeded, found.metrics, found.heard
    state.begun_ms = found.begun_ms
    state.down, state.tally, state.plant = found.down, found.tally, found.plant
    state.panes.void_ms = found.void_ms
    for chunk in found.open_rows:
        columns = read(chunk.record)
        for start_ms, rows in chunk.rows:
            state.panes.put(start_ms, Part(columns, np.asarray(rows, dtype=np.int64)))
    return state
