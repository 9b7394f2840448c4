"""What reading routes share: how old an answer is, one thing, a page of things."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from tidegate.api.control.calls import Handle, Nothing, Reply, Route
from tidegate.api.control.mirror import Mirror
from tidegate.api.control.problems import Declined
from tidegate.api.roles import Right
from tidegate.wire.names import NAME_LENGTH_MAX

PAGE = 100
PAGE_MAX = 1_000
T = TypeVar("T")

Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
After = Annotated[str, Meta(max_length=2 * NAME_LENGTH_MAX + 1)]


class Known(Struct, frozen=True, kw_only=True):
    """How old the answer is: what stands in the log below these offsets is in it, and seconds ago that was all there was."""

    lag_s: float
    offsets: dict[str, int]
    now_ms: int
    """By the clock of the API."""


class One(Struct, Generic[T], frozen=True, kw_only=True):
    """One thing."""

    known: Known
    item: T


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """Some things. ``next``: the parameter that brings those behind; None: these are the last."""

    known: Known
    items: Sequence[T]
    next: str | None = None


class Answers:
    """Makes answers of what the mirror knows now."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def known(self) -> Known:
        """Return how old what is told is."""
        return Known(lag_s=round(self._mirror.lag_s or 0.0, 3), offsets=self._mirror.offsets, now_ms=self._mirror.now_ms)

    def one(self, item: object, generation: int | None = None) -> Reply:
        """Return one thing; its generation is its ETag."""
        headers = {} if generation is None else {"ETag": f'"{generation}"'}
        return Reply(One(known=self.known(), item=item), headers=headers)

    def page(self, items: Sequence[object], behind: str | None = None) -> Reply:
        """Return some things."""
        return Reply(Page(known=self.known(), items=items, next=behind))


def reading(path: str, summary: str, handle: Handle, answer: object, query: type[Struct] = Nothing) -> Route:
    """Return a route that reads."""
    return Route(method="GET", path=path, right=Right.READ, summary=summary, handle=handle, answer=answer, query=query)


def first(found: Iterable[T], limit: int) -> list[T]:
    """Return so many of them."""
    return list(islice(found, limit))


def missing(detail: str, remedy: str) -> Declined:
    """Return what is said of what there is not."""
    return Declined(HTTPStatus.NOT_FOUND, detail, remedy)


__all__ = ["PAGE", "PAGE_MAX", "After", "Answers", "Known", "Limit", "One", "Page", "first", "missing", "reading"]
