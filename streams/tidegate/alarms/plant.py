"""The control plane's own alarms, as far as a judge can see them in its partition: the telemetry behind its clock (A3).

While the clock stands no pane closes, so these are looked at with every record, by the time at which the broker appended it.
They judge nothing; a replay of the partition gives them again.
"""

from collections.abc import Iterable

from tidegate.alarms.book import AlarmBook, fold
from tidegate.alarms.conditions import WRITER, Condition, Rule
from tidegate.wire.judgement import Alarm, AlarmKind, Severity

BEHIND_MS = 10_000
"""So far the clock may stay behind the log: intake reads within a second."""

TELEMETRY_DOWN = AlarmKind(
    name="telemetry_down",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="The watermarks of the telemetry partitions stand more than 5 s apart: parts of the telemetry have stopped, "
    "and no second is judged.",
    remedy="Look at intake (`tidegate_worker_lag_records`) and at the leaders of the telemetry partitions.",
    timing="at once (the spread is the duration), 3 s",
)
CLOCK_STANDING = AlarmKind(
    name="clock_standing",
    severity=Severity.WARNING,
    writer=WRITER,
    meaning="The judge's clock is more than 10 s behind its log: intake lags or stands, so seconds are judged late.",
    remedy="Start more intake workers, or see why theirs stand (`tidegate_worker_lag_records`).",
    timing="at once (the lag is the duration), 10 s",
)
KINDS = (TELEMETRY_DOWN, CLOCK_STANDING)
RULES = {
    TELEMETRY_DOWN.name: Rule(kind=TELEMETRY_DOWN, find=lambda _: (), for_ms=0),
    CLOCK_STANDING.name: Rule(kind=CLOCK_STANDING, find=lambda _: (), for_ms=0, keep_ms=10_000),
}


def look(book: AlarmBook, partition: int, now_ms: int, *, down: bool, behind_ms: int) -> tuple[AlarmBook, tuple[Alarm, ...]]:
    """Return the book after a record appended at ``now_ms``, and the edges. Each partition of judge has its own."""
    found = tuple(_conditions(place_of(partition), down=down, behind_ms=behind_ms))
    return fold(book, found, now_ms, now_ms, RULES) if found or book.watched else (book, ())


def place_of(partition: int) -> str:
    """Return what tells the alarms of a partition from those of others: their label ``metric``."""
    return f"partition-{partition}"


def _conditions(where: str, *, down: bool, behind_ms: int) -> Iterable[Condition]:
    if down:
        summary = "Parts of the telemetry have stopped: no second is judged until they come again."
        yield Condition(name=TELEMETRY_DOWN.name, service="", metric=where, summary=summary)
    if behind_ms > BEHIND_MS:
        summary = f"Telemetry is read {behind_ms / 1000:.0f} s late: seconds are judged so much later."
        yield Condition(name=CLOCK_STANDING.name, service="", metric=where, summary=summary)
