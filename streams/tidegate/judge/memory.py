"""What the judge forgets, and when: every table of a state has a bound that does not depend on what anybody sends.

Boots and nodes: ``tidegate.kpi.dedupe`` and ``skew``. Open panes: ``tidegate.kpi.panes``. Contexts are decide's, one a subject.
"""

from tidegate.detect.baseline import BLOCK_MS, BLOCKS
from tidegate.judge.state import JudgeState
from tidegate.wire.names import service_subject

RECENT_MS = 60_000
"""A node that has said nothing for so long is no longer expected."""
SERVICES_MAX = 2_000
"""Services in one partition; rows of further ones are left out and counted."""


def forget(state: JudgeState, now_ms: int) -> None:
    """Drop what has been silent for too long."""
    state.dedupe.forget(now_ms)
    state.skews.forget(now_ms)
    for service, nodes in [*state.seen.items()]:
        state.seen[service] = {node: last_ms for node, last_ms in nodes.items() if last_ms > now_ms - RECENT_MS}
        if not state.seen[service]:
            del state.seen[service]
            state.late.pop(service, None)
    speaking = {service_subject(service) for service in state.seen} | state.contexts.keys()
    silent = [subject for subject in state.subjects if subject not in speaking]
    for number, subject in enumerate(silent):
        blocks = state.subjects[subject].baseline.blocks
        if not blocks or blocks[-1][0] <= now_ms - (BLOCKS + 1) * BLOCK_MS or number < len(silent) - SERVICES_MAX:
            del state.subjects[subject]
