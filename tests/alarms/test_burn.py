"""The error budget over two windows at once (SRE workbook, chapter 5): when it fires, when it ends, what each prevents."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from tests.detect.healthy import START_MS, pane, row

from tidegate.alarms.book import AlarmBook
from tidegate.alarms.budget import BLOCKS, HOUR_MS, MINUTE_MS, WINDOWS_MS, Budget, burn, count
from tidegate.alarms.conditions import Seen
from tidegate.alarms.rules.burn import FAST, SLOW
from tidegate.alarms.watch import watch
from tidegate.wire.judgement import Alarm, AlarmState

OBJECTIVE = 99.9
MINUTE = 60


def traffic(seconds: int, share: Callable[[int], float], rate: int = 1_000) -> Iterator[Alarm]:
    """Yield the edges of a service with so many requests a second, of which a share fails. Time runs in steps of 10 s."""
    book = AlarmBook()
    for second in range(0, seconds, 10):
        seen = Seen(pane=pane(second, [], [], [row("a", requests=rate, errors=round(share(second) * rate))]))
        book, edges = watch(book, seen, OBJECTIVE)
        yield from edges


def told(edges: Iterator[Alarm]) -> list[tuple[str, str, int]]:
    return [
        (
            edge.name,
            str(edge.state),
            ((edge.start_ms if edge.state is AlarmState.FIRING else edge.end_ms) - START_MS) // 1_000,
        )
        for edge in edges
        if edge.name.startswith("slo_")
    ]


def test_an_outage_is_told_within_a_minute_and_over_some_minutes_after_its_end() -> None:
    begin, end = 2 * 60 * MINUTE, 2 * 60 * MINUTE + 5 * MINUTE
    found = told(traffic(end + 90 * MINUTE, lambda second: 1.0 if begin <= second < end else 0.0))
    (first, fired, at), (second, over, until) = [one for one in found if one[0] == "slo_burn_fast"]
    assert (first, fired, second, over) == ("slo_burn_fast", "firing", "slo_burn_fast", "resolved")
    # 1.44 % of an hour is 52 s: with it 2 % of the budget of 30 days are gone.
    assert 40 <= at - begin <= 70
    # The window of an hour stays above its rate for an hour; that of five minutes ends it, and then 30 min and 6 h.
    assert until - end <= 32 * MINUTE


@pytest.mark.parametrize(
    ("sentence", "share", "fires"),
    [
        ("inside of the objective", 0.0009, []),
        ("twice what is allowed: within days", 0.002, ["slo_burn_slow"]),
        ("eight times: 6 h and 30 min", 0.008, ["slo_burn_fast"]),
        ("twenty times: an hour and 5 min", 0.020, ["slo_burn_fast"]),
    ],
)
def test_slow_burns_take_their_time(sentence: str, share: float, fires: list[str]) -> None:
    budget = None
    for minute in range(0, 72 * 60, 2):
        seen = pane(minute * 60, [], [], [row("a", requests=100_000, errors=round(share * 100_000))])
        budget = count(budget, OBJECTIVE, seen)
    assert budget is not None
    now_ms = START_MS + 72 * HOUR_MS
    burning = [
        name
        for name, pairs in (("slo_burn_fast", FAST), ("slo_burn_slow", SLOW))
        if any(
            min(burn(budget, pair.long_ms, now_ms).rate, burn(budget, pair.short_ms, now_ms).rate) >= pair.rate for pair in pairs
        )
    ]
    assert burning[:1] == fires


def test_a_short_spike_alone_does_not_page() -> None:
    """What the long window prevents: a minute of 10 % is twenty times the allowed rate over five, and matters little."""
    begin = 60 * MINUTE
    assert told(traffic(2 * 60 * MINUTE, lambda second: 0.1 if begin <= second < begin + MINUTE else 0.0)) == []


def test_a_few_errors_of_a_seldom_used_service_do_not_page() -> None:
    """What the least number of errors prevents: one of two requests a minute is 5 % of the five minutes, 0.8 % of the hour."""
    assert told(traffic(60 * MINUTE, lambda second: 1.0 if second in (600, 1_200) else 0.0, rate=1)) == []


def test_what_was_not_seen_counts_as_free_of_errors() -> None:
    """A service that begins with a burst of errors has not spent its budget in its first minute."""
    assert told(traffic(20 * MINUTE, lambda second: 0.05 if second < MINUTE else 0.0)) == []


def test_without_an_objective_nothing_is_counted() -> None:
    seen = Seen(pane=pane(0, [], [], [row("a", requests=10, errors=10)]))
    book, edges = watch(AlarmBook(budget=Budget(99.0, START_MS)), seen, None)
    assert (book, edges) == (AlarmBook(), ())


def test_counts_are_exact_to_a_sixtieth_of_a_window_and_small() -> None:
    budget = None
    for second in range(0, 8 * 3_600, 5):
        budget = count(budget, OBJECTIVE, pane(second, [], [], [row("a", requests=7, errors=1)]))
    assert budget is not None
    for length_ms, blocks in budget.windows.items():
        spanned_ms = min(length_ms, 8 * HOUR_MS)
        requests = sum(block.requests for block in blocks)
        assert requests == pytest.approx(7 * spanned_ms / 5_000, rel=1 / BLOCKS + 0.01)
        assert len(blocks) <= BLOCKS + 1
    assert set(budget.windows) == set(WINDOWS_MS)
    assert len(msgspec.msgpack.encode(budget)) < 8_000
    assert {pair.short_ms * 12 for pair in (*FAST, *SLOW)} == {pair.long_ms for pair in (*FAST, *SLOW)}
    assert min(WINDOWS_MS) == 5 * MINUTE_MS
