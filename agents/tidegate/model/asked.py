"""What a person wants, as the intent that is signed for it: made at one place, whoever asks and from where."""

from msgspec import Struct

from tidegate.rollout.ledger import Ledger
from tidegate.wire.documents import Hush, Intent, Verb
from tidegate.wire.flagchanges import FlagChange
from tidegate.wire.names import is_name, service_subject

EVERYTHING = "svc/fleet"
"""An intent names one subject; a silence or a cordon may concern many: this stands in for all, so no generation is in its way."""


def silenced(hush: Hush) -> str:
    """Return the subject that an intent to silence names: the one service whose alarms it hides, so that a key which is bound to
    that may sign it (H1), or all.
    """
    return service_subject(hush.service) if is_name(hush.service) else EVERYTHING


class Wish(Struct, frozen=True, kw_only=True):
    """What a person wants of a subject, before it is signed."""

    verb: Verb
    reason: str
    target: str = ""
    weight: int | None = None
    flag: FlagChange | None = None
    hush: Hush | None = None


class Asker(Struct, frozen=True):
    """Who wants it, and in which fleet."""

    fleet: str
    actor: str


def intent_of(ledger: Ledger, subject: str, wish: Wish, by: Asker, *, unique: str, now_ms: int) -> Intent:
    """Return what is to be signed; it names the generation that the ledger has (D3). ``unique`` tells its id apart."""
    return Intent(
        id=f"{wish.verb}-{unique}",
        fleet=by.fleet,
        subject=subject,
        verb=wish.verb,
        generation=ledger.generation(subject),
        actor=by.actor,
        reason=wish.reason,
        target=wish.target,
        weight=wish.weight,
        flag=wish.flag,
        hush=wish.hush,
        issued_ms=now_ms,
    )
