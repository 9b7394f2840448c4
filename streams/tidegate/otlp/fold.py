"""One partition of topic ``otlp``: exports in the order in which they were appended, and of each second its rows.

* A cumulative series counts by what it has grown since its last point; what is not later than that is left aside, so points that
  come twice or in another order change nothing. Its start time is part of its name: where it changes, another life of the process
  counts, and two processes that call themselves the same do not disturb each other. A count that falls began again.
* The first point of a series counts in full if all of it was counted while this fold looked on: since its start, or since the
  last export in which the series did not stand yet. Otherwise it is where counting begins: its numbers may be days old. So it is
  with a series for which there was no room, or that was forgotten.
* A delta counts as it is, once: its times are remembered.
* What was missed is made good by the next point, for up to ``WINDOW_MOST_S``; within the seconds of a usual interval, where it
  was much longer. An interval is the time between two points of a series: forked processes that call themselves the same export
  in turn, and the time between their exports is nobody's.
* When a point was appended decides into which second it goes, and who is there: that clock is the one of the panes (A3). Its own
  clock only says how long it was counted, must be within a minute of the other one, and may be set back.

Rows are made of the log alone: ``boot`` is the resource's digest, ``seq`` the second. Whoever folds the same records makes the
same rows, and those that a predecessor sent already are known as repeats (A1).
"""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from math import ceil

from msgspec import Struct, field
from msgspec.structs import replace

from tidegate.kpi.buckets import histogram_of
from tidegate.otlp.conventions import REQUESTS
from tidegate.otlp.growth import Held, add, growth, held
from tidegate.otlp.portions import NO_LATENCY, Portion
from tidegate.scrape.spread import phase_of
from tidegate.wire.otlp import Export, Point
from tidegate.wire.telemetry import COUNT_MAX, GAUGE_MAX, HISTOGRAM_SLOTS, Source, Telemetry

SECOND_MS = 1_000
SECOND_NS = 1_000_000_000
WINDOW_MOST_S = 75
"""The longest time between two points of a series: the interval that SDKs have unless told otherwise, and a quarter more."""
OFF_MOST_S = 60
"""Clocks and collectors that are further behind or ahead: what they say belongs to no second any more."""
BACK_NS = 5 * SECOND_NS
"""What is older than the last point by more, and yet counts more, comes of a clock that was set back; nearer ones may have been
overtaken, such as the last word before a count fell."""
FORGET_AFTER_S = 2 * WINDOW_MOST_S
FORGET_EVERY_S = 10
PROCESSES_MAX = 50_000
"""Processes known at once in one partition; about 20 kB each."""
SERIES_MAX = 4_000
"""Series of one process: SDKs let a metric have 2,000."""
LEVELS_MAX = 256
INTERVALS_KEPT = 17
"""Of eight forked processes that export at once, two rounds and one more: what happens to all of them once is not usual yet."""
DELTAS_KNOWN = 16
"""Times that are remembered of a delta series; what is older than all of them is left aside."""


class Result(StrEnum):
    """What became of a point."""

    COUNTED = "counted"
    FIRST = "first"
    """Counting begins."""
    OLD = "old"
    """It came before, or a later one did."""
    GAP = "gap"
    """Too long after the last one: counting begins again."""
    LATE = "late"
    """Told over a minute after it was measured, or before."""
    FULL = "full"
    """There is no room for more series or processes."""
    NEWER = "newer"
    """The metric that replaced this one is there too, and counts."""


class Series(Struct):
    """One series as it was. ``ends_ns``: of a delta the last times, of others the last one."""

    ends_ns: tuple[int, ...]
    count: int
    held: Held | None
    heard_s: int


class Taken(Struct):
    """What a point comes to."""

    result: Result
    seconds: int = 0
    """Over how many seconds it was counted."""
    grown: Held | None = None
    """What it adds; None: nothing."""
    interval_s: int = 0
    """The time since the last point of its series, or till the first words of its process; 0 where it is not known."""


class Family(Struct):
    """When a process exported a metric: first, last, and before that."""

    first_ns: int
    last_ns: int
    before_ns: int


class Process(Struct):
    """One resource."""

    export: Export
    """Who it is: what it said first, without points."""
    heard_s: int
    told_ms: int = 0
    """When it last said something of its time."""
    gaps_s: tuple[int, ...] = ()
    """The last times between its exports, whichever process of its name they are of."""
    intervals_s: tuple[int, ...] = ()
    """The last times between two points of a series; of each export the longest."""
    blind_ns: int = -1
    """The latest start of a series that was refused or forgotten: what began until then need not be new."""
    present_s: tuple[int, int] = (0, -1)
    """From when to when it has a row, if only an empty one: the next export is due then, or a moment later."""
    series: dict[tuple[str, str, int], Series] = {}
    families: dict[str, Family] = {}
    levels: dict[tuple[str, str], float] = {}
    portions: list[Portion] = []


class State(Struct):
    """One partition. Mutable; ``since_ms``: of whatever was appended from then on, nothing is missing here."""

    since_ms: int
    done_s: int
    """Rows up to this second were made; what comes for it later goes into the next."""
    processes: dict[str, Process] = {}
    results: Counter[str] = field(default_factory=Counter)
    """Points by ``Result``, since this state began."""
    forgotten_s: int = 0


def take(state: State, export: Export, append_ms: int) -> None:
    """Take one export. Deterministic and total."""
    now_s = append_ms // SECOND_MS
    process = _process(state, export, now_s)
    if process is None:
        state.results[Result.FULL] += len(export.points)
        return
    first_s = max(now_s, state.done_s + 1)
    taken = [(point, _take(state, process, point, now_s)) for point in sorted(export.points, key=_newer_first)]
    interval_s = max((one.interval_s for _, one in taken), default=0)
    if interval_s:
        process.intervals_s = (*process.intervals_s, interval_s)[-INTERVALS_KEPT:]
    if _is_now(export.end_ns, now_s):
        _spoke(process, export, append_ms, first_s)
    counted: dict[int, tuple[list[int], list[int]]] = {}
    for point, one in taken:
        state.results[one.result] += 1
        if one.grown is not None:
            over_s = _spread_s(process, one.seconds)
            if over_s not in counted:
                counted[over_s] = ([0] * (HISTOGRAM_SLOTS + 1), [0] * (HISTOGRAM_SLOTS + 1))
            add(counted[over_s][point.failed], one.grown, point.unit_s, phase_of(first_s))
    process.portions += [Portion(first_s, seconds, *map(_slots, slots)) for seconds, slots in counted.items()]


def rows(state: State, until_s: int) -> Iterator[Telemetry]:
    """Make the rows of every second up to ``until_s`` that were not made before. Forget who has been silent for long."""
    for second in range(max(state.done_s + 1, until_s - WINDOW_MOST_S), until_s + 1):
        for process in state.processes.values():
            row = _row(process, second)
            if row is not None:
                yield row
    state.done_s = max(state.done_s, until_s)
    if until_s - state.forgotten_s >= FORGET_EVERY_S:
        state.forgotten_s = until_s
        _forget(state, until_s - FORGET_AFTER_S)


def skip(state: State, until_s: int) -> None:
    """Make no rows up to a second: a predecessor did, or they are too late for anybody."""
    state.done_s = max(state.done_s, until_s)
    for process in state.processes.values():
        process.portions = [portion for portion in process.portions if portion.last_s > until_s]


def _process(state: State, export: Export, now_s: int) -> Process | None:
    known = state.processes.get(export.resource)
    if known is not None:
        known.heard_s = now_s
        return known
    if len(state.processes) >= PROCESSES_MAX:
        return None
    process = state.processes[export.resource] = Process(export=replace(export, points=[], levels=[]), heard_s=now_s)
    return process


def _is_now(time_ns: int, now_s: int) -> bool:
    return (now_s - OFF_MOST_S) * SECOND_NS <= time_ns <= (now_s + OFF_MOST_S) * SECOND_NS


def _spoke(process: Process, export: Export, append_ms: int, first_s: int) -> None:
    """Note that a process is there, and what it says of itself."""
    if process.told_ms:
        gap_s = min(_seconds((append_ms - process.told_ms) * 1_000_000), WINDOW_MOST_S)
        process.gaps_s = (*process.gaps_s, gap_s)[-INTERVALS_KEPT:]
    process.told_ms = append_ms
    from_s, until_s = process.present_s
    due_s = first_s + max(1, _usual_s(process), _silent_s(process))
    process.present_s = (from_s if first_s <= until_s + 1 else first_s, max(until_s, due_s))
    told = {level.metric for level in export.levels}
    levels = {at: value for at, value in process.levels.items() if at[0] not in told}
    levels |= {(level.metric, level.series): level.value for level in export.levels[: LEVELS_MAX - len(levels)]}
    process.levels = levels


def _usual_s(process: Process) -> int:
    """Return the usual interval: the middle one, for neither an outage nor a flush in between is usual. Where none is known it is
    the time of silence, for a process exports what else it measures before its first request; 0 where that is not known either.
    """
    return sorted(process.intervals_s)[len(process.intervals_s) // 2] if process.intervals_s else _silent_s(process)


def _silent_s(process: Process) -> int:
    """Return for how long a process is silent as a rule, 0 where it is not known: the longest time but one, for an outage is no
    rule, and forked processes that export at once are silent once in a round.
    """
    return sorted(process.gaps_s)[-2 if len(process.gaps_s) > 2 else -1] if process.gaps_s else 0


def _spread_s(process: Process, seconds: int) -> int:
    """Return over how many seconds what was counted in so many is spread."""
    usual_s = _usual_s(process)
    return seconds if not usual_s or seconds <= 2 * usual_s else usual_s


def _newer_first(point: Point) -> tuple[bool, int]:
    convention = REQUESTS.get(point.metric)
    return bool(convention and convention.newer), point.end_ns


def _take(state: State, process: Process, point: Point, now_s: int) -> Taken:
    """Take one point of an export."""
    convention = REQUESTS.get(point.metric)
    if convention is not None and convention.newer in process.families:
        return Taken(Result.NEWER)
    if not _is_now(point.end_ns, now_s):
        return Taken(Result.LATE)
    key = (point.metric, point.series, 0 if point.delta else point.start_ns)
    before = process.series.get(key)
    if before is None and len(process.series) >= SERIES_MAX:
        process.blind_ns = max(process.blind_ns, key[2])
        return Taken(Result.FULL)
    set_back = before is not None and _was_set_back(before, point, now_s)
    if before is not None and not set_back and _is_old(before, point):
        before.heard_s = now_s
        return Taken(Result.OLD)
    if point.delta:
        began_ns = point.start_ns or point.end_ns
    elif before is None:
        began_ns = _began_ns(state, process, point)
    elif set_back:  # the log's clock alone knows how long ago that was
        began_ns = point.end_ns - (now_s - before.heard_s) * SECOND_NS
    else:
        began_ns = before.ends_ns[-1]
    seconds = _seconds(point.end_ns - began_ns)
    within = bool(began_ns) and seconds <= WINDOW_MOST_S
    known_since = point.start_ns if point.delta else before is not None or not process.told_ms
    interval_s = seconds if within and known_since else 0
    if before is not None and not point.delta and before.count == point.count:
        # The rule for most series: nothing was asked there since.
        process.series[key] = Series((point.end_ns,), point.count, before.held, now_s)
        _note(process, point)
        return Taken(Result.COUNTED, interval_s=interval_s)
    now = held(point)
    known = (*(before.ends_ns if before and point.delta and not set_back else ()), point.end_ns)
    process.series[key] = Series(tuple(sorted(known))[-DELTAS_KNOWN:], point.count, None if point.delta else now, now_s)
    _note(process, point)
    if not within:
        return Taken(Result.GAP if began_ns else Result.FIRST)
    grown = now if before is None or point.delta else growth(before.held, now)
    return Taken(Result.COUNTED, seconds, grown, interval_s)


def _was_set_back(before: Series, point: Point, now_s: int) -> bool:
    """Return whether the clock of a process was set back since its last point: it counts more now, at an earlier time. Without a
    start that may be the last word of its life before. Deltas do not tell; but where all times that are known of them have yet to
    come, the clock ran ahead.
    """
    first_ns, last_ns = before.ends_ns[0], before.ends_ns[-1]
    if point.delta:
        return point.end_ns < first_ns and first_ns > now_s * SECOND_NS
    return bool(point.start_ns) and point.end_ns < last_ns - BACK_NS and point.count > before.count


def _is_old(before: Series, point: Point) -> bool:
    if not point.delta:
        return point.end_ns <= before.ends_ns[-1]
    full = len(before.ends_ns) == DELTAS_KNOWN
    return point.end_ns in before.ends_ns or (full and point.end_ns < before.ends_ns[0])


def _began_ns(state: State, process: Process, point: Point) -> int:
    """Return since when all of a new series has been counted before these eyes; 0 where nobody knows."""
    if point.start_ns >= state.since_ms * 1_000_000 and point.end_ns - point.start_ns <= WINDOW_MOST_S * SECOND_NS:
        return max(point.start_ns, 1)
    family = process.families.get(point.metric)
    if family is None or family.first_ns >= point.end_ns or point.start_ns <= process.blind_ns:
        return 0
    if any(key[:2] == (point.metric, point.series) for key in process.series):
        return 0  # another process of the same name, which has run for long
    return family.last_ns if family.last_ns < point.end_ns else family.before_ns


def _note(process: Process, point: Point) -> None:
    family = process.families.get(point.metric)
    if family is None:
        process.families[point.metric] = Family(point.end_ns, point.end_ns, 0)
    elif point.end_ns > family.last_ns:
        family.before_ns, family.last_ns = family.last_ns, point.end_ns


def _slots(counts: list[int]) -> dict[int, int]:
    """Return the counts that are there, by slot; the last one is ``NO_LATENCY``."""
    found = {slot: count for slot, count in enumerate(counts) if count}
    if HISTOGRAM_SLOTS in found:
        found[NO_LATENCY] = found.pop(HISTOGRAM_SLOTS)
    return found


def _seconds(duration_ns: int) -> int:
    """Return over how many seconds a time is spread: timers come a little late, and that makes no second more."""
    return max(1, ceil(duration_ns / SECOND_NS - 0.5))


def _row(process: Process, second: int) -> Telemetry | None:
    due = [portion for portion in process.portions if portion.first_s <= second <= portion.last_s]
    if not due and not process.present_s[0] <= second <= process.present_s[1]:
        return None
    slots, requests, errors = [0] * HISTOGRAM_SLOTS, 0, 0
    for portion in due:
        for failed, share in enumerate(portion.share(second)):
            for slot, count in share:
                requests += count
                errors += count * failed
                if slot != NO_LATENCY:
                    slots[slot] += count
    process.portions = [portion for portion in process.portions if portion.last_s > second]
    export = process.export
    return Telemetry(
        node=export.node,
        service=export.service,
        boot=f"otlp.{export.resource}",
        seq=second,
        version=export.version,
        start_ms=second * SECOND_MS,
        requests=min(requests, COUNT_MAX - 1),
        errors=min(errors, COUNT_MAX - 1),
        latency=histogram_of([min(count, COUNT_MAX - 1) for count in slots]),
        source=Source.OTLP,
        cohort=export.cohort,
        zone=export.zone,
        labels=export.labels,
        gauges=_gauges(process),
    )


def _gauges(process: Process) -> dict[str, float]:
    """Return the levels of each metric, of all its series together."""
    sums: dict[str, float] = {}
    for (metric, _), value in process.levels.items():
        sums[metric] = sums.get(metric, 0.0) + value
    return {metric: value for metric, value in sums.items() if -GAUGE_MAX <= value <= GAUGE_MAX}


def _forget(state: State, before_s: int) -> None:
    for resource, process in [*state.processes.items()]:
        if process.heard_s < before_s:
            del state.processes[resource]
            continue
        for key in [key for key, one in process.series.items() if one.heard_s < before_s]:
            del process.series[key]
            process.blind_ns = max(process.blind_ns, key[2])
        there = {metric for metric, _, _ in process.series}
        process.families = {metric: family for metric, family in process.families.items() if metric in there}
