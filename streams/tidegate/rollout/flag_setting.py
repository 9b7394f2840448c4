"""What becomes of a definition that somebody wants: refused with every fault named, in force at once, or by a ramp (G2).

What lies between flags is looked at here too, in every form in which they may be published: nothing is accepted that could not be
said on the topic later.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from tidegate.flags.prerequisites import after
from tidegate.flags.published import WEIGHT_ALL, layer_faults
from tidegate.rollout.change import Change, refusal
from tidegate.rollout.flag_levels import FlagLevels, beside, needs, shared_value, value_of
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.ramp import PERCENT, Ramp
from tidegate.rollout.ramp_forward import asks_for_approval, at_once, restraints, unbegun
from tidegate.rollout.view import View
from tidegate.wire.codec import Malformed, encode, told_faults
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, Phase, PublicKey
from tidegate.wire.flagchanges import FlagRamp, ramp_faults
from tidegate.wire.flagrules import Fault
from tidegate.wire.flags import EVALUATORS, FLAGS_MAX, State, evaluators_of
from tidegate.wire.flagspecs import FlagSpec, kill_variant, safe_variant, spec_faults
from tidegate.wire.flagstates import FlagState, Off, RampResult, flag_key, spec_digest
from tidegate.wire.reasons import Reason

SPEC = "flag.spec"
FAULTS_SHOWN = 20
"""So many faults stand in one refusal."""


def answer_set(ledger: Ledger, view: View, intent: Intent, key: PublicKey | None, now_ms: int) -> Change:
    """Return the one record that answers a flag's new definition."""
    spec, course = (intent.flag.spec, intent.flag.ramp) if intent.flag is not None else (None, None)
    if spec is None or (intent.flag is not None and intent.flag.value is not UNSET):
        return refusal(intent, Reason.BAD_DOCUMENT, f"{SPEC}: is missing; of a flag, set names a spec and no value")
    before = ledger.flags.get(intent.subject)
    busy = _busy(before)
    if busy is not None:
        return refusal(intent, *busy)
    wrong = _faults(ledger, intent, spec, course)
    if wrong:
        return refusal(intent, Reason.BAD_DOCUMENT, told_faults(wrong[:FAULTS_SHOWN]))
    if before is not None and spec_digest(spec) in before.quarantined:
        name = spec_digest(spec)
        return refusal(intent, Reason.QUARANTINED, f"{SPEC}: it was switched off; a person may release {name} from quarantine")
    state = replace(_wanted(before, intent, spec, course, key), asked_ms=now_ms)
    wrong = list(_between(ledger, state))
    if wrong:
        return refusal(intent, Reason.BAD_DOCUMENT, told_faults(wrong[:FAULTS_SHOWN]))
    return _answer(Ramp(state, view, ledger, now_ms), before)


def _answer(ramp: Ramp, before: FlagState | None) -> Change:
    state = ramp.state
    if _is_safe(state.spec, before):  # with a ramp, too: what goes toward safe waits for nothing
        return at_once(ramp, Reason.ASKED, state.why or "Everyone has the safe variant.")
    if state.ramp is None:
        held, asks = next(restraints(ramp), None), asks_for_approval(ramp)
        if held is not None:
            reason, sentence = held
            return ramp.refused(reason, f"{sentence} An immediate change does not wait for that; ask again when it is over.")
        if not asks:
            return at_once(ramp, Reason.ASKED, state.why or "Everyone has the new definition.")
    wrong = list(_other_pins(state.spec, before)) if state.before is None else []
    if wrong:
        return ramp.refused(Reason.BAD_DOCUMENT, told_faults(wrong))
    if state.ramp is not None:
        waits = [sentence for _, sentence in unbegun(ramp)]
        told = f"waits: {' '.join(waits)}" if waits else f"comes by {len(state.ramp.stages)} stages."
        reason = Reason.PLAN_QUEUED if waits else Reason.PLAN_ACCEPTED
        return ramp.changed(DecisionKind.ACCEPT, reason, f"The definition {told}")
    message = f"It waits: {asks} asks for a second approver: flag approve {state.key} {state.proposed}"
    return ramp.changed(DecisionKind.ACCEPT, Reason.PLAN_QUEUED, message)


def _busy(before: FlagState | None) -> tuple[Reason, str] | None:
    if before is None or (before.phase is Phase.DONE and not before.archived):
        return None
    if before.archived:
        return Reason.NOT_ALLOWED, f"{before.key} was archived, and a name is never used again; take another"
    what = "waits to begin" if before.phase is Phase.IDLE else f"is {before.phase}"
    return Reason.ALREADY_RUNNING, f"the change {before.proposed} of {before.key} {what}; abort it first: flag abort {before.key}"


def _faults(ledger: Ledger, intent: Intent, spec: FlagSpec, course: FlagRamp | None) -> list[Fault]:
    """Return every fault of what is wanted that lies in it alone."""
    key = flag_key(intent.subject)
    rules: dict[str, Any] = evaluators_of(shared_value(ledger, key, EVALUATORS))
    found = [(f"{SPEC}.{path}", problem) for path, problem in spec_faults(spec, key, rules)]
    if course is not None:
        found += [(f"flag.ramp.{path}", problem) for path, problem in ramp_faults(course)]
    if found:
        return found
    if course is not None and spec.immediate:
        found.append(("flag.ramp", "an immediate flag has no stages: leave the ramp out, or immediate (G2)"))
    if course is None and not spec.immediate and not _is_safe(spec, ledger.flags.get(intent.subject)):
        found.append(("flag.ramp", "is missing: what is not toward safe comes by stages (G2); give some, or immediate: true"))
    found += _taken(ledger, intent.subject, spec)
    here = beside(key, "").subject
    new = intent.subject not in ledger.flags and len(ledger.flags) >= FLAGS_MAX
    if new and sum(one.startswith(here) for one in ledger.flags) >= FLAGS_MAX:
        found.append(("subject", f"the set {key.set_id} holds {FLAGS_MAX} flags already, archived ones among them"))
    return found


def _taken(ledger: Ledger, subject: str, spec: FlagSpec) -> Iterator[Fault]:
    """Yield the name of an experiment that another flag has: both would be added up as one."""
    if spec.experiment is None:
        return
    for other, state in ledger.flags.items():
        # What a change takes away runs on until that begins, and again where it is aborted.
        known = [one.experiment.name for one in (state.spec, state.before) if one is not None and one.experiment is not None]
        if other != subject and not state.archived and spec.experiment.name in known:
            yield f"{SPEC}.experiment.name", f"{spec.experiment.name} is the experiment of {state.key} already"


def _is_safe(spec: FlagSpec, before: FlagState | None) -> bool:
    """Return whether a spec gives everyone what is the safe variant now, with the value that it has now (G2): those too who miss
    a prerequisite.
    """
    definition, safe = spec.decoded(), safe_variant(before.spec if before is not None else spec)
    always = definition.state is State.ENABLED and not definition.targeting and definition.default_variant == safe
    return always and safe_variant(spec) == safe and not any(_other_pins(spec, before))


def _other_pins(spec: FlagSpec, before: FlagState | None) -> Iterator[Fault]:
    """Yield which variant that pins a flag a spec gives another value than everyone is safe with now. Where nothing of what was
    set before is kept, everyone would have it at once, or by a kill (G2).
    """
    if before is None:
        return
    old, new = before.spec, spec.decoded().variants
    had = old.decoded().variants
    safe, kill = encode(had[safe_variant(old)]), encode(had[kill_variant(old)])
    remedy = "set it with a change that comes after this one"
    if encode(new[safe_variant(spec)]) != safe:
        yield f"{SPEC}.safeVariant", f"everyone would have {safe_variant(spec)!r} at once, whose value is another; {remedy}"
    if encode(new[kill_variant(spec)]) not in (safe, kill):
        yield (
            f"{SPEC}.killVariant",
            f"a kill would give everyone {kill_variant(spec)!r} at once, whose value is another; {remedy}",
        )


def _wanted(
    before: FlagState | None, intent: Intent, spec: FlagSpec, course: FlagRamp | None, key: PublicKey | None
) -> FlagState:
    """Return the state in which a change waits to begin. Of a flag that everyone has the safe variant of, nothing comes back but
    what is set now: outside of its share the safe variant stays.
    """
    old = before or FlagState(subject=intent.subject, spec=spec)
    keeps = before is not None and not before.pinned and before.weight > 0
    return replace(
        old,
        fleet=intent.fleet,
        spec=spec,
        weight=0,
        held=0,
        before=old.spec if keeps else None,
        before_weight=old.weight if keeps else 0,
        ramp=course,
        phase=Phase.IDLE,
        result=RampResult.NONE,
        paused_reason=None,
        proposed=intent.id,
        proposer=intent.actor,
        proposer_key=key.id if key is not None else "",
        why=intent.reason,
        approved=False,
        placement="",
        off=Off.NONE,
    )


def _between(ledger: Ledger, state: FlagState) -> Iterator[Fault]:
    """Yield what cannot be published of a flag, or of those that need it, at some stage of its way."""
    key, others = state.key, _linked(ledger, state)
    if state.spec.layer is not None:
        specs = {name: one.spec for name, one in others.items()}
        specs |= {f"{name}, as it was": one.before for name, one in others.items() if one.before is not None}
        yield from ((f"{SPEC}.layer", problem) for _, problem in layer_faults(specs | {key.name: state.spec}))
    needed = {name: needs(one) for name, one in (*others.items(), (key.name, state)) if needs(one)}
    try:
        dependent = after(key.name, needed)
    except Malformed as fault:
        yield f"{SPEC}.{fault.path}", fault.problem
        return
    for form in _forms(state):
        # Nothing of this form is on the topic: levels of it are made under a number that no record has.
        changed = replace(ledger, flags=ledger.flags | {state.subject: replace(form, seq=ledger.seq)})
        levels = FlagLevels(changed)
        try:
            value_of(form, levels.around(form))
        except Malformed as fault:
            yield f"{SPEC}.{fault.path}".rstrip("."), fault.problem
            return
        for name in dependent:
            level = levels.level(others[name].subject)
            if level.fault:
                yield SPEC, f"{others[name].key} needs it, and could not be published any more: {level.fault}"
                return


def _forms(state: FlagState) -> Iterator[FlagState]:
    """Yield a flag as it stands before its ramp, in every kind of stage, and at the end."""
    yield state
    weights: Mapping[int, None] = dict.fromkeys(one.set_weight * PERCENT for one in state.ramp.stages) if state.ramp else {}
    for weight in [one for one in weights if one < WEIGHT_ALL][:1]:
        yield replace(state, weight=weight, placement="judged")
    yield replace(state, weight=WEIGHT_ALL, placement="judged")
    yield replace(state, weight=WEIGHT_ALL, before=None)


def _linked(ledger: Ledger, state: FlagState) -> dict[str, FlagState]:
    """Return the other live flags of the set that have a layer or need others, by name: few, of however many there are."""
    here = beside(state.key, "").subject
    flags = ledger.flags.values()
    found = [one for one in flags if one.spec.prerequisites or one.spec.layer is not None or one.before is not None]
    return {
        one.subject.removeprefix(here): one
        for one in found
        if one.subject.startswith(here) and one.subject != state.subject and not one.archived
    }
