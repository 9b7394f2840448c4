"""One record's rows into the open panes: each once, at its own time, counted where it is left out (A1, A4)."""

import numpy as np

from tidegate.judge.memory import SERVICES_MAX
from tidegate.judge.state import JudgeState
from tidegate.kpi.columns import read
from tidegate.kpi.panes import AHEAD_MAX_MS, second_of
from tidegate.kpi.skew import EXCLUDE_BEYOND_MS
from tidegate.wire.nodeseconds import NodeSeconds


def take(state: JudgeState, record: NodeSeconds, append_ms: int) -> None:
    """Fold the rows of a record. Malformed where its columns are torn: nothing of it is folded then."""
    columns = read(record)
    if not len(columns):
        return
    state.clock.rows(columns.append_ms)
    now_ms = state.clock.now_ms or append_ms
    ends_ms = columns.start_ms + columns.length_ms
    delays_ms = columns.append_ms - ends_ms
    new = state.dedupe.admit(columns, now_ms)
    shifts_ms = state.skews.shifts_ms(record.nodes, columns.node[new], delays_ms[new], now_ms)[columns.node]
    wrong = new & (np.abs(shifts_ms) > EXCLUDE_BEYOND_MS)
    known = np.array([_known(state, name) for name in record.services], dtype=np.bool_)[columns.service]
    left_out = new & (wrong | (shifts_ms - delays_ms > AHEAD_MAX_MS) | ~known)
    seconds_ms = second_of(ends_ms + shifts_ms, columns.length_ms)
    late = new & ~left_out & (seconds_ms < (state.closed_ms or 0))
    kept = np.flatnonzero(new & ~left_out & ~late)
    for service in columns.service[late].tolist():
        name = record.services[service]
        state.late[name] = state.late.get(name, 0) + 1
    for row in np.flatnonzero(wrong & known).tolist():
        state.excluded.setdefault(record.services[columns.service[row]], set()).add(record.nodes[columns.node[row]])
    tally = state.tally
    tally.accepted += len(kept)
    tally.duplicate += len(columns) - int(new.sum())
    tally.excluded += int(left_out.sum())
    tally.late += int(late.sum())
    tally.skewed += int((shifts_ms[kept] != 0).sum())
    state.panes.add(columns, kept, seconds_ms[kept])


def _known(state: JudgeState, service: str) -> bool:
    """Return whether rows of a service are taken; a new one is, while there are not too many."""
    if service not in state.seen:
        if len(state.seen) >= SERVICES_MAX:
            return False
        state.seen[service] = {}
    return True
