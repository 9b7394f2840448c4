"""After a restore: what an archive cannot know is asked of a person before anything goes forward.

An archive ends at some moment; what was decided after it, a rollback say, is not in it. So a restored fleet does not go on where
the archive stands: each rollout under way comes back paused, its command names nobody (each node keeps what it runs), and what
was asked for before the restore and goes forward is refused. When a person resumes, the stage bakes anew and asks its gate anew;
a plan that is signed after the restore begins like any other, and no way back ever waits (D5).
"""

from msgspec.structs import replace

from tidegate.rollout.change import Change
from tidegate.rollout.gates import anew
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.scene import Scene
from tidegate.wire.decisions import DecisionKind, SubjectState
from tidegate.wire.documents import Intent, Phase, Verb
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason

_FORWARD = frozenset({Verb.RESUME, Verb.PROMOTE, Verb.RETRY, Verb.SET, Verb.RESTORE, Verb.SHARE})


def unsure(scene: Scene) -> Change | None:
    """Return the pause of a rollout that an archive says is under way, or None where a person has spoken since."""
    state = scene.state
    if state.phase_ms >= scene.ledger.restored_ms or is_unsure(state):
        return None
    return Change(
        kind=DecisionKind.PAUSE,
        reason=Reason.RESTORED,
        subject=state.subject,
        message="The fleet was restored from an archive, which does not say what was decided after it: nodes keep what they run. "
        "Look at what that is, then resume or abort.",
        state=replace(anew(state), phase=Phase.PAUSED, paused_reason=Reason.RESTORED),
    )


def is_unsure(state: SubjectState) -> bool:
    """Return whether a rollout waits for a person since a restore."""
    return state.phase is Phase.PAUSED and state.paused_reason is Reason.RESTORED


def plan_of_before(ledger: Ledger, plan: Plan) -> str:
    """Return why a plan does not begin after a restore, as a sentence; empty where it was signed since."""
    if plan.issued_ms >= ledger.restored_ms:
        return ""
    return "issuedMs: it was signed before the fleet was restored, and the archive does not say whether it has run; sign it again"


def intent_of_before(ledger: Ledger, intent: Intent) -> str:
    """Return why an intent does not count after a restore, as a sentence; empty where it does: it is later, or goes back."""
    if intent.verb not in _FORWARD or intent.issued_ms >= ledger.restored_ms:
        return ""
    return "this was asked before the fleet was restored from an archive; look at what runs, then ask again"
