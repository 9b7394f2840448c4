"""One closed pane of one service, into the service's book."""

from msgspec.structs import replace

from tidegate.alarms.book import AlarmBook, fold
from tidegate.alarms.budget import count
from tidegate.alarms.conditions import Seen
from tidegate.alarms.registry import conditions_of
from tidegate.wire.judgement import Alarm


def watch(book: AlarmBook, seen: Seen, objective: float | None) -> tuple[AlarmBook, tuple[Alarm, ...]]:
    """Return the book after a pane, and the edges. ``objective``: percent of requests that shall succeed; None: not declared."""
    pane = seen.pane
    budget = count(book.budget, objective, pane)
    conditions = conditions_of(replace(seen, budget=budget))
    return fold(replace(book, budget=budget), conditions, pane.start_ms, pane.end_ms)
