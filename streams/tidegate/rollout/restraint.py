"""What keeps a plan from starting and advancing, whatever its own rollout looks like: policies, open critical alarms, its group's
pause (D4, D5).

An incident is no time to change what it is about (Amazon: an active alarm blocks new starts). A way back waits for neither, and
the fix of an incident says in its plan that it does not wait for the alarm (argo-rollouts 1774: a broken stable version kept out
its fix).
"""

from collections.abc import Iterator

from tidegate.rollout.ledger import Ledger
from tidegate.rollout.membership import holding, told_pause
from tidegate.rollout.policies import Restraint, forbidden, thawed_ms
from tidegate.rollout.seen_alarms import WRITER
from tidegate.rollout.view import View
from tidegate.wire.documents import Phase
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason


def restraint(ledger: Ledger, view: View, plan: Plan, now_ms: int) -> Restraint | None:
    """Return the first of what keeps a plan from starting and advancing now, or None."""
    return next(restraints(ledger, view, plan, now_ms), None)


def restraints(ledger: Ledger, view: View, plan: Plan, now_ms: int) -> Iterator[Restraint]:
    """Yield all of it. No policy and no alarm stops a fast plan: it goes back (H2)."""
    group = holding(ledger, service_subject(plan.service))
    if group is not None and group.phase is Phase.PAUSED:
        yield Reason.GROUP_PAUSED, told_pause(group)
    if plan.fast:
        return
    policy = forbidden(ledger, service_subject(plan.service), now_ms)
    if policy is not None:
        yield policy
    if not plan.despite_alarms:
        yield from open_alarms(view, plan.service)


def open_alarms(view: View, service: str) -> Iterator[Restraint]:
    """Yield the critical alarms of a service that are open, the judge's and others' (D4)."""
    for key in sorted(alarm.key for alarm in view.signals.open.of(service)):
        yield Reason.ALARM_OPEN, f"A critical alarm is open: {key}."


def alarms_ended_ms(view: View, service: str) -> int:
    """Return when the last critical alarm of a service ended; 0: there was none."""
    return max((alarm.end_ms for alarm in view.signals.over.of(service)), default=0)


def freed_ms(ledger: Ledger, view: View, plan: Plan, now_ms: int) -> int:
    """Return when a restraint of a plan may last have begun or ended: nobody can be blamed for the time before."""
    subject = service_subject(plan.service)
    group = holding(ledger, subject)
    resumed_ms = group.phase_ms if group is not None else 0
    return max(thawed_ms(ledger, subject, now_ms), alarms_ended_ms(view, plan.service), resumed_ms)


__all__ = ["WRITER", "alarms_ended_ms", "freed_ms", "open_alarms", "restraint", "restraints"]
