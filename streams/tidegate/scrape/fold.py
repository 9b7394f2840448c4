"""One page after another: the row of the time between two pages of one process, or the reason why there is none.

* A row names one version, so both its pages must come from one process. While a version is swapped, two processes share a
  socket and either may answer: a page then counts only if it says itself which process it is (``process_start_time_seconds``).
* The first page of a process is where counting begins: its numbers may be days old. So up to a second of every new process is
  not counted, and none is counted twice.
* Seconds that were missed are made good by the next page, for up to ten seconds: an answer that fails to come is most often that
  of a service in trouble, and its errors must not be lost with it. The row says how long it is; it counts in its last second.
* A row spans whole seconds, whenever within its second the page came: so there is one row for each pane.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import floor

from msgspec import Struct
from msgspec.structs import replace

from tidegate.kpi.buckets import histogram_of
from tidegate.scrape.increase import increase, latencies, level
from tidegate.scrape.measures import Measures, Selectors
from tidegate.scrape.page import Page
from tidegate.scrape.spread import phase_of
from tidegate.wire.telemetry import COUNT_MAX, GAUGE_MAX, Histogram, Source, Telemetry

GAP_MOST_MS = 10_000


class Target(Struct, frozen=True, kw_only=True):
    """Whose pages these are. ``life`` is that of the agent: with each of them rows are numbered anew."""

    node: str
    service: str
    life: str
    zone: str = ""
    labels: Mapping[str, str] = {}
    measures: Measures


class Scrape(Struct, frozen=True, kw_only=True):
    """One page, and what ran when it came. ``end_ms`` is the full second that is meant.

    ``shared``: another process may have answered in place of this one.
    """

    page: Page
    end_ms: int
    boot: str
    version: str
    ready_ms: int = 0
    shared: bool = False


class State(Struct, frozen=True):
    """The page that the next one is compared with; how many rows its process has had, and what they still owe."""

    last: Scrape | None = None
    seq: int = 0
    errors: int = 0
    """Errors whose requests the page had not counted yet; they come with the next row, or not at all."""
    fractions: Mapping[str, float] = {}


class Result(StrEnum):
    """What became of a page."""

    ROW = "row"
    FIRST = "first"
    """Of its process: counting begins."""
    SHARED = "shared"
    """Nobody knows which process it came from."""
    GAP = "gap"
    """Too long after the last one, or before it: counting begins again."""


def step(target: Target, state: State, scrape: Scrape) -> tuple[State, Telemetry | None, Result]:
    """Take one page. Deterministic and total."""
    last = state.last
    if scrape.shared and not _tells_itself_apart(last, scrape):
        return state, None, Result.SHARED
    if last is None or (last.boot, last.version) != (scrape.boot, scrape.version):
        return State(scrape), None, Result.FIRST
    if last.page.start_s != scrape.page.start_s:
        return State(scrape, state.seq), None, Result.FIRST
    if not 0 < scrape.end_ms - last.end_ms <= GAP_MOST_MS:
        return State(scrape, state.seq), None, Result.GAP
    counts = _Counts(state.fractions)
    row, owed = _row(target, state, scrape, counts)
    compared = replace(scrape, page=scrape.page.over(last.page))
    return State(compared, state.seq + 1, owed, counts.fractions), row, Result.ROW


def _tells_itself_apart(last: Scrape | None, scrape: Scrape) -> bool:
    """Return whether a page of two possible processes is known to be of the one that counts.

    Within its boot the process is the one that answered before; in a new boot it is not.
    """
    if last is None or last.page.start_s is None or scrape.page.start_s is None:
        return False
    return (last.boot == scrape.boot) == (last.page.start_s == scrape.page.start_s)


class _Counts:
    """Whole numbers of quantities that need not be whole: what is left over comes with the next row."""

    def __init__(self, fractions: Mapping[str, float]) -> None:
        self._before = fractions
        self.fractions: dict[str, float] = {}

    def whole(self, name: str, amount: float) -> int:
        total = amount + self._before.get(name, 0.0)
        whole = floor(total)
        if total > whole:
            self.fractions[name] = total - whole
        return min(whole, COUNT_MAX - 1)


def _row(target: Target, state: State, scrape: Scrape, counts: _Counts) -> tuple[Telemetry, int]:
    before, after, measures = state.last.page if state.last else Page(), scrape.page, target.measures
    start_ms = state.last.end_ms if state.last else scrape.end_ms

    def grown(name: str, selectors: Selectors) -> int:
        return counts.whole(name, increase(before, after, selectors))

    traffic = measures.traffic_of(after)
    requests = grown("requests", traffic.requests) if traffic is not None else 0
    failures = grown("errors", traffic.errors) if traffic is not None else 0
    errors = min(requests, failures + state.errors)
    levels = {name: level(after, selectors) for name, selectors in measures.gauges.items()}
    ratios: dict[str, tuple[int, int]] = {}
    for name, (part, whole) in measures.ratios.items():
        of = grown(f"whole of {name}", whole)
        ratios[name] = (min(grown(f"part of {name}", part), of), of)
    row = Telemetry(
        node=target.node,
        service=target.service,
        boot=boot_of(scrape.boot, target.life),
        seq=state.seq + 1,
        version=scrape.version,
        start_ms=start_ms,
        length_ms=scrape.end_ms - start_ms,
        requests=requests,
        errors=errors,
        latency=_latency(before, after, measures, phase_of(state.seq + 1)),
        source=Source.SCRAPE,
        zone=target.zone,
        labels=dict(target.labels),
        uptime_s=max(scrape.end_ms - scrape.ready_ms, 0) / 1_000 if scrape.ready_ms else 0.0,
        gauges={name: value for name, value in levels.items() if value is not None and -GAUGE_MAX <= value <= GAUGE_MAX},
        counters={name: grown(f"counter {name}", selectors) for name, selectors in measures.counters.items()},
        ratios=ratios,
    )
    return row, min(failures, failures + state.errors - errors)


def boot_of(boot: str, life: str) -> str:
    """Return under which name the rows of a process are numbered: not its own, which its SDK may use, and another one for each
    life of the agent (A1).
    """
    return f"{boot}.scrape.{life}"


def _latency(before: Page, after: Page, measures: Measures, phase: int) -> Histogram | None:
    selector = measures.latency_of(after)
    if selector is None:
        return None
    return histogram_of([min(count, COUNT_MAX - 1) for count in latencies(before, after, selector, phase)])
