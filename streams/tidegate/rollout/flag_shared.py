"""What a set has beside its flags: ``$evaluators`` and ``$metadata``. Whoever changes them changes what flags give, at once; so
they may change only what nobody's stages are in the way of (G2).
"""

from collections.abc import Iterator
from typing import Any

from msgspec import UnsetType

from tidegate.rollout.change import Change, refusal
from tidegate.rollout.flag_levels import beside, shared_value
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.policies import forbidden
from tidegate.wire.codec import Malformed, decode_strict, encode, told_faults
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, Phase, Verb
from tidegate.wire.exposures import SALT, salt_of
from tidegate.wire.flagrules import Fault, references
from tidegate.wire.flags import EVALUATORS, METADATA, bucketing_of, evaluators_faults, evaluators_of, metadata_of
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.flagstates import FlagState, SharedState, flag_key
from tidegate.wire.reasons import Reason

VALUE = "flag.value"


def answer_shared(ledger: Ledger, intent: Intent, now_ms: int) -> Change:
    """Return the one record that answers an intent about what a set has beside its flags."""
    if intent.verb is not Verb.SET:
        return refusal(intent, Reason.NOT_ALLOWED, f"{intent.subject} can only be set")
    change = intent.flag
    if change is None or isinstance(change.value, UnsetType) or change.spec is not None or change.ramp is not None:
        return refusal(intent, Reason.BAD_DOCUMENT, f"{VALUE}: is missing; of {intent.subject}, set names a value and no spec")
    held = forbidden(ledger, intent.subject, now_ms)
    if held is not None:
        return refusal(intent, held[0], f"{held[1]} This would hold at once; ask again when it is over.")
    value, key = change.shared, flag_key(intent.subject)
    try:
        decode_strict(value, dict)
        wrong = list(_evaluators(ledger, intent, value) if key.name == EVALUATORS else _metadata(ledger, intent, value))
    except Malformed as fault:
        wrong = [(f"{VALUE}.{fault.path}".rstrip("."), fault.problem)]
    if wrong:
        return refusal(intent, Reason.BAD_DOCUMENT, told_faults(wrong[:20]))
    state = SharedState(subject=intent.subject, value=change.value, actor=intent.actor, why=intent.reason, asked_ms=now_ms)
    return Change(
        kind=DecisionKind.SETTING,
        reason=Reason.ASKED,
        subject=intent.subject,
        message=intent.reason or f"{key} is set.",
        flag_set=state,
    )


def _evaluators(ledger: Ledger, intent: Intent, value: bytes) -> Iterator[Fault]:
    """Yield what is wrong with shared rules, and which of those that change are used by a flag that has stages to pass."""
    found = [(f"{VALUE}.{path}".rstrip("."), problem) for path, problem in evaluators_faults(value)]
    if found:
        yield from found
        return
    key = flag_key(intent.subject)
    before, now = evaluators_of(shared_value(ledger, key, EVALUATORS)), evaluators_of(value)
    changed = {name for name in before if name not in now or encode(before[name]) != encode(now[name])}
    for state in _flags(ledger, intent):
        for spec in (state.spec, *([state.before] if state.before is not None else [])):
            used = _used(spec, before)
            for name in sorted(used & changed):
                if name not in now:
                    yield f"{VALUE}.{name}", f"{state.key} uses it; set that flag without it first"
                elif spec.experiment is not None:
                    yield f"{VALUE}.{name}", f"{state.key} uses it and is in an experiment; end that first"
                elif not spec.immediate:
                    yield (
                        f"{VALUE}.{name}",
                        f"{state.key} uses it and has stages to pass; give the rule a new name, and set the flag",
                    )


def _metadata(ledger: Ledger, intent: Intent, value: bytes) -> Iterator[Fault]:
    """Yield what is wrong with metadata: another bucketing deals every user anew, so never in the middle of a ramp or of an
    experiment; another salt makes strangers of all whom an experiment has counted.
    """
    key = flag_key(intent.subject)
    before, now = metadata_of(shared_value(ledger, key, METADATA)), metadata_of(value)
    tried = ", ".join([str(state.key) for state in _flags(ledger, intent) if _is_tried(state)][:5])
    if tried and salt_of(before, key.set_id) != salt_of(now, key.set_id):
        yield f"{VALUE}.{SALT}", f"would count the users of {tried} again, in the middle of an experiment; end that first"
    if bucketing_of(before) is bucketing_of(now):
        return
    if tried:
        yield f"{VALUE}.bucketing", f"would deal the users of {tried} anew, in the middle of an experiment; end that first"
    busy = [str(state.key) for state in _flags(ledger, intent) if state.phase is not Phase.DONE or 0 < state.weight < state.held]
    if busy:
        yield (
            f"{VALUE}.bucketing",
            f"would deal the users of {', '.join(busy[:5])} anew, in the middle of a ramp; let it end first",
        )


def _flags(ledger: Ledger, intent: Intent) -> list[FlagState]:
    here = beside(flag_key(intent.subject), "").subject
    return [state for subject, state in sorted(ledger.flags.items()) if subject.startswith(here) and not state.archived]


def _is_tried(state: FlagState) -> bool:
    return any(spec is not None and spec.experiment is not None for spec in (state.spec, state.before))


def _used(spec: FlagSpec, rules: dict[str, Any]) -> set[str]:
    """Return the shared rules that a spec's rule comes to."""
    found: set[str] = set()
    pending = references(spec.decoded().targeting)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += references(rules.get(name))
    return found
