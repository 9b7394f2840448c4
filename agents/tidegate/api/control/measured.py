"""What was measured last of each cohort, for whoever asks again and again: Prometheus, by ``tidegate.api.metrics_kpis``.

Folded as records come. Bounded: so many cohorts and series, those that were silent longest go first; and what has not been
measured for a minute is gone, for an old value would be shown as the present one.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tidegate.ports import Record
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.judgement import Kpi, Score

WINDOW_S = 10
"""Of what is shown as a present value: a second is too short for a scrape every few seconds."""
STALE_MS = 60_000
COHORTS_KEPT = 5_000
SERIES_KEPT = 10_000
CUSTOM_KEPT = 32
"""Of each cohort: values under names that services choose, and those of probes."""
CUSTOM = ("counter.", "gauge.", "probe.", "ratio.")


class Cohort(Struct, frozen=True):
    """One cohort, or one variant of a flag. ``requests`` and ``errors``: of every second since it was first seen here."""

    requests: int
    errors: int
    end_ms: int
    """End of the last second counted."""
    kpi: Kpi | None = None
    """The last window of ``WINDOW_S``; None: none was complete yet."""


T = TypeVar("T", Cohort, Score)


class _Second(Struct):
    """What is counted of a pane."""

    service: str
    subject: str
    cohort: str
    window_s: int
    end_ms: int
    requests: int
    errors: int


CohortKey = tuple[str, str, str]
"""(service, subject, cohort)."""
SeriesKey = tuple[str, str, str]
"""(service, cohort, metric)."""


class Measured:
    """``see`` on the event loop; ``cohorts`` and ``series`` from any thread, for values are replaced whole."""

    def __init__(self) -> None:
        self._cohorts: OrderedDict[CohortKey, Cohort] = OrderedDict()
        self._scores: OrderedDict[SeriesKey, Score] = OrderedDict()

    def see(self, records: Iterable[Record], now_ms: int) -> None:
        """Fold records of ``kpis`` and ``scores``; what cannot be read, or was seen before, changes nothing."""
        for record in records:
            if record.value is None:
                continue
            if record.topic == "kpis":
                self._measure(record.value)
            elif record.topic == "scores":
                self._score(record.value)
        _drop(self._cohorts, now_ms)
        _drop(self._scores, now_ms)

    def cohorts(self, now_ms: int) -> list[tuple[CohortKey, Cohort]]:
        """Return the cohorts that were measured lately, by name."""
        return sorted((key, one) for key, one in self._cohorts.copy().items() if now_ms - one.end_ms <= STALE_MS)

    def scores(self, now_ms: int) -> list[tuple[SeriesKey, Score]]:
        """Return the last score of each series that was scored lately, by name."""
        return sorted((key, one) for key, one in self._scores.copy().items() if now_ms - one.end_ms <= STALE_MS)

    def _measure(self, raw: bytes) -> None:
        try:
            one = decode(raw, _Second)
        except Malformed:
            return
        key = one.service, one.subject, one.cohort
        before = self._cohorts.get(key)
        if one.window_s == 1 and (before is None or one.end_ms > before.end_ms):
            requests, errors, kpi = (before.requests, before.errors, before.kpi) if before is not None else (0, 0, None)
            _keep(self._cohorts, key, Cohort(requests + one.requests, errors + one.errors, one.end_ms, kpi), COHORTS_KEPT)
        elif one.window_s == WINDOW_S and before is not None:
            self._cohorts[key] = replace(before, kpi=_window(raw, before.kpi))

    def _score(self, raw: bytes) -> None:
        with contextlib.suppress(Malformed):
            score = decode(raw, Score)
            _keep(self._scores, (score.service, score.cohort, score.metric), score, SERIES_KEPT)


def _window(raw: bytes, before: Kpi | None) -> Kpi | None:
    """Return the window that a flat record holds, or the one before where it is no newer or no window."""
    try:
        kpi = decode(raw, Kpi)
        flat = decode(raw, dict[str, str | int | float])
    except Malformed:
        return before
    if before is not None and kpi.end_ms <= before.end_ms:
        return before
    custom = sorted((name, float(one)) for name, one in flat.items() if name.startswith(CUSTOM) and not isinstance(one, str))
    return replace(kpi, values=dict(custom[:CUSTOM_KEPT]))


def _keep(kept: OrderedDict[tuple[str, str, str], T], key: tuple[str, str, str], value: T, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


def _drop(kept: OrderedDict[tuple[str, str, str], T], now_ms: int) -> None:
    while kept and now_ms - next(iter(kept.values())).end_ms > STALE_MS:
        kept.popitem(last=False)


__all__ = ["STALE_MS", "WINDOW_S", "Cohort", "Measured"]
