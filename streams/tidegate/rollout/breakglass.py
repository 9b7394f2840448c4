"""Break-glass as decide folds it: an intent that no generation is in the way of (E5).

Nodes have obeyed it by themselves. What is decided here makes it the state of record, under a generation above the one that it
names as soon as there is one: so the fleet does not stay under a document that a person would have to take back.
"""

from tidegate.rollout.events import IntentArrived
from tidegate.rollout.ledger import Ledger
from tidegate.wire.decisions import Result, SubjectState
from tidegate.wire.documents import BreakGlass, GlassAction, Intent, Phase, PublicKey, Verb
from tidegate.wire.flagstates import is_flag
from tidegate.wire.reasons import Reason

_WENT_BACK = frozenset({Result.ROLLED_BACK, Result.ABORTED, Result.FAILED})


def intent_of(glass: BreakGlass, key: PublicKey, ledger: Ledger, seen_ms: int) -> IntentArrived:
    """Return what a break-glass document asks of the decision agent; with a fault where it is of an attempt that is over.

    Within an attempt it counts whatever its author saw, as pause and abort do (D3); an old one that is sent again does not.
    """
    state = ledger.subject(glass.subject)
    intent = Intent(
        id=glass.id,
        fleet=glass.fleet,
        subject=glass.subject,
        verb=_flag_verb(glass) if is_flag(glass.subject) else _verb(glass, state),
        generation=ledger.generation(glass.subject),
        actor=f"{glass.actor} (break-glass {key.id})"[:256],
        reason=glass.reason,
        issued_ms=glass.issued_ms,
    )
    if glass.generation >= state.since_generation:
        return IntentArrived(intent, seen_ms=seen_ms, subject=glass.subject, key=key)
    problem = f"break-glass for generation {glass.generation}; what runs began at {state.since_generation}"
    return IntentArrived(intent, Reason.STALE_GENERATION, problem, seen_ms, subject=glass.subject, key=key)


def _flag_verb(glass: BreakGlass) -> Verb:
    """Of a flag, back is its kill variant for everyone. Providers obey decide alone."""
    return Verb.PAUSE if glass.action is GlassAction.PAUSE else Verb.KILL


def _verb(glass: BreakGlass, state: SubjectState) -> Verb:
    """Return what it asks for. What went back already is aborted, so that what waits behind it does not begin."""
    if glass.action is GlassAction.PAUSE:
        return Verb.PAUSE
    return Verb.UNDO if state.phase is Phase.DONE and state.result not in _WENT_BACK else Verb.ABORT
