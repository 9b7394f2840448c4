"""KPIs of one service over time, by cohort and in columns: as charts draw them."""

from collections.abc import Iterable

from msgspec import Struct

from tidegate.wire.judgement import Kpi


class Series(Struct, frozen=True, kw_only=True):
    """One cohort's closed windows, the oldest first; every column is as long as ``end_ms``. Latencies are milliseconds, rates per
    second; None: there were no requests.
    """

    cohort: str
    subject: str
    """Of a flag that is judged the flag's, and ``cohort`` is a variant."""
    version: str
    """The last one."""
    end_ms: tuple[int, ...]
    requests: tuple[int, ...]
    errors: tuple[int, ...]
    nodes: tuple[int, ...]
    coverage: tuple[float, ...]
    rate: tuple[float, ...]
    error_ratio: tuple[float | None, ...]
    p50_ms: tuple[float | None, ...]
    p95_ms: tuple[float | None, ...]
    p99_ms: tuple[float | None, ...]


def series_of(kpis: Iterable[Kpi]) -> list[Series]:
    """Return the series of KPIs of one service and one length, in any order; one that came twice counts once."""
    cohorts: dict[tuple[str, str], dict[int, Kpi]] = {}
    for one in kpis:
        cohorts.setdefault((one.subject, one.cohort), {})[one.end_ms] = one
    return [_series([kept[end_ms] for end_ms in sorted(kept)]) for _, kept in sorted(cohorts.items())]


def _series(panes: list[Kpi]) -> Series:
    last = panes[-1]
    return Series(
        cohort=last.cohort,
        subject=last.subject,
        version=last.version,
        end_ms=tuple(one.end_ms for one in panes),
        requests=tuple(one.requests for one in panes),
        errors=tuple(one.errors for one in panes),
        nodes=tuple(one.nodes for one in panes),
        coverage=tuple(one.coverage for one in panes),
        rate=tuple(one.rate for one in panes),
        error_ratio=tuple(_or_none(one.error_ratio) for one in panes),
        p50_ms=tuple(_or_none(one.p50_ms) for one in panes),
        p95_ms=tuple(_or_none(one.p95_ms) for one in panes),
        p99_ms=tuple(_or_none(one.p99_ms) for one in panes),
    )


def _or_none(value: float) -> float | None:
    return None if value < 0 else value
