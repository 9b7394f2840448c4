"""Silences: which alarms nobody is told of, until when, who asked and why (I1). They hide, and stop nothing: an open critical
alarm blocks an advance whether anybody is told of it or not (D4).
"""

from tidegate.rollout.change import Change, refusal
from tidegate.rollout.ledger import Ledger
from tidegate.wire.decisions import DecisionKind, Silence
from tidegate.wire.documents import Hush, Intent, Verb
from tidegate.wire.reasons import Reason

SILENCES_MAX = 200
"""So many at once: each is compared with every alarm."""
LONGEST_MS = 30 * 86_400_000
"""A silence that outlives its cause hides the next one."""


def answer_silence(ledger: Ledger, intent: Intent, now_ms: int) -> Change:
    """Return the record that answers an intent to silence or to end a silence. What is over by now is left out of it."""
    held = tuple(one for one in ledger.silences if one.hush.until_ms > now_ms)
    if intent.verb is Verb.UNSILENCE:
        return _end(held, intent)
    hush = intent.hush
    problem = _problem(hush, len(held), now_ms)
    if hush is None or problem:
        return refusal(intent, Reason.NOT_ALLOWED, problem)
    silence = Silence(id=intent.id, hush=hush, since_ms=now_ms, actor=intent.actor, reason=intent.reason)
    return _set(intent, f"Nobody is told of {shown(hush)}: {intent.reason}", (*held, silence))


def shown(hush: Hush) -> str:
    """Return what a silence hides, in words.

    >>> shown(Hush(service="shop", name="anomaly", labels={"metric": "rate"}, until_ms=0))
    'alarms with service shop, name anomaly, metric rate'
    """
    named = [("service", hush.service), ("name", hush.name), *sorted(hush.labels.items())]
    return "alarms with " + ", ".join(f"{name} {value}" for name, value in named if value)


def _problem(hush: Hush | None, held: int, now_ms: int) -> str:
    if hush is None or not (hush.service or hush.name or hush.labels):
        return "a silence names a service, an alarm or a label; one that names nothing would hide everything"
    if hush.until_ms <= now_ms:
        return "this silence is over already; ask for a longer one"
    if hush.until_ms > now_ms + LONGEST_MS:
        return "a silence lasts 30 days at most; ask for a shorter one"
    return f"{SILENCES_MAX} silences hold already; end some first" if held >= SILENCES_MAX else ""


def _end(held: tuple[Silence, ...], intent: Intent) -> Change:
    kept = tuple(one for one in held if one.id != intent.target)
    if len(kept) == len(held):
        return refusal(intent, Reason.NOTHING_TO_DO, f"no silence {intent.target!r} holds; see: tidegate silence list")
    return _set(intent, f"Silence {intent.target} ends here.", kept)


def _set(intent: Intent, message: str, silences: tuple[Silence, ...]) -> Change:
    return Change(kind=DecisionKind.SETTING, reason=Reason.ASKED, subject=intent.subject, message=message, silences=silences)
