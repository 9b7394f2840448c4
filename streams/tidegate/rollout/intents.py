"""What becomes of an intent: each yields exactly one record, if only a refusal (D3, D5)."""

from typing import assert_never

from msgspec.structs import replace

from tidegate.rollout.approvals import approve
from tidegate.rollout.batches import stopped_by_expiry
from tidegate.rollout.change import Change, refusal
from tidegate.rollout.events import IntentArrived
from tidegate.rollout.flag_answers import ANY_GENERATION as FLAG_ANY_GENERATION
from tidegate.rollout.flag_answers import answer_flag
from tidegate.rollout.gates import pass_gate
from tidegate.rollout.group_answers import answer_group_intent
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.outgoing import answer_gate
from tidegate.rollout.restored import intent_of_before
from tidegate.rollout.retreat import resume, rollback, undone
from tidegate.rollout.scene import Scene, scene_of
from tidegate.rollout.silences import answer_silence
from tidegate.rollout.start import begin, obstacle
from tidegate.rollout.verdicts import lifts_itself
from tidegate.rollout.view import View
from tidegate.rollout.withdrawal import STAYS, aborted, with_queue
from tidegate.wire.decisions import DecisionKind, Result, SubjectState
from tidegate.wire.documents import Intent, Phase, Verb, digest
from tidegate.wire.flagstates import is_flag
from tidegate.wire.groups import is_group
from tidegate.wire.reasons import Reason

ANY_GENERATION = frozenset({Verb.PAUSE, Verb.ABORT, Verb.SILENCE})
"""D3: these hold whatever the person saw. A silence is about alarms, wherever a rollout stands."""


def answer_intent(ledger: Ledger, view: View, event: IntentArrived, now_ms: int) -> list[Change]:
    """Return the one record that answers an intent; none where it was answered before."""
    intent = event.intent
    name = intent.id if intent is not None else digest(event.envelope)
    if name in ledger.answered:
        return []
    if intent is None or event.fault is not None:
        reason, problem = event.fault or Reason.BAD_DOCUMENT, event.problem or "the intent cannot be read"
        subject = intent.subject if intent is not None else event.subject
        return [Change(kind=DecisionKind.REFUSE, reason=reason, subject=subject, message=problem, answers=name)]
    answer, holds = (answer_flag, FLAG_ANY_GENERATION) if is_flag(intent.subject) else (_answer, ANY_GENERATION)
    change = _outdated(ledger, event, intent, holds) or answer(ledger, view, event, intent, now_ms)
    return [replace(change, actor=intent.actor, answers=name)]


def _outdated(ledger: Ledger, event: IntentArrived, intent: Intent, holds: frozenset[Verb]) -> Change | None:
    """Return the refusal of an intent that was asked of another state than is now; ``holds``: verbs that hold whatever it was."""
    generation = ledger.generation(intent.subject)
    if intent.generation != generation and (event.of_gate or intent.verb not in holds):
        message = f"{intent.subject} is at generation {generation}, you saw {intent.generation}; look again, then ask again"
        return refusal(intent, Reason.STALE_GENERATION, message)
    before = intent_of_before(ledger, intent)
    return refusal(intent, Reason.RESTORED, before) if before else None


def _answer(ledger: Ledger, view: View, event: IntentArrived, intent: Intent, now_ms: int) -> Change:
    state = ledger.subject(intent.subject)
    if is_group(intent.subject):
        return answer_group_intent(ledger, view, event, intent, now_ms)
    if event.of_gate:
        return answer_gate(scene_of(ledger, view, intent.subject, now_ms), intent)
    if intent.verb in (Verb.CORDON, Verb.UNCORDON):
        return _cordon(ledger, view, intent)
    if intent.verb in (Verb.SILENCE, Verb.UNSILENCE):
        return answer_silence(ledger, intent, now_ms)
    if intent.verb is Verb.RELEASE:
        return _release(state, intent)
    if intent.verb is Verb.APPROVE:
        return approve(ledger, state, intent, event.key)
    scene = scene_of(ledger, view, intent.subject, now_ms)
    if intent.verb is Verb.ABORT:
        return aborted(ledger, scene, state, intent)
    if scene is None:
        return refusal(intent, Reason.NOTHING_TO_DO, f"no rollout of {intent.subject} was ever started")
    match intent.verb:
        case Verb.PAUSE:
            return _pause(scene, intent)
        case Verb.RESUME:
            return _resume(scene, intent)
        case Verb.PROMOTE:
            return _promote(scene, intent)
        case Verb.UNDO:
            return _undo(ledger, scene, intent)
        case Verb.RETRY:
            return _retry(ledger, scene, intent)
        case Verb.SET | Verb.KILL | Verb.RESTORE | Verb.SHARE | Verb.ARCHIVE:
            return refusal(intent, Reason.NOT_ALLOWED, f"{intent.verb} is asked of a flag; {intent.subject} is none")
        case _:
            assert_never(intent.verb)


def _pause(scene: Scene, intent: Intent) -> Change:
    """Stop a rollout until a person resumes it, one too that stands for a signal and would go on by itself (D5)."""
    phase = scene.state.phase
    if phase is not Phase.RUNNING and not (phase is Phase.PAUSED and lifts_itself(scene.state.paused_reason)):
        waits = "; what waits is withdrawn by rollout abort" if scene.state.queue else ""
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(scene)}; only a running rollout is paused{waits}")
    state = replace(scene.state, phase=Phase.PAUSED, paused_reason=Reason.ASKED)
    return _asked(intent, DecisionKind.PAUSE, "Advances and batches stop; judgement and rollback go on.", state)


def _resume(scene: Scene, intent: Intent) -> Change:
    state = scene.state
    if state.phase is not Phase.PAUSED:
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(scene)}; only a paused rollout is resumed")
    if stopped_by_expiry(scene):
        return refusal(
            intent, Reason.EXPIRED, "the plan has expired: no node applies an advance of it; abort it and sign another"
        )
    return resume(scene, Reason.ASKED, intent.reason or f"The rollout goes on; it was paused ({state.paused_reason}).")


def _promote(scene: Scene, intent: Intent) -> Change:
    """End the bake or the gate of the stage; a fail, readiness, requests and the pass are not a person's to give (D5)."""
    if scene.state.phase is not Phase.RUNNING or scene.state.gate_passed:
        why = "its bake and gate are passed already" if scene.state.gate_passed else "only a running rollout is promoted"
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(scene)}; {why}")
    message = intent.reason or f"Bake and gate of stage {scene.state.stage + 1} end here; the other conditions hold."
    return pass_gate(scene, Reason.ASKED, message)


def _undo(ledger: Ledger, scene: Scene, intent: Intent) -> Change:
    """Go to the plan's rollback target without stages (H2). What waits is withdrawn, as by an abort."""
    state, plan = scene.state, scene.plan
    done = state.phase is Phase.DONE and state.result in STAYS
    if state.phase is not Phase.WATCHING and not done:
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(scene)}; what is promoted is undone, what is under way aborted")
    if plan.rollback is None:
        return refusal(intent, Reason.NOT_ALLOWED, "this was the first plan of the service: there is nothing to go back to")
    back = rollback(
        undone(scene, plan.rollback.artifact), Reason.ASKED, intent.reason or f"{intent.actor} undid it.", Result.ROLLED_BACK
    )
    return with_queue(ledger, back)


def _retry(ledger: Ledger, scene: Scene, intent: Intent) -> Change:
    """Start the last plan again, as its next attempt (B8). Asking for it takes its version out of quarantine."""
    state = scene.state
    if state.phase is not Phase.DONE or state.result in STAYS:
        return refusal(intent, Reason.NOTHING_TO_DO, f"{_what(scene)}; only what was rolled back, aborted or failed is retried")
    if state.queue:
        return refusal(intent, Reason.ALREADY_RUNNING, f"{len(state.queue)} plans wait for their turn")
    version = scene.plan.artifact.version
    freed = replace(state, quarantined=tuple(one for one in state.quarantined if one != version))
    found = obstacle(ledger, scene.view, scene.plan, freed, scene.now_ms)
    if found is not None:
        return refusal(intent, *found)
    return begin(ledger, scene.view, freed, state.plan_digest, scene.now_ms)


def _release(state: SubjectState, intent: Intent) -> Change:
    if intent.target not in state.quarantined:
        listed = ", ".join(state.quarantined) or "none"
        return refusal(intent, Reason.NOTHING_TO_DO, f"{intent.target or 'no version'} is not in quarantine; there: {listed}")
    new = replace(state, quarantined=tuple(one for one in state.quarantined if one != intent.target))
    return _asked(intent, DecisionKind.SETTING, f"{intent.target} may be rolled out again.", new)


def _cordon(ledger: Ledger, view: View, intent: Intent) -> Change:
    node, cordoned = intent.target, set(ledger.cordoned)
    known = node in view.enrolled or node in cordoned
    if not known:
        return refusal(intent, Reason.UNKNOWN, f"no node {node!r} is enrolled")
    if (node in cordoned) is (intent.verb is Verb.CORDON):
        return refusal(intent, Reason.NOTHING_TO_DO, f"{node} is {'cordoned already' if node in cordoned else 'not cordoned'}")
    cordoned ^= {node}
    what = "is no longer chosen for rollouts" if node in cordoned else "may be chosen for rollouts again"
    change = Change(kind=DecisionKind.SETTING, reason=Reason.ASKED, subject=intent.subject, message=f"{node} {what}.")
    return replace(change, cordoned=tuple(sorted(cordoned)), facts={"node": node, "why": intent.reason})


def _asked(intent: Intent, kind: DecisionKind, message: str, state: SubjectState) -> Change:
    return Change(kind=kind, reason=Reason.ASKED, subject=state.subject, message=intent.reason or message, state=state)


def _what(scene: Scene) -> str:
    state = scene.state
    return f"{state.rollout} is {state.phase}" + (f" ({state.result})" if state.result else "")
