"""What the judge forgets, and when: every table of a state has a bound that does not depend on what anybody sends.

| table | bound | forgotten |
|---|---|---|
| boots, and with them nodes and services | ``tidegate.kpi.caps`` | a minute after the last row |
| skews | ``skew.NODES_MAX`` | after ten minutes |
| names of metrics | ``tidegate.kpi.caps`` | after ten minutes without a pane that has them |
| open panes | rows of at most 60 s ahead of their append time, ``panes.ROWS_MAX`` | when closed |
| late and skewed nodes | members of compared cohorts | with their service's next pane, or its context |
| windows | services x 2 x cohorts | when full, or over without being full |
| baselines | services with rows in the last 11 minutes | with their service |
| series of scores | ``scores.series.SERIES_MAX`` | with their service, or with the name of their metric |
| drift: nodes of a service's past | ``past.NODES_MAX`` a service | with their service, or after an hour of silence |
| servers of flags | ``flags.SERVERS_MAX`` and ``LOTS`` for each service of a flag | with the next placement |
| contexts | those that decide repeats, and all with a placement | after an hour without a word |
| judgements, early fails | subjects with a context, services with a baseline | with them |
| alarms | what is true or fires; 16 ended ones a service | an ended one with its service, or behind newer ones |
"""

from tidegate.detect.baseline import BLOCK_MS, BLOCKS
from tidegate.judge.state import JudgeState
from tidegate.kpi.caps import SERVICES_MAX
from tidegate.wire.names import service_of, service_subject

RECENT_MS = 60_000
"""A node that has said nothing for so long is no longer expected."""
CONTEXT_MS = 3_600_000
"""decide repeats every context of a subject that it knows every 10 s; an hour is longer than any outage that nobody mends."""


def forget(state: JudgeState, now_ms: int) -> None:
    """Drop what has been silent for too long."""
    state.dedupe.forget(now_ms)
    state.skews.forget(now_ms)
    state.metrics.forget(now_ms)
    state.scores.forget_values(state.metrics.services)
    state.windows.forget(now_ms)
    for service, nodes in [*state.seen.items()]:
        state.seen[service] = {node: last_ms for node, last_ms in nodes.items() if last_ms > now_ms - RECENT_MS}
        if not state.seen[service]:
            del state.seen[service]
    state.late = {service: rows for service, rows in state.late.items() if service in state.seen}
    state.late_seconds = {service: nodes for service, nodes in state.late_seconds.items() if service in state.members}
    state.skewed = {service: nodes for service, nodes in state.skewed.items() if service in state.members}
    for name, context in [*state.contexts.items()]:
        if not context.placement and state.heard.get(name, now_ms) <= now_ms - CONTEXT_MS:
            state.unlearn(name)
    _forget_subjects(state, now_ms)
    state.early = {name: start_ms for name, start_ms in state.early.items() if start_ms >= now_ms}
    _forget_alarms(state)


def _forget_subjects(state: JudgeState, now_ms: int) -> None:
    speaking = {service_subject(service) for service in state.seen} | state.contexts.keys()
    silent = [subject for subject in state.subjects if subject not in speaking]
    gone: set[str] = set()
    for number, subject in enumerate(silent):
        blocks = state.subjects[subject].baseline.blocks
        if not blocks or blocks[-1][0] <= now_ms - (BLOCKS + 1) * BLOCK_MS or number < len(silent) - SERVICES_MAX:
            del state.subjects[subject]
            gone.add(service_of(subject) or "")
    if gone:
        state.scores.forget(gone)


def _forget_alarms(state: JudgeState) -> None:
    """Drop the books of services that nobody knows any more: their last word stands on the topic."""
    known = {service_of(subject) for subject in state.subjects} | state.seen.keys() | state.of_service.keys()
    state.books = {service: book for service, book in state.books.items() if book.watched or service in known}
