"""The last KPIs and scores of each service: in columns for charts, whole ones as bytes until somebody asks, and each new second
for who follows them.

Bounded by services, by cohorts, and by windows of each. Seconds are told as they come and are kept for a moment only: who reads
too slowly, or was away, asks for the series again.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from functools import cached_property

from msgspec import Struct

from tidegate.model.series import Series, Track
from tidegate.ports import Record
from tidegate.wire.codec import Malformed, convert, decode
from tidegate.wire.judgement import Kpi, Score

TOPICS = ("kpis", "scores")
SERVICES_KEPT = 500
KEPT = {"kpis": 400, "scores": 1_200}
"""Whole records of each service."""
WINDOWS_KEPT = {1: 600, 10: 180, 60: 180}
"""Of each cohort, by length in s: 10 minutes, half an hour, three hours."""
TRACKS_KEPT = 5_000
"""Cohorts by lengths, of all services."""
LIVE_KEPT = 4_096
"""Seconds of all services together that streams may be behind: with 100 services of four cohorts ten seconds."""

_KPI_FIELDS = frozenset(Kpi.__struct_fields__)
TrackKey = tuple[str, str, str, int]
"""(service, subject, cohort, length in s)."""


class LivePane(Struct, frozen=True, dict=True):
    """One new second of one cohort; decoded once, whoever follows."""

    service: str
    raw: bytes

    @cached_property
    def kpi(self) -> Kpi | None:
        """The KPI; None where it is none."""
        return _kpi(self.raw)


class Recent:
    """``see`` takes records as they come; what cannot be read is left out when it is asked for."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[str, deque[bytes]]] = {topic: OrderedDict() for topic in TOPICS}
        self._tracks: OrderedDict[TrackKey, Track] = OrderedDict()
        self._live: deque[LivePane] = deque(maxlen=LIVE_KEPT)
        self._bell = asyncio.Event()
        self.number = 0
        """So many seconds were ever told: a reader keeps the number it is at."""

    def see(self, records: Iterable[Record]) -> None:
        """Keep records; the service that was silent longest goes where there are too many."""
        before = self.number
        for record in records:
            if record.value is None or record.key is None or record.topic not in self._kept:
                continue
            services = self._kept[record.topic]
            if record.key not in services:
                services[record.key] = deque(maxlen=KEPT[record.topic])
                if len(services) > SERVICES_KEPT:
                    services.popitem(last=False)
            services.move_to_end(record.key)
            services[record.key].append(record.value)
            if record.topic == "kpis":
                self._track(record.key, record.value)
        if self.number > before:
            self._bell.set()
            self._bell = asyncio.Event()

    def kpis(self, service: str) -> Iterator[Kpi]:
        """Yield KPIs of a service, the newest first."""
        yield from (one for raw in reversed(self._kept["kpis"].get(service, ())) if (one := _kpi(raw)) is not None)

    def scores(self, service: str) -> Iterator[Score]:
        """Yield scores of a service, the newest first."""
        yield from (one for raw in reversed(self._kept["scores"].get(service, ())) if (one := _score(raw)) is not None)

    def series(self, service: str, window_s: int, since_ms: int = 0) -> list[Series]:
        """Return the windows of one length of a service, by subject and cohort, as far back from its newest as any is kept: a
        cohort that ended before is none.
        """
        keys = sorted(key for key in self._tracks if key[0] == service and key[3] == window_s)
        tracks = [self._tracks[key] for key in keys]
        newest_ms = max((one.end_ms for one in tracks), default=0)
        since_ms = max(since_ms, newest_ms - WINDOWS_KEPT[window_s] * window_s * 1_000)
        return [found for one in tracks if (found := one.series(since_ms)) is not None]

    def since(self, number: int) -> list[LivePane]:
        """Return the seconds from a number on that are still kept."""
        behind = min(self.number - number, len(self._live))
        return [self._live[at] for at in range(len(self._live) - behind, len(self._live))]

    async def more(self, number: int) -> None:
        """Wait until there is a second from a number on."""
        while self.number <= number:
            await self._bell.wait()

    def _track(self, service: str, raw: bytes) -> None:
        try:
            kpi = decode(raw, Kpi)
        except Malformed:
            return
        if kpi.window_s not in WINDOWS_KEPT:
            return
        key = service, kpi.subject, kpi.cohort, kpi.window_s
        if key not in self._tracks:
            self._tracks[key] = Track(WINDOWS_KEPT[kpi.window_s])
            if len(self._tracks) > TRACKS_KEPT:
                self._tracks.popitem(last=False)
        self._tracks.move_to_end(key)
        self._tracks[key].add(kpi)
        if kpi.window_s == 1:
            self._live.append(LivePane(service, raw))
            self.number += 1


def _kpi(raw: bytes) -> Kpi | None:
    """Return the KPI that a flat record holds: what is no field of it is one of its values."""
    try:
        flat = decode(raw, dict[str, str | float | int])
        values = {name: value for name, value in flat.items() if name not in _KPI_FIELDS and isinstance(value, int | float)}
        return convert({name: flat[name] for name in _KPI_FIELDS & flat.keys()} | {"values": values}, Kpi)
    except Malformed:
        return None


def _score(raw: bytes) -> Score | None:
    try:
        return decode(raw, Score)
    except Malformed:
        return None


__all__ = ["LivePane", "Recent"]
