"""Break-glass as the decision agent reads it from ``desired``: verified, then folded as an intent (E5)."""

from tidegate.ports import Record
from tidegate.rollout.breakglass import intent_of
from tidegate.rollout.events import IntentArrived
from tidegate.rollout.ledger import Ledger
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import GLASS_PREFIX, BreakGlass
from tidegate.wire.envelope import Refused, Trust, WrongFleet, unseal
from tidegate.wire.reasons import Reason


def glass_event(record: Record, trust: Trust, ledger: Ledger) -> IntentArrived:
    """Return what a break-glass record asks for. Total: what does not count carries its fault, and so leaves a record (D3)."""
    value, subject = record.value or b"", (record.key or "").removeprefix(GLASS_PREFIX)
    try:
        glass, key = unseal(value, BreakGlass, trust)
    except Malformed as error:
        fault, problem = Reason.BAD_DOCUMENT, str(error)
    except WrongFleet as error:
        fault, problem = Reason.WRONG_FLEET, str(error)
    except Refused as error:
        fault, problem = Reason.BAD_SIGNATURE, str(error)
    else:
        if glass.subject == subject:
            return intent_of(glass, key, ledger, record.time_ms)
        fault, problem = Reason.BAD_DOCUMENT, f"break-glass of {glass.subject} stands under key {record.key}"
    return IntentArrived(None, fault, problem, record.time_ms, value, subject)
