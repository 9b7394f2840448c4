"""Freeze calendars against the calendar of the standard library."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.rollout.calendar import MIN_MS, holds, last_edge_ms, next_edge_ms
from tidegate.wire.policies import DAYS, Freeze, Recurring

WEEKEND = Freeze(recurring=Recurring(start="fri 16:00", end="mon 08:00", utc_offset="+01:00"))
NIGHTS = Freeze(recurring=Recurring(start="18:00", end="08:00", utc_offset="-05:30"))
OFFICE = Freeze(recurring=Recurring(start="09:00", end="17:30"))
XMAS = Freeze(from_ms=1_000_000, until_ms=2_000_000)
INCIDENT = Freeze()


def at_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("freeze", "text", "held"),
    [
        (WEEKEND, "2026-12-04T15:59:59+01:00", False),
        (WEEKEND, "2026-12-04T16:00:00+01:00", True),
        (WEEKEND, "2026-12-06T23:59:59+01:00", True),
        (WEEKEND, "2026-12-07T07:59:59+01:00", True),
        (WEEKEND, "2026-12-07T08:00:00+01:00", False),
        (NIGHTS, "2026-12-07T17:59:59-05:30", False),
        (NIGHTS, "2026-12-07T18:00:00-05:30", True),
        (NIGHTS, "2026-12-07T07:59:59-05:30", True),
        (OFFICE, "2026-12-07T12:00:00+00:00", True),
        (OFFICE, "2026-12-07T17:30:00+00:00", False),
        (XMAS, "1970-01-01T00:16:39+00:00", False),
        (XMAS, "1970-01-01T00:16:40+00:00", True),
        (XMAS, "1970-01-01T00:33:20+00:00", False),
        (INCIDENT, "2026-12-07T12:00:00+00:00", True),
    ],
)
def test_a_freeze_holds_from_its_start_up_to_its_end(freeze, text, held):
    assert holds(freeze, at_ms(text)) is held


clock_times = st.builds(lambda hours, minutes: f"{hours:02}:{minutes:02}", st.integers(0, 23), st.integers(0, 59))
week_times = st.builds(lambda day, time: f"{day} {time}", st.sampled_from(DAYS), clock_times)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda one: f"{'-' if one < 0 else '+'}{abs(one) // 60:02}:{abs(one) % 60:02}")
pairs = st.one_of(st.tuples(clock_times, clock_times), st.tuples(week_times, week_times)).filter(lambda one: one[0] != one[1])
recurrings = st.builds(lambda pair, offset: Recurring(start=pair[0], end=pair[1], utc_offset=offset), pairs, offsets)
moments = st.integers(0, at_ms("2100-01-01T00:00:00+00:00"))
freezes = st.builds(
    lambda start, length, recurring: Freeze(from_ms=start, until_ms=start + length if length else 0, recurring=recurring),
    st.just(0) | moments,
    st.just(0) | st.integers(1, 30 * 86_400_000),
    st.none() | recurrings,
)


def minute_of_week(text: str, local: datetime) -> int:
    day, _, clock = text.rpartition(" ")
    hours, minutes = map(int, clock.split(":"))
    return (DAYS.index(day) if day else local.weekday()) * 1_440 + hours * 60 + minutes


@given(recurrings, moments)
def test_what_recurs_agrees_with_the_calendar_of_its_offset(recurring, now_ms):
    zone = timezone(timedelta(minutes=recurring.offset_min))
    local = datetime.fromtimestamp(now_ms / 1_000, UTC).astimezone(zone)
    now = local.weekday() * 1_440 + local.hour * 60 + local.minute
    start, end = minute_of_week(recurring.start, local), minute_of_week(recurring.end, local)
    expected = start <= now < end if start < end else now >= start or now < end
    assert holds(Freeze(recurring=recurring), now_ms) is expected


@given(freezes, moments)
def test_between_two_edges_nothing_changes(freeze, now_ms):
    following = next_edge_ms(freeze, now_ms)
    last = last_edge_ms(freeze, now_ms)
    assert last <= now_ms
    assert following is None or following > now_ms
    assert holds(freeze, last) is holds(freeze, now_ms)
    if following is None:
        assert holds(freeze, now_ms) is holds(freeze, now_ms + 400 * 86_400_000)
    else:
        assert following - max(last, now_ms) <= max(7 * 1_440 * MIN_MS, freeze.from_ms, freeze.until_ms - now_ms)
        assert holds(freeze, following - 1) is holds(freeze, now_ms)
