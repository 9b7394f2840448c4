"""What is said where a request is not served: problem+json (RFC 9457), with what to do about it and the path of each fault."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from msgspec import Struct

MEDIA_TYPE = "application/problem+json"


class Fault(Struct, frozen=True):
    """One thing that is wrong with what was sent. ``path``: where, from ``query``, ``body`` or ``header`` on."""

    path: str
    problem: str


class ProblemBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every answer that is no success."""

    title: str
    status: int
    detail: str
    remedy: str = ""
    faults: tuple[Fault, ...] = ()
    reason: str = ""
    """Of the decision that refuses, where there is one."""
    answers: str = ""
    """What it answers: look it up under requests."""


class Declined(Exception):
    """A request that is not served."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        remedy: str = "",
        *,
        faults: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.body = ProblemBody(
            title=status.phrase,
            status=status.value,
            detail=detail,
            remedy=remedy,
            faults=tuple(Fault(path, problem) for path, problem in faults),
        )
        self.headers = dict(headers or {})


def badly_asked(name: str, problem: str) -> Declined:
    """Return what is said of a query with a fault that its types cannot see."""
    faults = [(f"query.{name}", problem)]
    return Declined(HTTPStatus.BAD_REQUEST, "the query is not as it should be", "see /api/v1/openapi.json", faults=faults)


__all__ = ["MEDIA_TYPE", "Declined", "Fault", "ProblemBody", "badly_asked"]
