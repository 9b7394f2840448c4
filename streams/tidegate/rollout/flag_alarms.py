"""The decision agent's alarms about flags, as levels (I1)."""

from collections.abc import Iterator

from tidegate.rollout.flag_steps import lively
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.ramp import Ramp
from tidegate.rollout.restraint import WRITER
from tidegate.rollout.verdicts import STALE_MS
from tidegate.rollout.view import View
from tidegate.wire.flagstates import Off
from tidegate.wire.judgement import Alarm, AlarmKind, Severity

FLAG_OFF = AlarmKind(
    name="flag_switched_off",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="A flag gives everyone its safe variant: its guard's telemetry broke a limit, or a version that it needs went back.",
    remedy="`tidegate flag show SET/FLAG` says why. Set it anew when it is mended; `tidegate flag restore` brings back what was "
    "there.",
    timing="with the decision, until the flag is set, restored or archived",
)
FLAG_UNJUDGED = AlarmKind(
    name="flag_unjudged",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="A flag's ramp goes unjudged for 15 s in a service of its guard: it does not grow, and no fail would be seen.",
    remedy="Does the service run an SDK that reports by variant? Then look at intake, judge and broker. If it lasts, abort.",
    timing="15 s, until the next verdict",
)
KINDS = (FLAG_OFF, FLAG_UNJUDGED)


def flag_alarms(ledger: Ledger, view: View, now_ms: int) -> Iterator[Alarm]:
    """Yield the alarms about flags that are open now."""
    for state in (ledger.flags[subject] for subject in sorted(ledger.stirring)):
        if state.off is Off.NONE or state.archived:
            continue
        yield FLAG_OFF.firing(
            state.subject,
            state.decided_ms,
            f"{state.key} is off ({state.off}).",
            service=state.judged[0] if state.judged else "",
            subject=state.subject,
            labels={"flag": str(state.key)},
        )
    for subject in lively(ledger):
        ramp = Ramp(ledger.flags[subject], view, ledger, now_ms)
        if not ramp.state.placement:
            continue
        for service in ramp.services:
            verdict, since_ms = ramp.verdict(service), ramp.state.decided_ms
            if verdict is not None and verdict.placement == ramp.state.placement:
                since_ms = max(since_ms, verdict.last_pane_ms)
            if now_ms - since_ms > STALE_MS:
                yield FLAG_UNJUDGED.firing(
                    f"{subject}/{service}",
                    since_ms,
                    f"No verdict on {ramp.state.key} comes of {service}: it does not grow, and no fail would be seen.",
                    service=service,
                    subject=subject,
                    labels={"flag": str(ramp.state.key)},
                )
