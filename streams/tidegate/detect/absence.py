"""Absence (C6): what it means when rows do not come, by cohort and by node. No data is never good data.

| state | when | default: what, and when | in the plan |
|---|---|---|---|
| ok | everyone reports | - | - |
| partly silent | more than 10 % of a cohort, rounded down, without a row | hold, at once | `absence.coverage: 90%` |
| | up to 10 % of it, for 3 s | left out and named | |
| silent | telemetry and agent, while the control reports | pause 3 s, fail 10 s | `absence.silent: {pause: 3s, rollback: 10s}` |
| mute | telemetry, but the agent says that the service runs | pause 3 s, fail 30 s | `absence.mute: {pause: 3s, rollback: 30s}` |
| idle | nobody asks it anything | hold 10 s, fail 15 min in which others are asked | `absence.idle: {hold: 10s, rollback: 15m}` |
| late | over 10 % of a cohort's rows of 10 s came too late to count | hold, at once | `absence.late: {over: 10%, action: hold}` |
| skewed | clocks of over 10 % of a cohort are over 2 s off (A4) | hold, at once | `absence.skewed: {over: 10%, action: hold}` |
| both silent | canary and control for 3 s; without a control, canary and rest | hold | - |
| telemetry down | the watermarks stand apart (A3) | hold | - |

A failed start (the agent waits for readiness as long as its config says), or a second unordered exit within 60 s of the node's
own change, fails at once; one such exit pauses.

A node within 60 s of its own change answers for itself; later one silent node of three or more may pause, not fail (C4).
Without a control to report meanwhile, silence pauses at most (C3). Who is late or has a wrong clock is there, and so not silent.
After an outage of the broker nobody's silence counts until everyone had time to connect again: some need seconds longer than
others, and that is no fault of what they run.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.findings import Finding, fail, hold, names, percent
from tidegate.detect.presence import BLURRED_MS, Presence, Silence, Watch, fresh, silence
from tidegate.kpi.pane import PANE_MS, ServicePane
from tidegate.wire.absence import AbsenceRules, Idleness, Waiting, deadline_ms, of_hundred
from tidegate.wire.names import duration_ms
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

NAMED_MS = 3_000
"""So long silent, and a node is named; sooner where the plan pauses sooner."""
RECONNECT_MS = 25_000
"""A little more than the longest wait between two tries of a sender (node agent: 22 s, SDK: 5 s)."""
EXITS_FAIL = 2
LATE_ROWS_MIN = 3
"""Fewer late rows in 10 s are no habit: of the one or two nodes of a small cohort a single one would be a tenth."""
COHORTS = ("canary", "control")


class Arrivals(Struct, frozen=True, array_like=True):
    """How the rows of one pane came, as (late, on time), for canary and control. Late ones are of earlier seconds."""

    canary: tuple[int, int] = (0, 0)
    control: tuple[int, int] = (0, 0)


class Absence(Struct, frozen=True):
    """What absence says: findings, the nodes silent for 3 s or more, those still changing, and whether the control reports."""

    findings: tuple[Finding, ...] = ()
    silent: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    control_reports: bool = True


class Sight(Struct, frozen=True, kw_only=True):
    """What absence is judged by: members of both cohorts, how rows came lately, and what the plan says of it."""

    canary: Mapping[str, Watch]
    control: Mapping[str, Watch]
    now_ms: int
    rules: AbsenceRules = AbsenceRules()
    arrivals: tuple[Arrivals, ...] = ()
    resumed_ms: int = 0
    """End of the last outage of the broker."""
    rest_reports: bool = False
    """Whether half of the rest, or more, has telemetry in this pane: who else could say that the way of the telemetry is open,
    where there is no control.
    """

    def stands(self, cohort: Mapping[str, Watch]) -> dict[str, Silence]:
        """Return where the nodes of a cohort stand, by name."""
        return {name: _counted(silence(seen, self.now_ms), self) for name, seen in sorted(cohort.items())}


def arrived(before: tuple[Arrivals, ...], pane: ServicePane) -> tuple[Arrivals, ...]:
    """Return how rows came in the last 10 s, with this pane."""
    counts = []
    for name in COHORTS:
        cohort = pane.cohorts.get(name)
        late = sum(pane.late_nodes.get(node, 0) for node in cohort.expected) if cohort is not None and pane.late_nodes else 0
        counts.append((late, len(cohort.reported) if cohort is not None else 0))
    return (*before, Arrivals(*counts))[-(BLURRED_MS // PANE_MS) :]


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


def judge_absence(sight: Sight) -> Absence:
    """Return what the rows that did not come in the pane that ends now say of the canary."""
    stands, others = sight.stands(sight.canary), sight.stands(sight.control)
    changing = tuple(node for node, stand in stands.items() if _waits(stand))
    silent = tuple(node for node, stand in stands.items() if not _waits(stand) and _is_named(stand, sight.rules))
    reporting = sum(stand.presence is Presence.REPORTING for stand in others.values())
    reports = 2 * reporting >= len(others) if others else True
    witnesses = reports
    if not others:
        witnesses = sight.rest_reports or any(stand.presence is Presence.REPORTING for stand in stands.values())
    found: list[Finding] = []
    if silent and not witnesses:
        if any(stand.presence is Presence.CHANGING for stand in others.values()):
            found.append(hold(Reason.WARMING_UP, "The controls are still changing."))
        else:
            found.append(hold(Reason.BOTH_SILENT, f"Nobody reports: not {names(silent)}, and not who could be compared."))
    elif silent:
        found.extend(_silent(sight, stands, silent))
    found.extend(_blurred(sight))
    if not found:
        found.extend(_uncovered(sight, stands, others))
    return Absence(tuple(found), silent, changing, reports)


def judge_idle(idle_ms: int, rules: Idleness, *, compared: bool, waits: bool, unasked_ms: int = 0) -> Finding | None:
    """Return what a canary without any request for so long means, or None. ``waits``: it is held, however long that lasts.

    ``unasked_ms``: for so long of it the others had no request either. A night in which nobody asks anything is no word about the
    release, and not the first request of the morning: only seconds in which others are asked go on to a fail.
    """
    last_ms = deadline_ms(rules.rollback)
    if last_ms is not None and idle_ms - unasked_ms >= last_ms and not waits:
        action = Action.ROLLBACK if compared else Action.PAUSE
        return fail(Reason.IDLE_TOO_LONG, action, f"The canary had no request for {rules.rollback}: nothing can be said for it.")
    if idle_ms < duration_ms(rules.hold):
        return None
    return hold(Reason.IDLE, f"The canary had no request for {idle_ms // 1_000} s.")


def _counted(stand: Silence, sight: Sight) -> Silence:
    """Return a silence that began no earlier than the time that everyone gets to connect again."""
    if not sight.resumed_ms or stand.presence is Presence.REPORTING:
        return stand
    return replace(stand, silent_ms=min(stand.silent_ms, sight.now_ms - sight.resumed_ms - RECONNECT_MS))


def _waits(stand: Silence) -> bool:
    return stand.presence is Presence.CHANGING or (stand.presence is not Presence.REPORTING and stand.silent_ms < 0)


def _deadlines_ms(stand: Silence, rules: AbsenceRules) -> tuple[int | None, int | None]:
    """Return after how long a node's silence pauses, and fails; None: never."""
    state = rules.mute if stand.presence is Presence.MUTE else rules.silent
    return deadline_ms(state.pause), deadline_ms(state.rollback)


def _is_named(stand: Silence, rules: AbsenceRules) -> bool:
    soonest_ms = min(at for at in (*_deadlines_ms(stand, rules), NAMED_MS) if at is not None)
    return stand.presence in (Presence.MUTE, Presence.GONE) and stand.silent_ms >= soonest_ms


def _silent(sight: Sight, stands: Mapping[str, Silence], silent: tuple[str, ...]) -> list[Finding]:
    allowed = _allowed(sight.rules, len(stands))
    young = {node for node in silent if fresh(sight.canary[node], sight.now_ms)}
    pausing, over = (
        tuple(node for node in silent if _passed(stands[node], _deadlines_ms(stands[node], sight.rules)[which]))
        for which in (0, 1)
    )
    alone = len(sight.canary) >= 3 and len(over) == 1 and over[0] not in young
    if (len(over) > allowed and not alone) or young.intersection(over):
        action = Action.ROLLBACK if sight.control else Action.PAUSE
        return [fail(Reason.SILENT, action, f"{_gone(over, stands)}, while others report.")]
    pausing = tuple(dict.fromkeys((*pausing, *over)))
    if len(pausing) > allowed or young.intersection(pausing):
        told = tuple(node for node in pausing if node in young) or pausing
        return [fail(Reason.SILENT, Action.PAUSE, f"{_gone(told, stands)}, while others report.")]
    return []


def _passed(stand: Silence, after_ms: int | None) -> bool:
    return after_ms is not None and stand.silent_ms >= after_ms


def _gone(nodes: tuple[str, ...], stands: Mapping[str, Silence]) -> str:
    """Return who fell silent, and since when, in words."""
    longest_s = max(stands[node].silent_ms for node in nodes) // 1_000
    runs = all(stands[node].presence is Presence.MUTE for node in nodes)
    return f"{names(nodes)} fell silent {longest_s} s ago" + (", though the agent says that the service runs" if runs else "")


def _uncovered(sight: Sight, stands: Mapping[str, Silence], others: Mapping[str, Silence]) -> list[Finding]:
    """Return the hold of a second in which too few of a cohort report: less than its floor is never a pass."""
    away = tuple(node for node, stand in stands.items() if not _waits(stand) and stand.presence is not Presence.REPORTING)
    if len(away) > _allowed(sight.rules, len(stands)):
        return [hold(Reason.PARTLY_SILENT, f"No telemetry in this second from {names(away)}.")]
    missing = tuple(node for node, stand in others.items() if stand.presence is not Presence.REPORTING)
    if len(missing) > _allowed(sight.rules, len(others)):
        if any(_waits(stand) for stand in others.values()):
            return [hold(Reason.WARMING_UP, "The controls are still changing.")]
        return [hold(Reason.PARTLY_SILENT, f"No telemetry in this second from controls: {names(missing)}.")]
    return []


def _blurred(sight: Sight) -> list[Finding]:
    """Return what rows that come too late, and clocks that are wrong, forbid to say."""
    found = []
    for cohort, members in zip(COHORTS, (sight.canary, sight.control), strict=True):
        late = sum(getattr(pane, cohort)[0] for pane in sight.arrivals)
        rows = late + sum(getattr(pane, cohort)[1] for pane in sight.arrivals)
        rule = sight.rules.late
        if late >= LATE_ROWS_MIN and late * 100 > of_hundred(rule.over) * rows:
            who = tuple(node for node, seen in sorted(members.items()) if seen.late_ms > sight.now_ms - BLURRED_MS)
            what = f"{percent(late / rows)} of the {cohort}'s rows of the last 10 s came too late to count"
            found.append(_waiting(Reason.LATE, rule.action, f"{what}: {names(who)}." if who else f"{what}."))
        rule = sight.rules.skewed
        who = tuple(node for node, seen in sorted(members.items()) if seen.skewed_ms > sight.now_ms - BLURRED_MS)
        if len(who) * 100 > of_hundred(rule.over) * len(members):
            what = f"Clocks of the {cohort} are more than 2 s off: {names(who)}. Their seconds are guessed; synchronise them."
            found.append(_waiting(Reason.SKEWED, rule.action, what))
    return found


def _waiting(reason: Reason, action: Waiting, sentence: str) -> Finding:
    return hold(reason, sentence) if action is Waiting.HOLD else fail(reason, Action.PAUSE, sentence)


def _allowed(rules: AbsenceRules, size: int) -> int:
    return size * (100 - of_hundred(rules.coverage)) // 100
