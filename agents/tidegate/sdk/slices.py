"""Which slices the request at hand belongs to, noted by whoever knows: a flag that is watched and served it, for one.

A request is a block of ``Publisher.request()``, and all that its thread or task does, with the tasks that it begins. A thread
that it starts by hand is no part of it; one of ``asyncio.to_thread`` is.
"""

from contextvars import ContextVar

_noted: ContextVar[set[str] | None] = ContextVar("tidegate_slices", default=None)


def note(name: str) -> None:
    """Let the request at hand count for a slice too; nothing happens outside of one."""
    noted = _noted.get()
    if noted is not None:
        noted.add(name)


def begin() -> tuple[set[str], set[str] | None]:
    """Begin a request; return what is noted in it, and what was noted in the one around it."""
    around, noted = _noted.get(), set[str]()
    _noted.set(noted)
    return noted, around


def end(noted: set[str], around: set[str] | None) -> None:
    """End a request: the one around it was served by the same flags."""
    if around is not None:
        around |= noted
    _noted.set(around)
