"""Who was refused what: the newest of each kind, for who answers for the tokens."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter

from tidegate.api.control.calls import Route
from tidegate.api.control.problems import Declined

KEPT = 1_000
TEXT_LENGTH_MAX = 150

log_of_api = structlog.wrap_logger(logging.getLogger("tidegate.api"))


class Refusal(Struct, frozen=True, kw_only=True):
    """Attempts that were alike: by the same token, from the same machine, at the same route of the same thing, for one reason.
    Times are milliseconds since the epoch.
    """

    first_ms: int
    last_ms: int
    times: int
    by: str
    """Name of the token; empty: none, or none that is known."""
    peer: str
    """Address that asked: of a proxy, where there is one."""
    route: str
    of: dict[str, str]
    """What the path named."""
    status: int
    why: str


class Attempt(Struct, frozen=True):
    """A request, before it is known whether it is admitted: to which route, of what, from where."""

    route: Route
    path: Mapping[str, str]
    peer: str


class Refusals:
    """Bounded: who repeats an attempt pushes nothing out."""

    def __init__(self, now_ms: Callable[[], int], registry: CollectorRegistry) -> None:
        self._now_ms = now_ms
        self._counter = Counter(
            "tidegate_api_control_refused",
            "Attempts that were not admitted, by route and status.",
            ("route", "status"),
            registry=registry,
        )
        self._kept: OrderedDict[tuple[object, ...], Refusal] = OrderedDict()

    def add(self, attempt: Attempt, by: str, declined: Declined) -> None:
        """Take note of an attempt; ``by``: the token's name."""
        status, why, now_ms = declined.status.value, str(declined), self._now_ms()
        self._counter.labels(attempt.route.name, str(status)).inc()
        of = {part: text[:TEXT_LENGTH_MAX] for part, text in attempt.path.items()}
        key = (by, attempt.peer, attempt.route.name, *sorted(of.items()), status, why)
        before = self._kept.pop(key, None)
        self._kept[key] = Refusal(
            first_ms=before.first_ms if before is not None else now_ms,
            last_ms=now_ms,
            times=before.times + 1 if before is not None else 1,
            by=by,
            peer=attempt.peer,
            route=attempt.route.name,
            of=of,
            status=status,
            why=why,
        )
        log_of_api.warning("refused", route=attempt.route.name, of=of, by=by, peer=attempt.peer, status=status, why=why)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def newest(self) -> list[Refusal]:
        """Return them, the newest first."""
        return list(reversed(self._kept.values()))


__all__ = ["Attempt", "Refusal", "Refusals"]
