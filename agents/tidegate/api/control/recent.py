"""The last KPIs and scores of each service, as bytes until somebody asks; and each new second of KPIs for who follows them.

Bounded by services, and by panes of each. Seconds are told as they come and are kept for a moment only: who reads too slowly, or
was away, asks for the series again.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TypeVar

from msgspec import Struct

from tidegate.ports import Record
from tidegate.wire.codec import Malformed, convert, decode
from tidegate.wire.judgement import Kpi, Score

TOPICS = ("kpis", "scores")
SERVICES_KEPT = 500
PANES_KEPT = {1: 1_800, 10: 720, 60: 360}
"""Of each service, by length in s: of three cohorts 10 minutes, 40 minutes, 2 hours."""
SCORES_KEPT = 2_400
LIVE_KEPT = 4_096
"""Seconds of all services together that streams may be behind: with 100 services of four cohorts ten seconds."""

Kept = TypeVar("Kept")
_KPI_FIELDS = frozenset(Kpi.__struct_fields__)


class _Head(Struct, frozen=True):
    """What a pane is kept by."""

    window_s: int


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
        self._panes: OrderedDict[str, dict[int, deque[bytes]]] = OrderedDict()
        self._scores: OrderedDict[str, deque[bytes]] = OrderedDict()
        self._live: deque[LivePane] = deque(maxlen=LIVE_KEPT)
        self._bell = asyncio.Event()
        self.number = 0
        """So many seconds were ever told: a reader keeps the number it is at."""

    def see(self, records: Iterable[Record]) -> None:
        """Keep records; the service that was silent longest goes where there are too many."""
        before = self.number
        for record in records:
            if record.value is None or record.key is None:
                continue
            if record.topic == "kpis":
                self._pane(record.key, record.value)
            elif record.topic == "scores":
                _of(self._scores, record.key, lambda: deque(maxlen=SCORES_KEPT)).append(record.value)
        if self.number > before:
            self._bell.set()
            self._bell = asyncio.Event()

    def kpis(self, service: str, window_s: int = 0) -> list[Kpi]:
        """Return panes of a service, the newest first; 0: of all lengths."""
        lengths = self._panes.get(service, {})
        found = [raw for length, kept in lengths.items() if window_s in (0, length) for raw in kept]
        read = (one for raw in found if (one := _kpi(raw)) is not None)
        return sorted(read, key=lambda one: one.end_ms, reverse=True)

    def scores(self, service: str) -> list[Score]:
        """Return scores of a service, the newest first."""
        return [one for raw in reversed(self._scores.get(service, ())) if (one := _score(raw)) is not None]

    def since(self, number: int) -> list[LivePane]:
        """Return the seconds from a number on that are still kept."""
        behind = min(self.number - number, len(self._live))
        return [self._live[at] for at in range(len(self._live) - behind, len(self._live))]

    async def more(self, number: int) -> None:
        """Wait until there is a second from a number on."""
        while self.number <= number:
            await self._bell.wait()

    def _pane(self, service: str, raw: bytes) -> None:
        try:
            length_s = decode(raw, _Head).window_s
        except Malformed:
            return
        if length_s not in PANES_KEPT:
            return
        _of(self._panes, service, _empty)[length_s].append(raw)
        if length_s == 1:
            self._live.append(LivePane(service, raw))
            self.number += 1


def _empty() -> dict[int, deque[bytes]]:
    return {length_s: deque(maxlen=most) for length_s, most in PANES_KEPT.items()}


def _of(services: OrderedDict[str, Kept], service: str, empty: Callable[[], Kept]) -> Kept:
    if service not in services:
        services[service] = empty()
        if len(services) > SERVICES_KEPT:
            services.popitem(last=False)
    services.move_to_end(service)
    return services[service]


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
