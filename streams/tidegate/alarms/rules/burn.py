"""The error budget of a service is spent too fast (*The Site Reliability Workbook*, chapter 5; ``tidegate.alarms.budget``)."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from tidegate.alarms.budget import HOUR_MS, MINUTE_MS, burn
from tidegate.alarms.conditions import WRITER, Condition, Rule, Seen
from tidegate.wire.judgement import AlarmKind, Severity

ERRORS_MIN = 10
"""Fewer errors in the long window are no trend: with ten requests an hour a single one would page (chapter 5, "Low-Traffic
Services and Error Budget Alerting").
"""


class Pair(Struct, frozen=True):
    """Both windows must burn at ``rate`` or more."""

    long_ms: int
    short_ms: int
    rate: float
    spent: str
    """Of the budget of 30 days, when it fires."""


FAST = (Pair(HOUR_MS, 5 * MINUTE_MS, 14.4, "2 %"), Pair(6 * HOUR_MS, 30 * MINUTE_MS, 6.0, "5 %"))
SLOW = (Pair(72 * HOUR_MS, 6 * HOUR_MS, 1.0, "10 %"),)
"""Rates and windows of table 5-8 of the workbook."""


def _finder(name: str, pairs: tuple[Pair, ...]) -> Callable[[Seen], Iterable[Condition]]:
    def find(seen: Seen) -> Iterable[Condition]:
        budget = seen.budget
        if budget is None:
            return
        for pair in pairs:
            now_ms = seen.pane.end_ms
            short = burn(budget, pair.short_ms, now_ms)
            if short.rate < pair.rate:
                continue
            long = burn(budget, pair.long_ms, now_ms)
            if long.rate >= pair.rate and long.errors >= ERRORS_MIN:
                summary = (
                    f"Errors come {short.rate:.1f} times as fast as an objective of {budget.objective:g} % allows: "
                    f"{pair.spent} of the budget of 30 days are gone, {long.errors} errors in {_hours(pair.long_ms)}."
                )
                yield Condition(name=name, service=seen.pane.service, summary=summary)
                return

    return find


def _hours(length_ms: int) -> str:
    hours = length_ms // HOUR_MS
    return "an hour" if hours == 1 else f"{hours} hours"


RULES = (
    Rule(
        kind=AlarmKind(
            name="slo_burn_fast",
            severity=Severity.CRITICAL,
            writer=WRITER,
            meaning="The error budget is spent 14.4 times too fast over 1 h and 5 min, or 6 times over 6 h and 30 min. "
            "Rollouts of the service wait.",
            remedy="Act now: errors reach users. Roll back what changed last, whatever it was.",
            timing="at once (the windows are the duration), 60 s",
        ),
        find=_finder("slo_burn_fast", FAST),
        for_ms=1_000,
        keep_ms=60_000,
    ),
    Rule(
        kind=AlarmKind(
            name="slo_burn_slow",
            severity=Severity.WARNING,
            writer=WRITER,
            meaning="The error budget is spent faster than it comes, over 3 days and 6 h.",
            remedy="Look for it within days: at this rate the objective is missed.",
            timing="at once (the windows are the duration), 60 s",
        ),
        find=_finder("slo_burn_slow", SLOW),
        for_ms=1_000,
        keep_ms=60_000,
    ),
)
