"""What becomes of an intent about a flag: each yields exactly one record, if only a refusal (D3, G2, G5)."""

from typing import assert_never

from msgspec.structs import replace

from tidegate.rollout.change import Change, refusal
from tidegate.rollout.events import IntentArrived
from tidegate.rollout.flag_code import code_missing, stopped
from tidegate.rollout.flag_levels import needs, spec_in_force, withheld_needs
from tidegate.rollout.flag_setting import answer_set
from tidegate.rollout.flag_shared import answer_shared
from tidegate.rollout.gates import gate_said, unasked
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.ramp import PERCENT, Ramp, placed, ramp_of, shown
from tidegate.rollout.ramp_forward import asks_for_approval, passed
from tidegate.rollout.ramp_retreat import back, before_fields, resume
from tidegate.rollout.verdicts import lifts_itself
from tidegate.rollout.view import View
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, KeyRole, Phase, PublicKey, Verb
from tidegate.wire.flagspecs import kill_variant, safe_variant
from tidegate.wire.flagstates import FlagState, Off, RampResult, flag_key
from tidegate.wire.reasons import Reason

_AS_IT_WAS = "It holds as the archive has it."
ANY_GENERATION = frozenset({Verb.PAUSE, Verb.ABORT, Verb.KILL})
"""D3: these hold whatever the person saw."""


def answer_flag(ledger: Ledger, view: View, event: IntentArrived, intent: Intent, now_ms: int) -> Change:
    """Return the one record that answers an intent about a flag, or about what a set has beside its flags."""
    if not flag_key(intent.subject).is_flag:
        return answer_shared(ledger, view, intent, now_ms)
    if intent.verb is Verb.SET:
        change = answer_set(ledger, view, intent, event.key, now_ms)
    else:
        ramp = ramp_of(ledger, view, intent.subject, now_ms)
        if ramp is None:
            return refusal(intent, Reason.UNKNOWN, f"there is no flag {flag_key(intent.subject)}; see: tidegate flag list")
        if ramp.state.archived:
            return ramp.refused(Reason.NOTHING_TO_DO, f"{ramp.state.key} was archived: everyone has the safe variant for good")
        change = _gate(ramp, intent) if event.of_gate else _answer(ramp, intent, event.key)
    return replace(change, flag=replace(change.flag, asked_ms=now_ms)) if change.flag is not None else change


def _answer(ramp: Ramp, intent: Intent, key: PublicKey | None) -> Change:
    match intent.verb:
        case Verb.KILL:
            return _kill(ramp, intent)
        case Verb.RESTORE:
            return _restore(ramp, intent)
        case Verb.SHARE:
            return _share(ramp, intent)
        case Verb.ARCHIVE:
            return _archive(ramp, intent)
        case Verb.PAUSE:
            return _pause(ramp, intent)
        case Verb.RESUME:
            return _resume(ramp, intent)
        case Verb.PROMOTE:
            return _promote(ramp, intent)
        case Verb.ABORT:
            return _abort(ramp, intent)
        case Verb.APPROVE:
            return _approve(ramp, intent, key)
        case Verb.RELEASE:
            return _release(ramp, intent)
        case Verb.UNDO | Verb.RETRY | Verb.CORDON | Verb.UNCORDON | Verb.SILENCE | Verb.UNSILENCE | Verb.SET:
            message = f"{intent.verb} is not asked of a flag; it knows kill, restore, share, abort, and set"
            return ramp.refused(Reason.NOT_ALLOWED, message)
        case _:
            assert_never(intent.verb)


def _kill(ramp: Ramp, intent: Intent) -> Change:
    """Give everyone the kill variant, in whatever phase (G5). What was there stays in the state, for a restore."""
    state = ramp.state
    if state.killed:
        return ramp.refused(Reason.NOTHING_TO_DO, f"{state.key} is killed already")
    message = intent.reason or f"Everyone has {kill_variant(spec_in_force(state))} from now on."
    return replace(_change(DecisionKind.KILL, message, stopped(replace(state, killed=True))), facts=_served(state))


def _restore(ramp: Ramp, intent: Intent) -> Change:
    """Bring back what was there: a kill is lifted first, then what else pinned the flag. A ramp comes back paused."""
    state = ramp.state
    if state.killed:
        left = f" It is still off ({state.off})." if state.off is not Off.NONE else ""
        return _change(DecisionKind.RESTORE, (intent.reason or _is_back(state)) + left, _back(state, killed=False))
    if state.off is Off.NONE:
        if state.asked_ms < ramp.ledger.restored_ms:
            waits = ", ".join(withheld_needs(ramp.ledger, state))
            message = f"It holds as the archive has it, once that is said of what it needs: {waits}." if waits else _AS_IT_WAS
            return _change(DecisionKind.RESTORE, message, state)
        return ramp.refused(Reason.NOTHING_TO_DO, f"{state.key} is neither killed nor off")
    if state.off is Off.SWITCHED_OFF and state.before is None:
        message = f"nothing was there before {state.proposed} of {state.key} was switched off; set the flag again"
        return ramp.refused(Reason.NOTHING_TO_DO, message)
    if state.off is Off.SWITCHED_OFF:
        state = replace(state, **before_fields(ramp))
    missing = code_missing(ramp.ledger, state.spec if state.weight or state.held else None, state.before)
    if missing is not None:
        reason, sentence = missing
        return ramp.refused(reason, f"{sentence} Roll that out first.")
    return _change(DecisionKind.RESTORE, intent.reason or _is_back(state), _back(state, off=Off.NONE))


def _share(ramp: Ramp, intent: Intent) -> Change:
    """Lower a share, or bring it back to what its stages have given (G2). A ramp under way stops there."""
    state, weight = ramp.state, intent.weight
    if weight is None:
        return ramp.refused(Reason.BAD_DOCUMENT, "weight: is missing; give a share of 10,000, as in 2500 for 25 %")
    if state.pinned:
        return ramp.refused(Reason.NOTHING_TO_DO, f"{state.key} is {_why_pinned(state)}; restore it first")
    if state.phase is Phase.IDLE and state.before is not None:
        return _share_of_before(ramp, intent, weight)
    if weight > state.held:
        message = f"weight: {shown(weight)} is more than the {shown(state.held)} that its stages have given; set it by a ramp"
        return ramp.refused(Reason.NOT_ALLOWED, message)
    if weight == state.weight:
        return ramp.refused(Reason.NOTHING_TO_DO, f"{state.key} has {shown(weight)} already")
    new = replace(state, weight=weight)
    if state.under_way:
        new = placed(new, phase=Phase.PAUSED, paused_reason=Reason.ASKED, gate_since_ms=0, gate_passed=False)
    return _change(DecisionKind.SHARE, intent.reason or f"{shown(weight)} have it from now on.", new)


def _share_of_before(ramp: Ramp, intent: Intent, weight: int) -> Change:
    """Lower the share of what is there while a change of it waits to begin."""
    state = ramp.state
    if weight > state.before_weight:
        message = f"weight: {shown(weight)} is more than the {shown(state.before_weight)} that have what is there"
        return ramp.refused(Reason.NOT_ALLOWED, f"{message}; the change {state.proposed} waits, abort it to go back up")
    if weight == state.before_weight:
        return ramp.refused(Reason.NOTHING_TO_DO, f"{state.key} has {shown(weight)} already")
    message = intent.reason or f"{shown(weight)} have what is there from now on; {state.proposed} waits as before."
    return _change(DecisionKind.SHARE, message, replace(state, before_weight=weight))


def _archive(ramp: Ramp, intent: Intent) -> Change:
    """Give everyone the safe variant for good. A tombstone follows days later (G5)."""
    state = ramp.state
    name, set_id = state.key.name, state.key.set_id
    others = (other for other in ramp.ledger.flags.values() if name in needs(other) and not other.archived)
    needing = sorted(str(other.key) for other in others if other.key.set_id == set_id)
    if needing:
        message = f"{', '.join(needing[:5])} needs it; set that flag without the prerequisite first"
        return ramp.refused(Reason.NOT_ALLOWED, message)
    there = spec_in_force(state)
    new = replace(
        state,
        spec=there,
        archived=True,
        phase=Phase.DONE,
        result=RampResult.ABORTED if state.under_way else state.result,
        ramp=None,
        before=None,
        paused_reason=None,
        placement="",
    )
    message = intent.reason or f"Everyone has {safe_variant(there)} for good; the name is never used again."
    return _change(DecisionKind.ARCHIVE, message, new)


def _pause(ramp: Ramp, intent: Intent) -> Change:
    """Stop a ramp until a person resumes it, one too that stands for a signal and would go on by itself (D5)."""
    state = ramp.state
    if state.phase is not Phase.RUNNING and not (state.phase is Phase.PAUSED and lifts_itself(state.paused_reason)):
        return ramp.refused(Reason.NOTHING_TO_DO, f"{_what(ramp)}; only a running ramp is paused")
    return ramp.paused(Reason.ASKED, intent.reason or "The share stays as it is; judgement and its switch-off go on.")


def _resume(ramp: Ramp, intent: Intent) -> Change:
    """Go on at the share of the stage, with its bake and its gate anew."""
    state = ramp.state
    if state.phase is not Phase.PAUSED or state.pinned:
        pinned = f" and {_why_pinned(state)}; restore it first" if state.pinned else ""
        return ramp.refused(Reason.NOTHING_TO_DO, f"{_what(ramp)}{pinned}; only a paused ramp is resumed")
    weight = ramp.stage.set_weight * PERCENT
    held = replace(ramp, state=placed(state, weight=weight, held=weight))
    return resume(held, Reason.ASKED, intent.reason or f"The ramp goes on; it was paused ({state.paused_reason}).")


def _promote(ramp: Ramp, intent: Intent) -> Change:
    """End the bake or the gate of the stage; a fail, exposures and the pass are not a person's to give (D5)."""
    state = ramp.state
    if state.phase is not Phase.RUNNING or state.gate_passed:
        why = "its bake and gate are passed already" if state.gate_passed else "only a running ramp is promoted"
        return ramp.refused(Reason.NOTHING_TO_DO, f"{_what(ramp)}; {why}")
    message = intent.reason or f"Bake and gate of stage {state.stage + 1} end here; the other conditions hold."
    return passed(ramp, Reason.ASKED, message)


def _abort(ramp: Ramp, intent: Intent) -> Change:
    if ramp.state.phase is Phase.DONE:
        return ramp.refused(Reason.NOTHING_TO_DO, f"{_what(ramp)}; there is nothing to abort: kill gives everyone its variant")
    return back(ramp, Reason.ASKED, intent.reason or f"{intent.actor} aborted it.", RampResult.ABORTED)


def _approve(ramp: Ramp, intent: Intent, key: PublicKey | None) -> Change:
    """Take a second person's word for a change. Who proposed it does not count, under whatever name or key (H3)."""
    state = ramp.state
    if state.phase is not Phase.IDLE or intent.target != state.proposed:
        waits = state.proposed if state.phase is Phase.IDLE else "none"
        return ramp.refused(Reason.UNKNOWN, f"no change {intent.target!r} of {state.key} waits; there: {waits}")
    if state.approved or not asks_for_approval(ramp):
        return ramp.refused(Reason.NOTHING_TO_DO, f"{intent.target} needs no approval any more")
    # Who speaks through the API is told apart by name: it has one key for all of them, and says in the signed body who it was.
    own_key = key is not None and key.role is not KeyRole.API and key.id == state.proposer_key
    if intent.actor == state.proposer or own_key:
        message = f"{intent.target}: it is {state.proposer}'s, signed by {state.proposer_key}; somebody else has to approve"
        return ramp.refused(Reason.NOT_ALLOWED, message)
    message = intent.reason or f"{intent.actor} approves of {intent.target}."
    return _change(DecisionKind.SETTING, message, replace(state, approved=True))


def _release(ramp: Ramp, intent: Intent) -> Change:
    state = ramp.state
    if intent.target not in state.quarantined:
        listed = ", ".join(state.quarantined) or "none"
        return ramp.refused(Reason.NOTHING_TO_DO, f"{intent.target or 'nothing'} is not in quarantine; there: {listed}")
    new = replace(state, quarantined=tuple(one for one in state.quarantined if one != intent.target))
    return _change(DecisionKind.SETTING, f"{intent.target} may be set again.", new)


def _gate(ramp: Ramp, intent: Intent) -> Change:
    """Return what the answer of an outgoing gate does: it passes this one gate, or the ramp goes back (I2)."""
    problem = unasked(ramp.gate_asked, intent)
    if problem:
        return ramp.refused(Reason.NOT_ALLOWED, problem)
    if intent.verb is Verb.PROMOTE:
        return passed(ramp, Reason.GATE_PASSED, gate_said(intent))
    return back(ramp, Reason.GATE_REFUSED, gate_said(intent), RampResult.ROLLED_BACK)


def _back(state: FlagState, **fields: object) -> FlagState:
    """Return a flag from which a pin was taken: a ramp that was under way waits, as a new attempt, for a person to resume it."""
    state = replace(state, **fields)
    if state.pinned or not state.under_way:
        return state
    attempt = state.attempt + 1
    return placed(
        state,
        attempt=attempt,
        rollout=f"{state.proposed}.{attempt}",
        phase=Phase.PAUSED,
        paused_reason=Reason.ASKED,
        gate_since_ms=0,
        gate_passed=False,
    )


def _change(kind: DecisionKind, message: str, state: FlagState) -> Change:
    return Change(kind=kind, reason=Reason.ASKED, subject=state.subject, message=message, flag=state)


def _served(state: FlagState) -> dict[str, str | int | float | list[str] | None]:
    return {"weight": state.weight, "phase": str(state.phase)}


def _is_back(state: FlagState) -> str:
    there = state.weight or (state.before is not None and state.before_weight)
    return "What was there is back." if there else "The pin is off. Nothing else was there: everyone has the safe variant."


def _why_pinned(state: FlagState) -> str:
    return "archived" if state.archived else "killed" if state.killed else f"off ({state.off})"


def _what(ramp: Ramp) -> str:
    state = ramp.state
    return f"{state.key} is {state.phase}" + (f" ({state.result})" if state.result else "")
