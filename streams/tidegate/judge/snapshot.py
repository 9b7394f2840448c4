"""A state as bytes and back: plain data, versioned. What cannot be read is refused, never guessed."""

import msgspec
import numpy as np
from msgspec import Struct, field

from tidegate.alarms.book import AlarmBook
from tidegate.detect.scores import ScoreState
from tidegate.detect.state import SubjectJudgement
from tidegate.judge.state import JudgeState, Tally
from tidegate.kpi.clock import Clock
from tidegate.kpi.columns import Columns, read
from tidegate.kpi.dedupe import Seen
from tidegate.kpi.panes import Part
from tidegate.kpi.skew import Offset
from tidegate.kpi.sources import Sources
from tidegate.kpi.windows import Windows
from tidegate.wire.codec import Malformed, malformed
from tidegate.wire.nodeseconds import Context, NodeSeconds

VERSION = 3


class OpenRows(Struct, frozen=True):
    """One record of which rows are still open: (start of second, row numbers)."""

    record: NodeSeconds
    rows: list[tuple[int, list[int]]]


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything in a ``JudgeState``."""

    version: int = VERSION
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


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Snapshot)


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
        )
    )


def restore(data: bytes) -> JudgeState:
    """Return the state that a snapshot holds. Malformed where it is torn or of a version that is not known here."""
    try:
        found = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise malformed(error) from error
    if found.version != VERSION:
        raise Malformed("version", f"this checkpoint is of version {found.version}; here is {VERSION}")
    state = JudgeState()
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
    state.down, state.tally = found.down, found.tally
    for chunk in found.open_rows:
        columns = read(chunk.record)
        for start_ms, rows in chunk.rows:
            parts = state.panes.seconds.setdefault(start_ms, [])
            parts.append(Part(columns, np.asarray(rows, dtype=np.int64)))
    return state
