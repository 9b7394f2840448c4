"""What a set has beside its flags: ``$evaluators`` and ``$metadata``. Whoever changes them changes what flags give, at once; so
they may change only what nobody's stages are in the way of (G2), and what would be refused of a flag itself is refused here (H3).
"""

from collections.abc import Iterator
from typing import Any

from msgspec import UnsetType
from msgspec.structs import replace

from tidegate.flags.leaves import Outcome, results
from tidegate.flags.published import WEIGHT_ALL
from tidegate.rollout.change import Change, refusal
from tidegate.rollout.flag_levels import FlagLevels, beside, needs, shared_value, withheld
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.policies import forbidden
from tidegate.rollout.ramp import Ramp
from tidegate.rollout.ramp_forward import asks_for_approval, held_off
from tidegate.rollout.verdicts import Blocker
from tidegate.rollout.view import View
from tidegate.wire.codec import Malformed, decode_strict, encode, told_faults
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, Phase, Verb
from tidegate.wire.exposures import SALT, salt_of
from tidegate.wire.flagrules import Fault, references
from tidegate.wire.flags import EVALUATORS, METADATA, bucketing_of, evaluators_faults, evaluators_of, metadata_of
from tidegate.wire.flagspecs import FlagSpec, safe_variant
from tidegate.wire.flagstates import FlagState, SharedState, flag_key
from tidegate.wire.reasons import Reason

VALUE = "flag.value"


def answer_shared(ledger: Ledger, view: View, intent: Intent, now_ms: int) -> Change:
    """Return the one record that answers an intent about what a set has beside its flags."""
    if intent.verb is not Verb.SET:
        return refusal(intent, Reason.NOT_ALLOWED, f"{intent.subject} can only be set")
    change = intent.flag
    if change is None or isinstance(change.value, UnsetType) or change.spec is not None or change.ramp is not None:
        return refusal(intent, Reason.BAD_DOCUMENT, f"{VALUE}: is missing; of {intent.subject}, set names a value and no spec")
    value, key = change.shared, flag_key(intent.subject)
    try:
        decode_strict(value, dict)
        wrong = list(_evaluators(ledger, intent, value) if key.name == EVALUATORS else _metadata(ledger, intent, value))
    except Malformed as fault:
        wrong = [(f"{VALUE}.{fault.path}".rstrip("."), fault.problem)]
    if wrong:
        return refusal(intent, Reason.BAD_DOCUMENT, told_faults(wrong[:20]))
    held = _held(ledger, view, intent, now_ms)
    if held is not None:
        return refusal(intent, *held)
    state = SharedState(subject=intent.subject, value=change.value, actor=intent.actor, why=intent.reason, asked_ms=now_ms)
    wrong = list(_unpublishable(ledger, intent, state))
    if wrong:
        return refusal(intent, Reason.BAD_DOCUMENT, told_faults(wrong[:20]))
    return Change(
        kind=DecisionKind.SETTING,
        reason=Reason.ASKED,
        subject=intent.subject,
        message=intent.reason or f"{key} is set.",
        flag_set=state,
    )


def _unpublishable(ledger: Ledger, intent: Intent, state: SharedState) -> Iterator[Fault]:
    """Yield which flags that need others could not be published any more, though each rule for itself is sound."""
    sets = ledger.flag_sets | {state.subject: replace(state, seq=ledger.seq)}
    before, now = FlagLevels(ledger), FlagLevels(replace(ledger, flag_sets=sets))
    for flag in _flags(ledger, intent):
        if needs(flag) and not withheld(ledger, flag.subject):
            fault = now.level(flag.subject).fault
            if fault and not before.level(flag.subject).fault:
                yield VALUE, f"{flag.key} could not be published any more: {fault}"


def _held(ledger: Ledger, view: View, intent: Intent, now_ms: int) -> Blocker | None:
    """Return what keeps a sound change from holding at once, or None: what would keep one of each flag that it reaches. Nothing
    does where all of these give everyone the safe variant by it (G2).
    """
    reached = list(_reached(ledger, intent))
    if reached and all(safe for _, safe in reached):
        return None
    later = "This would hold at once; ask again when it is over."
    frozen = forbidden(ledger, intent.subject, now_ms)
    if frozen is not None:
        return frozen[0], f"{frozen[1]} {later}"
    for state, _ in reached:
        ramp = Ramp(state, view, ledger, now_ms)
        stops = next(held_off(ramp), None)
        if stops is not None:
            return stops[0], f"{state.key} hangs on it. {stops[1]} {later}"
        asks = asks_for_approval(ramp)
        if asks:
            what = f"{state.key} hangs on it, {asks} asks for a second approver, and this would hold at once; {_instead(intent)}"
            return Reason.NOT_APPROVED, f"{what}: each such change waits to be approved of"
    return None


def _instead(intent: Intent) -> str:
    if flag_key(intent.subject).name == EVALUATORS:
        return "give the rule a new name, and set the flags that use it"
    return "make a set with that bucketing, and set the flags there"


def _reached(ledger: Ledger, intent: Intent) -> Iterator[tuple[FlagState, bool]]:
    """Yield the flags that may give somebody something else by a sound change, and whether each gives everyone its safe variant
    then: whatever its rule asks of a user, and outside of its share.
    """
    if intent.flag is None:
        return
    key, value = flag_key(intent.subject), intent.flag.shared
    rules: dict[str, Any] = evaluators_of(shared_value(ledger, key, EVALUATORS))
    if key.name == EVALUATORS:
        now = evaluators_of(value)
        changed = _changed(rules, now)
        for state in _flags(ledger, intent):
            using = [spec for spec in _specs(state) if _used(spec, rules) & changed]
            if using:
                yield state, all(_gives_safe(spec, now) for spec in using)
    elif bucketing_of(metadata_of(shared_value(ledger, key, METADATA))) is not bucketing_of(metadata_of(value)):
        yield from ((state, False) for state in _flags(ledger, intent) if any(_deals(spec, rules) for spec in _specs(state)))


def _evaluators(ledger: Ledger, intent: Intent, value: bytes) -> Iterator[Fault]:
    """Yield what is wrong with shared rules, and which of those that change are used by a flag that has stages to pass."""
    found = [(f"{VALUE}.{path}".rstrip("."), problem) for path, problem in evaluators_faults(value)]
    if found:
        yield from found
        return
    key = flag_key(intent.subject)
    before, now = evaluators_of(shared_value(ledger, key, EVALUATORS)), evaluators_of(value)
    changed = _changed(before, now)
    for state in _flags(ledger, intent):
        for spec in _specs(state):
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
    flags = _flags(ledger, intent)
    busy = [str(state.key) for state in flags if state.phase is not Phase.DONE or 0 < state.weight < WEIGHT_ALL]
    if busy:
        yield (
            f"{VALUE}.bucketing",
            f"would deal the users of {', '.join(busy[:5])} anew, in the middle of a ramp; let it end first",
        )


def _flags(ledger: Ledger, intent: Intent) -> list[FlagState]:
    here = beside(flag_key(intent.subject), "").subject
    return [state for subject, state in sorted(ledger.flags.items()) if subject.startswith(here) and not state.archived]


def _specs(state: FlagState) -> list[FlagSpec]:
    return [spec for spec in (state.spec, state.before) if spec is not None]


def _is_tried(state: FlagState) -> bool:
    return any(spec.experiment is not None for spec in _specs(state))


def _changed(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
    return {name for name in before if name not in now or encode(before[name]) != encode(now[name])}


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


def _gives_safe(spec: FlagSpec, rules: dict[str, Any]) -> bool:
    outcome = Outcome(spec.decoded())
    return all((outcome.default if one is None else one) == safe_variant(spec) for one in results(outcome.rule, rules))


def _deals(spec: FlagSpec, rules: dict[str, Any]) -> bool:
    """Return whether it hangs on the bucketing what somebody has of a spec that everyone has."""
    pending: list[Any] = [spec.decoded().targeting, *(rules.get(name) for name in _used(spec, rules))]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "fractional" in node:
                return True
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return spec.layer is not None
