"""What verdicts ask for and what they license: the same conditions for a rollout and for a flag's ramp (D4, D5, G3).

A verdict is looked at together with the state that it is about; what becomes of that state is for others to say.
"""

import math
from collections.abc import Iterator, Mapping

from tidegate.rollout.change import Fact
from tidegate.wire.decisions import SubjectState
from tidegate.wire.flagstates import FlagState
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import service_of
from tidegate.wire.plans import Action, Gate
from tidegate.wire.reasons import Reason

FRESH_MS = 5_000
"""D4: a pass is used at most so long after the end of the last pane that it judged."""
STALE_MS = 15_000
"""So long without a verdict, and someone is told. A pass is too old to advance on after 5 s already."""
REPORTING_FOR_MS = 5_000
"""So long after the last silent second a pause for silence lifts itself."""
BURNED_OUT_MS = 30_000
"""So long after the last second in which its whole world burned (C2): a burn that flickers is one."""
FADED_FOR_MS = 60_000
FADED_LOG_E = math.log(10.0)
"""A pause for evidence lifts itself when it has not been enough for a minute and is below this by now: what one server or one
half minute did is no word about the release once the rest has had time to speak. Far below what pauses, so that it does not
flicker.
"""
PACE_FROM_MS = 30_000
"""From less nobody can tell how long the rest takes."""
LICENCE_FROM_MS = 60_000
"""The judge weighs a licence from so long after the first pane."""
NEVER_MS = 30 * 86_400_000
"""What takes longer than this at the pace so far is not on its way."""
UNSEEN = frozenset(
    {
        Reason.SILENT,
        Reason.PARTLY_SILENT,
        Reason.BOTH_SILENT,
        Reason.TELEMETRY_DOWN,
        Reason.STATE_LOST,
        Reason.LATE,
        Reason.SKEWED,
    }
)
"""Reasons of verdicts that did not see everyone."""
PASSING_SIGNALS = (Reason.SILENT, Reason.ENVIRONMENT, Reason.EVIDENCE)
"""Reasons of fails whose pause may lift itself (``lifted``)."""
Blocker = tuple[Reason, str]
Judged = SubjectState | FlagState


def verdict_blockers(verdict: Verdict | None, state: Judged, gate: Gate, min_requests: int, now_ms: int) -> Iterator[Blocker]:
    """Yield what is lacking of a fresh pass of this placement over enough requests (D4)."""
    if verdict is None or verdict.placement != state.placement:
        yield Reason.NO_VERDICT, "There is no verdict on this stage yet."
        return
    few = verdict.canary_requests < min_requests
    if verdict.outcome is not Outcome.PASS:
        if not (few and verdict.reason is Reason.TOO_FEW_REQUESTS):  # it is told below, in more words
            yield verdict.reason, verdict.sentence or f"The verdict is {verdict.outcome}."
    elif now_ms - verdict.last_pane_ms > FRESH_MS:
        yield Reason.STALE_VERDICT, f"The last pass is {(now_ms - verdict.last_pane_ms) / 1_000:.0f} s old; 5 s count."
    elif verdict.last_pane_ms <= state.baking_since_ms:
        yield Reason.NO_VERDICT, "The last pass was given before the stage was complete."
    if gate is Gate.CERTIFIED and not verdict.certified and not state.gate_passed:
        yield Reason.NOT_CERTIFIED, _unlicensed(verdict, state)
    if few:
        rest = _rest(verdict.canary_requests / min_requests, _judged_ms(verdict))
        yield (
            Reason.TOO_FEW_REQUESTS,
            f"The canary has served {verdict.canary_requests} of the {min_requests} requests that this stage needs{rest}.",
        )


def promoting(state: Judged) -> str:
    """Return the command by which a person ends the bake or the gate of a stage."""
    return f"flag promote {state.key}" if isinstance(state, FlagState) else f"rollout promote {service_of(state.subject)}"


def fails_of(fails: Mapping[Action, Verdict], state: Judged, on_fail: Action) -> dict[Action, Verdict]:
    """Return the fails of the current placement (D5). What a person has resumed over asks for no further pause."""
    found = {}
    for action, verdict in fails.items():
        if not state.placement or verdict.placement != state.placement:
            continue
        pauses = action is Action.PAUSE or on_fail is Action.PAUSE
        if not pauses or verdict.generation >= state.resumed_generation:
            found[action] = verdict
    return found


def lifted(paused: Reason | None, fail: Verdict | None, verdict: Verdict | None) -> Blocker | None:
    """Return why a pause that a fail asked for is over, judged by the newest verdict: because nodes were silent, once all have
    reported for 5 s; because its world burned, once that has been over for 30 s; because of evidence that one server or one half
    minute carried, once it has faded; else None.

    Where the last fail is of another signal than the pause, both must be over, counted from that fail. What is told of them is
    the end of the burn, after which a stage bakes anew; else that of the evidence.

    No other pause lifts itself. Silence of 3 s is a network's hiccup far more often than a fault, and that of 10 s was a fail
    already; a person would be called for each of them (C6).
    """
    if fail is None or verdict is None or paused not in PASSING_SIGNALS or fail.reason not in PASSING_SIGNALS:
        return None
    seen = verdict.placement == fail.placement and verdict.outcome is not Outcome.FAIL and verdict.reason not in UNSEEN
    if not seen or verdict.silent_nodes:
        return None
    signals, well_ms = {paused, fail.reason}, verdict.last_pane_ms - fail.last_pane_ms
    burned, carried = Reason.ENVIRONMENT in signals, Reason.EVIDENCE in signals
    if burned and (verdict.reason is Reason.ENVIRONMENT or well_ms < BURNED_OUT_MS):
        return None
    if carried and (well_ms < FADED_FOR_MS or not _faded(verdict)):
        return None
    if burned:
        return Reason.BURNED_OUT, "What burned old version and new alike has been over for 30 s."
    if carried:
        return Reason.EVIDENCE_FADED, "What spoke against the canary has faded: the rest has had a minute to speak."
    if well_ms < REPORTING_FOR_MS:
        return None
    return Reason.REPORTING_AGAIN, "Every node that was silent has reported again for 5 s."


def lifts_itself(paused: Reason | None) -> bool:
    """Return whether a pause may end without a person: of an alarm, or of a fail that is a signal."""
    return paused is Reason.ALARM_OPEN or paused in PASSING_SIGNALS


def outweighs(reason: Reason, paused: Reason | None) -> bool:
    """Return whether a pause is recorded anew for another reason, so that the end of the first is not the end of the second: what
    waits for a person outweighs what a fail lifts, and that an alarm. Each only once, however often it is told.
    """
    return _weight(reason) > _weight(paused)


def facts_of(verdict: Verdict) -> dict[str, Fact]:
    """Return the numbers of a fail that a record keeps (D1)."""
    return _weighed(verdict) | {
        "verdict": verdict.id,
        "metric": verdict.metric,
        "canary": verdict.canary,
        "control": verdict.control,
        "limit": verdict.limit,
        "compared_with": verdict.compared_with,
        "canary_requests": verdict.canary_requests,
        "canary_errors": verdict.canary_errors,
        "last_pane_ms": verdict.last_pane_ms,
    }


def _unlicensed(verdict: Verdict, state: Judged) -> str:
    """Return what a pass lacks of the licence that its stage asks for (C5), in words."""
    weighed = [(one.family, one.log_licence, one.licence_threshold) for one in verdict.evidence if one.log_licence is not None]
    lacking = {family: (found, needed) for family, found, needed in weighed if found < needed}
    what = "there is nothing yet that could be weighed"
    if lacking:
        what = "evidence so far: " + ", ".join(
            f"{family} {found:.2g} of {needed:.2g}" for family, (found, needed) in lacking.items()
        )
        if isinstance(state, FlagState):  # each share is weighed anew; of a release it goes on over stages of other sizes
            part = min(found / needed for found, needed in lacking.values())
            what += _rest(part, _judged_ms(verdict) - LICENCE_FROM_MS, "at least ")
    return (
        f"The stage is promoted when it is certified to be no worse than is tolerated; {what}. {promoting(state)} overrules it."
    )


def _judged_ms(verdict: Verdict) -> int:
    return verdict.last_pane_ms - verdict.first_pane_ms if verdict.first_pane_ms else 0


def _rest(part: float, during_ms: int, bound: str = "") -> str:
    """Return in words how long the rest takes where ``part`` of the whole, less than 1, came within ``during_ms``; empty where
    that is too short to tell.
    """
    if during_ms < PACE_FROM_MS:
        return ""
    left_ms = during_ms * (1.0 - part) / part if part > 0 else math.inf
    if left_ms > NEVER_MS:
        return "; at the pace so far that never comes"
    minutes = math.ceil(left_ms / 60_000)
    words = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1_440:.0f} days"
    return f"; at the pace so far that takes {bound}{words} more"


def _weight(paused: Reason | None) -> int:
    return 0 if paused is Reason.ALARM_OPEN else 1 if paused in PASSING_SIGNALS else 2


def _faded(verdict: Verdict) -> bool:
    return all(evidence.log_e_pause < FADED_LOG_E for evidence in verdict.evidence)


def _weighed(verdict: Verdict) -> dict[str, Fact]:
    """Return the numbers of the strongest evidence, where a fail rests on it."""
    if verdict.reason is not Reason.EVIDENCE or not verdict.evidence:
        return {}
    strongest = verdict.evidence[0]
    return {
        "family": strongest.family,
        "log_e": strongest.log_e,
        "threshold": strongest.threshold,
        "share": strongest.share,
        "expected_share": strongest.expected_share,
        "onset_ms": strongest.onset_ms,
        "left_out": list(strongest.deleted),
    }
