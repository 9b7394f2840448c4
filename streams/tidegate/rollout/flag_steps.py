"""What comes next of a flag without being asked for, and when: the ramps' part of ``step`` and ``wake_at``."""

from collections.abc import Iterator
from typing import assert_never

from tidegate.rollout.change import Change
from tidegate.rollout.gates import gate_ends_ms
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.policies import edges_ms, rested_ms
from tidegate.rollout.ramp import Ramp, ramp_of
from tidegate.rollout.ramp_forward import begin, forward
from tidegate.rollout.ramp_retreat import alarm_over_ms, failing, recovered
from tidegate.rollout.verdicts import lifts_itself
from tidegate.rollout.view import View
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.flagstates import FlagState
from tidegate.wire.names import duration_ms
from tidegate.wire.reasons import Reason

TOMBSTONE_MS = 7 * 86_400_000
"""So long after a flag is archived its record leaves the topic (G5): who was away for less still learns that it is safe."""


def lively(ledger: Ledger) -> list[str]:
    """Return the flags of which something may come without being asked for."""
    return sorted(subject for subject in ledger.stirring if _lively(ledger.flags[subject]))


def next_of_flag(ledger: Ledger, view: View, subject: str, now_ms: int) -> Change | None:
    """Return the next change of a flag, or None."""
    ramp = ramp_of(ledger, view, subject, now_ms)
    if ramp is None or not _lively(ramp.state):
        return None
    state = ramp.state
    if state.archived:
        return _removed(ramp)
    if state.pinned:
        return None
    match state.phase:
        case Phase.IDLE:
            return begin(ramp)
        case Phase.RUNNING:
            return _unsure(ramp) or failing(ramp) or forward(ramp)
        case Phase.PAUSED:
            return _unsure(ramp) or failing(ramp) or recovered(ramp)
        case Phase.DONE | Phase.WATCHING | Phase.ROLLING_BACK:
            return None
        case _:
            assert_never(state.phase)


def flag_wakes_ms(ledger: Ledger, view: View, now_ms: int) -> Iterator[int]:
    """Yield the next times at which a Tick may change a flag without other news."""
    for subject in lively(ledger):
        ramp = ramp_of(ledger, view, subject, now_ms)
        if ramp is None:
            continue
        state = ramp.state
        if state.archived:
            yield state.decided_ms + TOMBSTONE_MS
        elif state.phase is Phase.RUNNING:
            gate = gate_ends_ms(ramp.stage.pause, state)
            yield from (gate,) if gate is not None else ()
            yield state.baking_since_ms + duration_ms(ramp.stage.bake)
        elif state.phase is Phase.PAUSED and lifts_itself(state.paused_reason):
            over = alarm_over_ms(ramp)
            yield from (over,) if over is not None else ()
        elif state.phase is Phase.IDLE:
            yield rested_ms(ledger, state, *ramp.subjects)
        if not state.archived:
            for one in ramp.subjects:
                yield from edges_ms(ledger, one, now_ms)


def _lively(state: FlagState) -> bool:
    return not state.removed if state.archived else state.phase is not Phase.DONE


def _removed(ramp: Ramp) -> Change | None:
    if ramp.now_ms < ramp.state.decided_ms + TOMBSTONE_MS:
        return None
    message = "It was archived 7 days ago: its record leaves the topic. The name stays taken."
    return ramp.changed(DecisionKind.REMOVE, Reason.EXPIRED, message, removed=True)


def _unsure(ramp: Ramp) -> Change | None:
    """Return the pause of a ramp that an archive says is under way, or None where a person has spoken since."""
    state = ramp.state
    if state.asked_ms >= ramp.ledger.restored_ms or state.paused_reason is Reason.RESTORED:
        return None
    return ramp.paused(
        Reason.RESTORED,
        "The fleet was restored from an archive, which does not say what was decided after it. Look at who has what, then resume "
        "or abort.",
    )
