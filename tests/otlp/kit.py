"""Exports by hand, and a partition that is folded second by second."""

from collections import Counter

from tidegate.otlp import fold
from tidegate.wire.otlp import Explicit, Exponential, Export, Level, Point
from tidegate.wire.telemetry import Telemetry, check

T0_S = 1_700_000_000
DURATION = "http.server.request.duration"
BOUNDS = [0.01, 0.1, 1.0]


def ns(second: float) -> int:
    """Return a time: seconds after T0."""
    return T0_S * 1_000_000_000 + round(second * 1e9)


def explicit(*counts: int) -> Explicit:
    return Explicit(BOUNDS, list(counts))


def point(
    end: float,
    count: int,
    *,
    start: float = 0.0,
    buckets: Explicit | Exponential | None = None,
    series: str = "ok",
    failed: bool = False,
    delta: bool = False,
    metric: str = DURATION,
) -> Point:
    """Return one point; without buckets all requests took 10 to 100 ms."""
    found = Point(
        metric=metric,
        series=series,
        failed=failed,
        delta=delta,
        start_ns=ns(start),
        end_ns=ns(end),
        count=count,
        unit_s=1.0,
        buckets=explicit(0, count, 0, 0) if buckets is None else buckets,
    )
    assert not found.fault()
    return found


def export(end: float, *points: Point, resource: str = "one", levels: tuple[Level, ...] = (), node: str = "web-1") -> Export:
    return Export(
        resource=resource, service="shop", node=node, version="v1", end_ns=ns(end), points=list(points), levels=list(levels)
    )


class Partition:
    """Exports come when they were measured, unless said; rows are made of each second when it is over."""

    def __init__(self, since: float = -10.0) -> None:
        self.state = fold.State(since_ms=ns(since) // 1_000_000, done_s=T0_S + int(since) - 1)
        self.rows: list[Telemetry] = []

    def take(self, one: Export, *, at: float | None = None) -> "Partition":
        append_ms = one.end_ns // 1_000_000 if at is None else ns(at) // 1_000_000
        self.until(append_ms // 1_000 - 1 - T0_S)
        fold.take(self.state, one, append_ms)
        return self

    def until(self, second: int) -> "Partition":
        """Make the rows of every second up to this one."""
        while self.state.done_s < T0_S + second:
            made = list(fold.rows(self.state, self.state.done_s + 1))
            for row in made:
                check(row)
            self.rows += made
        return self

    @property
    def results(self) -> dict[str, int]:
        return {str(result): number for result, number in self.state.results.items()}

    @property
    def told(self) -> list[tuple[int, int, int]]:
        """(second, requests, errors) of every row that is not empty."""
        return [(row.seq - T0_S, row.requests, row.errors) for row in self.rows if row.requests]

    @property
    def requests(self) -> int:
        return sum(row.requests for row in self.rows)

    @property
    def errors(self) -> int:
        return sum(row.errors for row in self.rows)

    @property
    def slots(self) -> Counter[int]:
        """Counts of all rows by bucket index."""
        found: Counter[int] = Counter()
        for row in self.rows:
            if row.latency is not None:
                found.update(dict(enumerate(row.latency.values(), row.latency.offset)))
        return found
