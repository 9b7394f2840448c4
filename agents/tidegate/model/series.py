"""KPIs of cohorts over time, in columns: as charts draw them, and in a fifth of the memory that whole KPIs take."""

from array import array
from bisect import bisect_left
from typing import Any

from msgspec import Struct

from tidegate.wire.judgement import Kpi

COUNTS = ("end_ms", "requests", "errors", "nodes")
RATES = ("coverage", "rate")
IF_ANY = ("error_ratio", "p50_ms", "p95_ms", "p99_ms")
"""Below 0 where there were no requests."""


class Series(Struct, frozen=True, kw_only=True):
    """One cohort's closed windows, the oldest first; every column is as long as ``end_ms``. Latencies are milliseconds, rates per
    second; None: there were no requests.
    """

    cohort: str
    subject: str
    """Of a flag that is judged the flag's, and ``cohort`` is a variant."""
    version: str
    """The last one."""
    end_ms: list[int]
    requests: list[int]
    errors: list[int]
    nodes: list[int]
    coverage: list[float]
    rate: list[float]
    error_ratio: list[float | None]
    p50_ms: list[float | None]
    p95_ms: list[float | None]
    p99_ms: list[float | None]


class Track:
    """The newest windows of one cohort and one length, ``kept`` of them."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._columns: dict[str, array[int] | array[float]] = {name: array("q") for name in COUNTS}
        self._columns |= {name: array("d") for name in (*RATES, *IF_ANY)}
        self._last: Kpi | None = None

    @property
    def end_ms(self) -> int:
        """When the last window ended; 0: there is none."""
        return self._last.end_ms if self._last is not None else 0

    def add(self, kpi: Kpi) -> None:
        """Add a window. One that is not newer than the last changes nothing: a judge that goes on tells some again."""
        if self._last is not None and kpi.end_ms <= self._last.end_ms:
            return
        self._last = kpi
        for name, column in self._columns.items():
            column.append(getattr(kpi, name))
            if len(column) > self._kept + self._kept // 4:
                del column[: -self._kept]

    def series(self, since_ms: int = 0) -> Series | None:
        """Return the windows that ended at a time or later; None where there are none."""
        ends = self._columns["end_ms"]
        first = max(len(ends) - self._kept, bisect_left(ends, since_ms))
        if self._last is None or first >= len(ends):
            return None
        columns: dict[str, Any] = {name: column[first:].tolist() for name, column in self._columns.items()}
        some = {name: [value if value >= 0 else None for value in columns[name]] for name in IF_ANY}
        last = self._last
        return Series(cohort=last.cohort, subject=last.subject, version=last.version, **(columns | some))
