"""One record's rows into the open panes: each once, at its own time, counted where it is left out (A1, A4).

What exceeds a cap goes into the partition's overflow service (``tidegate.kpi.caps``).
"""

from collections.abc import Collection, Iterable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.judge.state import JudgeState
from tidegate.kpi.caps import OVERFLOW_NODE, SAMPLE_MAX, Refusal
from tidegate.kpi.columns import AGENT_CODE, PROBE_CODE, SOURCE_CODE, Columns, read
from tidegate.kpi.pane import Exceeded
from tidegate.kpi.panes import AHEAD_MAX_MS, second_of
from tidegate.kpi.skew import EXCLUDE_BEYOND_MS
from tidegate.wire.nodeseconds import Extra, NodeSeconds
from tidegate.wire.telemetry import Source

Flags = NDArray[np.bool_]
OTLP_CODE = SOURCE_CODE[Source.OTLP]
LATE_SECONDS_MAX = 100
"""Of one node since the last pane: more say nothing more."""


def take(state: JudgeState, record: NodeSeconds, append_ms: int) -> None:
    """Fold the rows of a record. Malformed where its columns are torn: nothing of it is folded then."""
    columns = read(record)
    if not len(columns):
        return
    state.clock.rows(columns.append_ms)
    now_ms = state.clock.now_ms or append_ms
    admission = state.dedupe.admit(columns, now_ms, state.named)
    new, beyond = admission.new, admission.beyond
    if admission.refusals:
        refuse(state, admission.refusals)
        columns = _overflowing(columns, beyond, state.overflow)
        new = new | beyond & (columns.sources != AGENT_CODE)
    ends_ms = columns.start_ms + columns.length_ms
    delays_ms = columns.append_ms - ends_ms
    names = columns.record.nodes
    # Times of OTLP are the broker's already: they say nothing of their node's clock, nor does it say anything of them.
    own = columns.sources != OTLP_CODE
    told = new & ~beyond & own
    shifts_ms = np.where(own, state.skews.shifts_ms(names, columns.node[told], delays_ms[told], now_ms)[columns.node], 0)
    wrong = new & (np.abs(shifts_ms) > EXCLUDE_BEYOND_MS)
    left_out = new & (wrong | (shifts_ms - delays_ms > AHEAD_MAX_MS))
    seconds_ms = second_of(ends_ms + shifts_ms, columns.length_ms)
    late = new & ~left_out & (seconds_ms < (state.closed_ms or 0))
    kept = np.flatnonzero(new & ~left_out & ~late)
    for service in columns.service[late].tolist():
        name = columns.record.services[service]
        state.late[name] = state.late.get(name, 0) + 1
    _note_blurred(state, columns, late & ~beyond, new & ~beyond & (shifts_ms != 0), seconds_ms)
    for row in np.flatnonzero(wrong).tolist():
        state.excluded.setdefault(columns.record.services[columns.service[row]], set()).add(names[columns.node[row]])
    tally = state.tally
    tally.duplicate += len(columns) - int((new | beyond).sum())
    tally.overflow += int(beyond.sum())
    left_out, late = left_out & ~beyond, late & ~beyond
    tally.accepted += int((new & ~beyond & ~left_out & ~late).sum())
    tally.excluded += int(left_out.sum())
    tally.late += int(late.sum())
    tally.skewed += int((shifts_ms[kept] != 0).sum())
    columns = _with_shifted_changes(columns, kept[shifts_ms[kept] != 0], shifts_ms)
    tally.no_room += state.panes.add(_with_known_metrics(state, columns, kept, now_ms), kept, seconds_ms[kept])


def _note_blurred(state: JudgeState, columns: Columns, late: Flags, skewed: Flags, seconds_ms: NDArray[np.int64]) -> None:
    """Keep which members of compared cohorts come late, and whose clocks are wrong: telemetry of what they should run.

    Late are seconds, not rows: a service of many processes has a row of each.
    """
    record, telemetry = columns.record, columns.sources != AGENT_CODE
    for row in np.flatnonzero((late | skewed) & telemetry).tolist():
        service, node = record.services[columns.service[row]], record.nodes[columns.node[row]]
        members = state.members.get(service)
        cohort = members.cohorts.get(node) if members is not None else None
        if members is None or cohort is None or members.versions[cohort] not in {"", record.versions[columns.version[row]]}:
            continue
        if late[row]:
            told = state.late_seconds.setdefault(service, {}).setdefault(node, set())
            if len(told) < LATE_SECONDS_MAX:
                told.add(int(seconds_ms[row]))
        if skewed[row]:
            state.skewed.setdefault(service, set()).add(node)


def refuse(state: JudgeState, refusals: Iterable[Refusal]) -> None:
    """Count what had no room, and keep some of the names for the alarm."""
    for cap, service, name in refusals:
        state.tally.refused[cap] = state.tally.refused.get(cap, 0) + 1
        exceeded = state.exceeded.setdefault(service or state.overflow, {}).setdefault(cap, Exceeded())
        exceeded.times += 1
        if len(exceeded.names) < SAMPLE_MAX and name not in exceeded.names:
            exceeded.names = [*exceeded.names, name]


def _overflowing(columns: Columns, beyond: Flags, service: str) -> Columns:
    """Return the columns with some rows as those of one node of the overflow service, whoever sent them."""
    record = columns.record
    extras = {row: extra for row, extra in record.extras.items() if row < len(columns) and not beyond[row]}
    apart = columns.sources >= PROBE_CODE  # probes and agents
    changed: dict[str, NDArray[np.integer]] = {
        "service": np.where(beyond, len(record.services), columns.service).astype(columns.service.dtype),
        "node": np.where(beyond, len(record.nodes), columns.node).astype(columns.node.dtype),
        # Of several sources the first counts (A5): nobody knows here who the others are. Probes stay what they are.
        "sources": np.where(beyond & ~apart, SOURCE_CODE[Source.SDK], columns.sources).astype(columns.sources.dtype),
    }
    record = replace(
        record,
        services=[*record.services, service],
        nodes=[*record.nodes, OVERFLOW_NODE],
        extras=extras,
        **{name: array.tobytes() for name, array in changed.items()},
    )
    return read(record)


def _with_shifted_changes(columns: Columns, shifted: NDArray[np.int64], shifts_ms: NDArray[np.int64]) -> Columns:
    """Return the columns with when services changed shifted as their rows are: it is told by the same clock."""
    extras = columns.record.extras
    changed = {
        row: replace(extras[row], changed_ms=max(1, extras[row].changed_ms + int(shifts_ms[row])))
        for row in shifted.tolist()
        if row in extras and extras[row].changed_ms
    }
    return replace(columns, record=replace(columns.record, extras=extras | changed)) if changed else columns


def _with_known_metrics(state: JudgeState, columns: Columns, kept: NDArray[np.int64], now_ms: int) -> Columns:
    """Return the columns with the metrics that have room, of the rows that are kept."""
    record = columns.record
    if not record.extras:
        return columns
    bounded: dict[int, Extra] = {}
    for row in kept.tolist():
        extra = record.extras.get(row)
        if extra is None or not (extra.gauges or extra.counters or extra.ratios):
            continue
        service, node = record.services[columns.service[row]], record.nodes[columns.node[row]]
        told, refusals = state.metrics.bounded(service, node, extra, _guarded(state, service), now_ms)
        if refusals:
            refuse(state, refusals)
            bounded[row] = told
    return replace(columns, record=replace(record, extras=record.extras | bounded)) if bounded else columns


def _guarded(state: JudgeState, service: str) -> Collection[str]:
    return [guardrail.metric for context in state.of_service.get(service, ()) for guardrail in context.guardrails]
