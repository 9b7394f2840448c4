"""Server-sent events: everything that changes, resumable by the last id, with heartbeats; who does not keep up is let go.

New seconds of KPIs come to who asks for them by their name, without an id: they are not made up for after a break.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidegate.api.control.calls import Visitor
from tidegate.api.control.happenings import Happening, Kind, Position, Window, position_of, told
from tidegate.api.control.problems import badly_asked
from tidegate.api.control.recent import LivePane, Recent
from tidegate.api.roles import Right
from tidegate.wire.documents import Report
from tidegate.wire.names import is_name, service_of, service_subject

PING_S = 15.0
STREAMS_MAX = 500
STREAMS_EACH_MAX = 20
USUAL = frozenset(Kind) - {Kind.KPI}


class OfEvents(Struct, frozen=True, forbid_unknown_fields=True):
    """Which events."""

    kinds: Annotated[str, Meta(max_length=200)] = ""
    """Some of decision, flag, verdict, alarm, report, kpi, with commas; empty: all but kpi."""
    services: Annotated[str, Meta(max_length=16_384)] = ""
    """With commas: of what concerns a service, only what concerns one of these; empty: everything."""
    last_event_id: Annotated[str, Meta(max_length=200)] = ""
    """As the header Last-Event-ID, which goes before it."""


class Following(Struct, frozen=True):
    """Which events one stream has. ``services`` None: of all; ``last``: the id since which, empty: from now on."""

    kinds: frozenset[Kind] = USUAL
    services: frozenset[str] | None = None
    last: str = ""

    def takes(self, kind: Kind, *subjects: str) -> bool:
        """Return whether an event is wanted: of its kind, and of one of the services where it is of any."""
        if kind not in self.kinds:
            return False
        named = [one for one in map(service_of, subjects) if one is not None]
        return self.services is None or not named or not self.services.isdisjoint(named)


class Event(Struct, frozen=True, kw_only=True):
    """The data of an event."""

    kind: str
    at_ms: int
    subjects: tuple[str, ...]
    about: Struct


class _At:
    """Where one stream is, and what it was sent."""

    def __init__(self, number: int, seen: Position, second: int) -> None:
        self.number = number
        """In the window."""
        self.seen = seen
        self.second = second
        """Among the seconds of KPIs."""


class Streams:
    """The open streams of this process. ``still``: whether who asked may go on, asked again with each heartbeat."""

    def __init__(self, window: Window, recent: Recent, closing: asyncio.Event) -> None:
        self._window = window
        self._recent = recent
        self._closing = closing
        self._open: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many are open."""
        return sum(self._open.values())

    def room(self, visitor: Visitor) -> str:
        """Return why no more can be opened; empty: one can."""
        if self.count >= STREAMS_MAX:
            return f"{STREAMS_MAX} streams are open already"
        if self._open.get(visitor.name, 0) >= STREAMS_EACH_MAX:
            return f"this token has {STREAMS_EACH_MAX} streams open already"
        return ""

    async def stream(self, visitor: Visitor, wanted: Following, still: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield what happens. A ``reset`` says that something in between is lost: ask for all again."""
        self._open[visitor.name] = self._open.get(visitor.name, 0) + 1
        try:
            at = _At(self._window.number, self._window.position, self._recent.number)
            first = f"id: {told(at.seen)}\n: from here on\n\n".encode()
            if wanted.last:
                asked = position_of(wanted.last)
                if asked is not None and self._window.holds(asked):
                    at.seen, at.number = asked, self._window.first
                    first = f"id: {wanted.last}\n: from here on\n\n".encode()
                else:
                    first = _frame("reset", told(at.seen), b"{}")
            yield first
            async for part in self._from(at, visitor, wanted, still):
                yield part
        finally:
            left = self._open[visitor.name] - 1
            if left:
                self._open[visitor.name] = left
            else:
                del self._open[visitor.name]

    async def _from(self, at: _At, visitor: Visitor, wanted: Following, still: Callable[[], bool]) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        spoke_s = clock()
        while not self._closing.is_set() and still():
            if at.number < self._window.first:
                # It reads more slowly than things happen: what it has missed is gone.
                yield _frame("reset", told(self._window.position), b"{}")
                return
            for part in chain(self._happened(at, visitor, wanted), self._seconds(at, visitor, wanted)):
                yield part
                spoke_s = clock()
            if at.number < self._window.number:
                continue
            await self._changed(at, wanted, spoke_s + PING_S - clock())
            if clock() >= spoke_s + PING_S:
                # Also where much happens of which it sees nothing: proxies end what is silent for a minute. The id goes with it,
                # or its last one would fall out of the window meanwhile.
                yield f"id: {told(at.seen)}\n: still here\n\n".encode()
                spoke_s = clock()

    def _happened(self, at: _At, visitor: Visitor, wanted: Following) -> Iterator[bytes]:
        for one in self._window.since(at.number):
            at.number += 1
            if one.offset < at.seen[one.part]:
                continue
            at.seen = tuple(map(max, at.seen, one.after))
            data = _data(one, visitor) if wanted.takes(one.kind, *one.subjects) else None
            if data is not None:
                yield _frame(one.kind, told(at.seen), data)
            if at.number < self._window.first:
                return

    def _seconds(self, at: _At, visitor: Visitor, wanted: Following) -> Iterator[bytes]:
        if Kind.KPI not in wanted.kinds:
            return
        panes, at.second = self._recent.since(at.second), self._recent.number
        subjects = {service: service_subject(service) for service in {one.service for one in panes}}
        mine = {
            name for name, subject in subjects.items() if wanted.takes(Kind.KPI, subject) and visitor.may(Right.READ, subject)
        }
        found = b"".join(_second(one) for one in panes if one.service in mine)
        if found:
            yield found

    async def _changed(self, at: _At, wanted: Following, within_s: float) -> None:
        """Wait for more, for the end, or so long."""
        waits = [asyncio.ensure_future(self._window.more(at.number)), asyncio.ensure_future(self._closing.wait())]
        if Kind.KPI in wanted.kinds:
            waits.append(asyncio.ensure_future(self._recent.more(at.second)))
        try:
            await asyncio.wait(waits, timeout=max(0.0, within_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()


def following_of(asked: OfEvents, last: str) -> Following:
    """Return which events a query asks for, since the id ``last`` if there is one. Declined where it names what there is not."""
    kinds, services = _listed(asked.kinds), _listed(asked.services)
    unknown = [one for one in kinds if one not in frozenset(Kind)]
    if unknown:
        raise badly_asked("kinds", f"{unknown[0][:50]!r} is none of {', '.join(Kind)}")
    strange = [one for one in services if not is_name(one)]
    if strange:
        raise badly_asked("services", f"{strange[0][:150]!r} is no name of a service")
    return Following(frozenset(map(Kind, kinds)) or USUAL, frozenset(services) or None, last)


def _listed(text: str) -> list[str]:
    return [one for one in text.split(",") if one]


def _data(one: Happening, visitor: Visitor) -> bytes | None:
    """Return the data of an event as a visitor may see it; None where it may not."""
    if not visitor.sees(*one.subjects):
        return None
    about, subjects = one.about, one.subjects
    if isinstance(about, Report) and visitor.scopes:
        mine = tuple(service for service in about.services if visitor.sees(service_subject(service.service)))
        about = msgspec.structs.replace(about, services=mine)
        subjects = tuple(service_subject(service.service) for service in mine)
    return msgspec.json.encode(Event(kind=one.kind, at_ms=one.at_ms, subjects=subjects, about=about))


def _second(one: LivePane) -> bytes:
    kpi = one.kpi
    if kpi is None:
        return b""
    event = Event(kind=Kind.KPI, at_ms=kpi.end_ms, subjects=(service_subject(one.service),), about=kpi)
    return b"event: kpi\ndata: %b\n\n" % msgspec.json.encode(event)


def _frame(event: str, name: str, data: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (name.encode(), event.encode(), data)


__all__ = ["PING_S", "STREAMS_EACH_MAX", "STREAMS_MAX", "Following", "OfEvents", "Streams", "following_of"]
