"""Server-sent events: everything that changes, resumable by the last id, with heartbeats; who does not keep up is let go."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from msgspec import Struct

from tidegate.api.control.calls import Visitor
from tidegate.api.control.happenings import Happening, Position, Window, position_of, told
from tidegate.wire.documents import Report
from tidegate.wire.names import service_subject

PING_S = 15.0
STREAMS_MAX = 500
STREAMS_EACH_MAX = 20


class Event(Struct, frozen=True, kw_only=True):
    """The data of an event."""

    kind: str
    at_ms: int
    subjects: tuple[str, ...]
    about: Struct


class Streams:
    """The open streams of this process. ``still``: whether who asked may go on, asked again with each heartbeat."""

    def __init__(self, window: Window, closing: asyncio.Event) -> None:
        self._window = window
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

    async def stream(self, visitor: Visitor, last: str, still: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield what happens from now on, or since ``last``. A ``reset`` says that something in between is lost: ask for all
        again.
        """
        self._open[visitor.name] = self._open.get(visitor.name, 0) + 1
        try:
            seen, number = self._window.position, self._window.number
            first = f"id: {told(seen)}\n: from here on\n\n".encode()
            if last:
                asked = position_of(last)
                if asked is not None and self._window.holds(asked):
                    seen, number = asked, self._window.first
                    first = f"id: {last}\n: from here on\n\n".encode()
                else:
                    first = _frame("reset", told(seen), b"{}")
            yield first
            async for part in self._from(number, seen, visitor, still):
                yield part
        finally:
            left = self._open[visitor.name] - 1
            if left:
                self._open[visitor.name] = left
            else:
                del self._open[visitor.name]

    async def _from(self, number: int, seen: Position, visitor: Visitor, still: Callable[[], bool]) -> AsyncIterator[bytes]:
        while not self._closing.is_set() and still():
            if number < self._window.first:
                # It reads more slowly than things happen: what it has missed is gone.
                yield _frame("reset", told(self._window.position), b"{}")
                return
            for one in self._window.since(number):
                number += 1
                if one.offset < seen[one.part]:
                    continue
                seen = tuple(map(max, seen, one.after))
                data = _data(one, visitor)
                if data is not None:
                    yield _frame(one.kind, told(seen), data)
                if number < self._window.first:
                    break
            if number < self._window.number:
                continue
            if not await self._changed(number):
                yield b": still here\n\n"

    async def _changed(self, number: int) -> bool:
        """Wait for more, or the end; False where it is time for a sign of life."""
        waits = [asyncio.ensure_future(self._window.more(number)), asyncio.ensure_future(self._closing.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
            return bool(done)
        finally:
            for one in waits:
                one.cancel()


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


def _frame(event: str, name: str, data: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (name.encode(), event.encode(), data)


__all__ = ["PING_S", "STREAMS_EACH_MAX", "STREAMS_MAX", "Streams"]
