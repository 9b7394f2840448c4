"""One record after another: rows wait in open panes, marks move the clock, the clock closes seconds, a closed second is
judged.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from tidegate.alarms.book import AlarmBook
from tidegate.alarms.conditions import Seen
from tidegate.alarms.plant import look
from tidegate.alarms.watch import watch
from tidegate.detect.scores import scores_of
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, judge_open, learn
from tidegate.judge.flags import flag_kpis, flag_panes
from tidegate.judge.inherited import adopt
from tidegate.judge.memory import RECENT_MS, forget
from tidegate.judge.rows import refuse, take
from tidegate.judge.state import JudgeState
from tidegate.judge.subjects import as_judged, is_large, judgement_of, seen_by
from tidegate.kpi.clock import GRACE_MS
from tidegate.kpi.closing import close
from tidegate.kpi.kpis import kpi_of
from tidegate.kpi.pane import PANE_MS, ServicePane
from tidegate.kpi.rows import Rows, gather
from tidegate.kpi.sources import apart, probed
from tidegate.wire.judgement import Alarm, Kpi, Score, Verdict
from tidegate.wire.names import service_subject
from tidegate.wire.nodeseconds import Context, Record

FORGET_EVERY_MS = 10_000
CLOSE_MOST = 120
"""Seconds closed by one record at most; after a longer gap of the clock the empty ones between are skipped."""


class Outcome(Struct, frozen=True):
    """What one record brought about, in order."""

    kpis: tuple[Kpi, ...] = ()
    scores: tuple[Score, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    alarms: tuple[Alarm, ...] = ()


NOTHING = Outcome()


def step(state: JudgeState, record: Record, append_ms: int) -> Outcome:
    """Fold one record into the state; return what it brought about. ``append_ms``: when the broker appended the record.

    Deterministic. Malformed where the record's columns are torn: nothing of it is folded then.
    """
    if state.lost and not state.begun_ms:
        # Of the second that is under way some rows came before: it is not this state's to judge.
        state.begun_ms = append_ms
        state.closed_ms = -(-append_ms // PANE_MS) * PANE_MS
    adopt(state, append_ms)
    if isinstance(record, Context):
        _know(state, record, append_ms)
        return _looked(state, NOTHING, append_ms)
    take(state, record, append_ms)
    state.clock.fold(record.marks, append_ms)
    return _looked(state, _close(state) if record.marks else NOTHING, append_ms)


def _looked(state: JudgeState, outcome: Outcome, append_ms: int) -> Outcome:
    """Return the outcome with the edges of the control plane's own alarms."""
    now_ms = state.clock.now_ms
    behind_ms = append_ms - now_ms if now_ms is not None else 0
    state.plant, alarms = look(state.plant, state.partition, append_ms, down=state.clock.telemetry_down, behind_ms=behind_ms)
    state.down = state.clock.telemetry_down
    return replace(outcome, alarms=alarms + outcome.alarms) if alarms else outcome


def _know(state: JudgeState, context: Context, append_ms: int) -> None:
    """Keep the context with the greatest (epoch, generation) of a subject on a service (C7)."""
    known = state.contexts.get(context.name)
    if known is None or (context.epoch, context.generation) >= (known.epoch, known.generation):
        state.heard[context.name] = state.clock.now_ms or append_ms
        if context != known:
            state.know(context)


def _close(state: JudgeState) -> Outcome:
    now_ms = state.clock.now_ms
    if now_ms is None:
        return NOTHING
    until_ms = (now_ms - GRACE_MS) // PANE_MS * PANE_MS
    if state.closed_ms is None:
        state.closed_ms = min([until_ms, *state.panes.seconds])
    if state.clock.catching_up:
        return NOTHING
    kpis: list[Kpi] = []
    scores: list[Score] = []
    verdicts: list[Verdict] = []
    alarms: list[Alarm] = []
    for start_ms in _due(state, until_ms):
        for pane in _panes(state, start_ms):
            found = _judge(state, pane)
            kpis += found.kpis
            scores += found.scores
            verdicts += found.verdicts
            alarms += found.alarms
        state.closed_ms = start_ms + PANE_MS
        if state.closed_ms % FORGET_EVERY_MS == 0:
            forget(state, state.closed_ms)
    state.panes.closed(state.closed_ms)
    verdicts += _early(state, now_ms)
    return Outcome(tuple(kpis), tuple(scores), tuple(verdicts), tuple(alarms))


def _early(state: JudgeState, now_ms: int) -> Iterable[Verdict]:
    """Yield fails that need not wait for the grace (C4): judged on the first open pane once it is over, at most one a pane."""
    start_ms = state.closed_ms or 0
    parts = state.panes.seconds.get(start_ms, [])
    if now_ms < start_ms + PANE_MS or state.looked == (start_ms, len(parts)):
        return
    state.looked = (start_ms, len(parts))
    waiting = {
        name: context
        for name, context in sorted(state.contexts.items())
        if context.placement and state.early.get(name) != start_ms and not is_large(state, context)
    }
    services: dict[str, Collection[str]] = {context.service: () for context in waiting.values()}
    if not services:
        return
    rows, probes = _parted(state, start_ms, gather(parts, services), services)
    heeded = state.sources.heeded(rows, start_ms)
    flags, _ = flag_panes(state, start_ms, heeded, {context.service for context in waiting.values() if context.of_flag})

    def failing(contexts: Mapping[str, Context], edges: Mapping[str, tuple[int, ...]]) -> dict[str, Verdict]:
        closed = close(start_ms, heeded, state.members, services, edges)
        panes = {
            pane.service: replace(pane, probe=probes.get(pane.service), flags=flags.get(pane.service, {})) for pane in closed
        }
        seen = {name: seen_by(context, panes[context.service]) for name, context in contexts.items()}
        found = {
            name: judge_open(judgement_of(state, context), as_judged(context), seen[name], now_ms)
            for name, context in contexts.items()
        }
        return {name: verdict for name, verdict in found.items() if verdict is not None}

    # The rest and its strata only excuse (C2), and to look at each of its nodes costs as much as all else here: first without.
    suspected = {name: waiting[name] for name in failing(waiting, {})}
    if suspected:
        edges = state.edges()
        for name, verdict in failing(suspected, {one.service: edges.get(one.service, ()) for one in suspected.values()}).items():
            state.early[name] = start_ms
            yield verdict


def _due(state: JudgeState, until_ms: int) -> Iterable[int]:
    """Return the seconds to close, in order: all, or after a long gap those with rows and the last ones."""
    first_ms = state.closed_ms or 0
    start_ms = max(first_ms, until_ms - CLOSE_MOST * PANE_MS)
    skipped = sorted(second for second in state.panes.seconds if first_ms <= second < start_ms)
    return [*skipped, *range(start_ms, until_ms, PANE_MS)]


def _panes(state: JudgeState, start_ms: int) -> Iterable[ServicePane]:
    if state.panes.is_void(start_ms):
        # Nobody knows who was there. As after an outage, nobody's silence counts at once.
        state.clock.resumed_ms = max(state.clock.resumed_ms, state.panes.void_ms[1])
        return
    rows = gather(state.panes.take(start_ms))
    services: dict[str, Collection[str]] = dict.fromkeys(state.waiting(), ())
    for service, node in rows.places:
        known = state.seen.get(service)
        if known is not None:
            known[node] = start_ms
        elif service == state.overflow:
            services[service] = (node,)  # it is not missed later
        else:
            state.seen[service] = {node: start_ms}
    for service, nodes in state.seen.items():
        services[service] = [node for node, last_ms in nodes.items() if last_ms > start_ms - RECENT_MS]
    rows, probes = _parted(state, start_ms, rows, services)
    heeded = state.sources.heeded(rows, start_ms)
    state.sources.hear(rows, start_ms)
    flags, refusals = flag_panes(state, start_ms, heeded, services)
    refuse(state, refusals)
    for pane in close(start_ms, heeded, state.members, services, state.edges()):
        late, excluded = state.late.pop(pane.service, 0), state.excluded.pop(pane.service, None)
        exceeded = state.exceeded.pop(pane.service, {})
        late_nodes = {node: len(seconds) for node, seconds in state.late_seconds.pop(pane.service, {}).items()}
        skewed = frozenset(state.skewed.pop(pane.service, ()))
        probe = probes.get(pane.service)
        state.tally.panes += 1
        state.tally.transition += pane.transition_rows + (probe.transition_rows if probe is not None else 0)
        yield replace(
            pane,
            late_rows=late,
            excluded_nodes=tuple(sorted(excluded or ())),
            exceeded=exceeded,
            late_nodes=late_nodes,
            skewed_nodes=skewed,
            probe=replace(probe, late_nodes=late_nodes, skewed_nodes=skewed) if probe is not None else None,
            flags=flags.get(pane.service, {}),
        )


def _parted(
    state: JudgeState, start_ms: int, rows: Rows, services: Mapping[str, Collection[str]]
) -> tuple[Rows, dict[str, ServicePane]]:
    """Return the rows of what people ask, and the panes of what probes saw (I2), by service."""
    edges = state.probed()
    asked = (edges.keys() | probed(rows)) & services.keys()
    if not asked:
        return rows, {}
    people, probes = apart(rows, asked)
    panes = close(start_ms, probes, state.members, {service: services[service] for service in asked}, edges)
    return people, {pane.service: pane for pane in panes}


def _judge(state: JudgeState, pane: ServicePane) -> Outcome:
    own = state.contexts.get(service_subject(pane.service))
    kpis = [
        kpi_of(pane.service, cohort, pane.end_ms, seconds, window, own)
        for seconds, cohort, window in state.windows.add(pane)
        if pane.end_ms - seconds * 1_000 >= state.begun_ms
    ]
    for kpi in kpis:
        if kpi.window_s == 1:
            state.metrics.said(kpi.service, kpi.values, kpi.end_ms)
    verdicts: list[Verdict] = []
    for context in state.of_service.get(pane.service, ()):
        subject = judgement_of(state, context)
        if context.placement:
            now_ms = state.clock.now_ms or pane.end_ms
            if context.of_flag:
                subject = replace(subject, served=pane.flags[context.subject].served)
            state.subjects[context.name], verdict = judge(
                subject,
                as_judged(context),
                seen_by(context, pane),
                now_ms,
                telemetry_down=state.clock.telemetry_down,
                resumed_ms=state.clock.resumed_ms,
            )
            verdicts.append(verdict)
        elif context.of_flag:
            state.subjects.pop(context.name, None)
        else:
            state.subjects[context.name] = learn(subject, pane, context.probe)
    if own is None and pane.service != state.overflow:
        name = service_subject(pane.service)
        state.subjects[name] = learn(state.subjects.get(name, SubjectJudgement()), pane)
    scores = _scores(state, kpis)
    kpis += flag_kpis(state, pane)
    seen = Seen(pane=pane, verdicts=tuple(verdicts), scores=scores)
    book, alarms = watch(state.books.pop(pane.service, AlarmBook()), seen, own.slo if own is not None else None)
    if not book.empty:
        state.books[pane.service] = book
    return Outcome(tuple(kpis), scores, seen.verdicts, alarms)


def _scores(state: JudgeState, kpis: Iterable[Kpi]) -> tuple[Score, ...]:
    return tuple(score for kpi in kpis if kpi.window_s == 1 for score in scores_of(state.scores, kpi))
