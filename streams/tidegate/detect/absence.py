"""Absence (C6): what it means when rows do not come, by cohort and by node. No data is never good data.

| who is silent | for | verdict |
|---|---|---|
| start failed (the agent waits for readiness as long as its config says) | - | fail at once |
| second unordered exit within 60 s of the node's own change | - | fail at once |
| one unordered exit within 60 s of the node's own change | - | pause |
| telemetry and agent, while the control reports | 3 s, 10 s | pause, fail |
| telemetry, but the agent says that the service runs | 3 s, 30 s | pause, fail |
| up to 10 % of a cohort, rounded down | 3 s | left out and named |
| canary and control | 3 s | hold: both silent |
| nobody sends requests | 10 s, 15 min | hold, fail |

A node within 60 s of its own change answers for itself; later one silent node of three or more may pause, not fail (C4).
Without a control to report meanwhile, silence pauses at most (C3). After an outage of the broker nobody's silence counts until
everyone had time to connect again: some need seconds longer than others, and that is no fault of what they run.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.findings import Finding, fail, hold, names
from tidegate.detect.presence import Presence, Silence, Watch, fresh, silence
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

PAUSE_MS = 3_000
FAIL_GONE_MS = 10_000
FAIL_MUTE_MS = 30_000
RECONNECT_MS = 10_000
"""Twice the longest wait between two tries of a sender (SDK and node agent: 5 s)."""
IDLE_MS = 10_000
IDLE_FAIL_MS = 15 * 60_000
EXITS_FAIL = 2


class Absence(Struct, frozen=True):
    """What absence says: findings, the nodes silent for 3 s or more, those still changing, and whether the control reports."""

    findings: tuple[Finding, ...] = ()
    silent: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    control_reports: bool = True


def judge_starts(canary: Mapping[str, Watch], now_ms: int, *, first_install: bool) -> Finding | None:
    """Return what failed starts and unordered exits say, or None. The first install of a service has nothing to go back to
    (B7).
    """
    action = Action.PAUSE if first_install else Action.ROLLBACK
    new = [(node, seen) for node, seen in sorted(canary.items()) if seen.running in {"", seen.version}]
    failed = tuple(node for node, seen in new if seen.state is ServiceState.FAILED)
    if failed:
        return fail(Reason.START_FAILED, action, f"The new version did not start on {names(failed)}.")
    exits = [(node, seen.exits) for node, seen in new if fresh(seen, now_ms)]
    twice = tuple(node for node, count in exits if count >= EXITS_FAIL)
    if twice:
        return fail(
            Reason.CRASHED, action, f"The new version exited again by itself on {names(twice)}, within 60 s of its start."
        )
    once = tuple(node for node, count in exits if count == 1)
    if once:
        return fail(
            Reason.CRASHED, Action.PAUSE, f"The new version exited once by itself on {names(once)}, within 60 s of its start."
        )
    return None


def judge_silence(canary: Mapping[str, Watch], control: Mapping[str, Watch], now_ms: int, resumed_ms: int = 0) -> Absence:
    """Return what silence in the pane that ends now says of the canary. ``resumed_ms``: end of the last outage of the broker."""
    stands = {node: _counted(silence(seen, now_ms), now_ms, resumed_ms) for node, seen in sorted(canary.items())}
    changing = tuple(node for node, stand in stands.items() if _waits(stand))
    silent = tuple(node for node, stand in stands.items() if not _waits(stand) and stand.silent_ms >= PAUSE_MS)
    others = [_counted(silence(seen, now_ms), now_ms, resumed_ms) for _, seen in sorted(control.items())]
    reporting = sum(stand.presence is Presence.REPORTING for stand in others)
    reports = 2 * reporting >= len(others) if others else True
    witnesses = reports if others else any(stand.presence is Presence.REPORTING for stand in stands.values())
    found: list[Finding] = []
    if silent and not witnesses:
        if any(stand.presence is Presence.CHANGING for stand in others):
            found.append(hold(Reason.WARMING_UP, "The controls are still changing."))
        else:
            found.append(hold(Reason.BOTH_SILENT, f"Nobody reports: not {names(silent)}, and not who could be compared."))
    elif silent:
        found.extend(_silent(canary, stands, silent, now_ms, compared=bool(others)))
    late = tuple(node for node, stand in stands.items() if node not in changing and stand.presence is not Presence.REPORTING)
    if not found and len(late) > len(stands) // 10:
        found.append(hold(Reason.PARTLY_SILENT, f"No telemetry in this second from {names(late)}."))
    if not reports and not found:
        waiting = any(_waits(stand) for stand in others)
        reason = Reason.WARMING_UP if waiting else Reason.PARTLY_SILENT
        found.append(hold(reason, "The controls are still changing." if waiting else "Most controls do not report."))
    return Absence(tuple(found), silent, changing, reports)


def judge_idle(idle_ms: int, *, compared: bool, watching: bool) -> Finding | None:
    """Return what a canary without any request for so long means, or None."""
    if idle_ms < IDLE_MS:
        return None
    if idle_ms >= IDLE_FAIL_MS and not watching:
        action = Action.ROLLBACK if compared else Action.PAUSE
        return fail(Reason.IDLE_TOO_LONG, action, "The canary had no request for 15 minutes: nothing can be said for it.")
    return hold(Reason.IDLE, f"The canary had no request for {idle_ms // 1_000} s.")


def _counted(stand: Silence, now_ms: int, resumed_ms: int) -> Silence:
    """Return a silence that began no earlier than the time that everyone gets to connect again."""
    if not resumed_ms or stand.presence is Presence.REPORTING:
        return stand
    return replace(stand, silent_ms=min(stand.silent_ms, now_ms - resumed_ms - RECONNECT_MS))


def _waits(stand: Silence) -> bool:
    return stand.presence is Presence.CHANGING or (stand.presence is not Presence.REPORTING and stand.silent_ms < 0)


def _silent(
    canary: Mapping[str, Watch], stands: Mapping[str, Silence], silent: tuple[str, ...], now_ms: int, *, compared: bool
) -> list[Finding]:
    allowed = len(stands) // 10
    young = tuple(node for node in silent if fresh(canary[node], now_ms))
    over = tuple(node for node in silent if stands[node].silent_ms >= _deadline(stands[node]))
    alone = len(canary) >= 3 and len(over) == 1 and over[0] not in young
    if (len(over) > allowed and not alone) or any(node in young for node in over):
        action = Action.ROLLBACK if compared else Action.PAUSE
        return [fail(Reason.SILENT, action, f"{names(over)} fell silent, while others report.")]
    if len(silent) > allowed or young:
        return [fail(Reason.SILENT, Action.PAUSE, f"{names(young or silent)} fell silent 3 s ago or more, while others report.")]
    return []


def _deadline(stand: Silence) -> int:
    return FAIL_MUTE_MS if stand.presence is Presence.MUTE else FAIL_GONE_MS
