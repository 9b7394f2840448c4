"""Freeze calendars: whether one holds at a time, and when that changes next. No time zones, no clock."""

from tidegate.wire.policies import DAY_MIN, DAYS, Freeze, Recurring

MIN_MS = 60_000
EPOCH_DAY = 3
"""1 January 1970 was a Thursday; weeks begin on Monday here."""


def holds(freeze: Freeze, now_ms: int) -> bool:
    """Return whether a freeze holds: from its first millisecond on, up to and without its last."""
    if now_ms < freeze.from_ms or (freeze.until_ms and now_ms >= freeze.until_ms):
        return False
    if freeze.recurring is None:
        return True
    start, end, now = _position(freeze.recurring, now_ms)
    return start <= now < end if start < end else now >= start or now < end


def next_edge_ms(freeze: Freeze, now_ms: int) -> int | None:
    """Return the next time after ``now_ms`` at which a freeze may begin or end; None where none comes."""
    times = [at for at in (freeze.from_ms, freeze.until_ms) if at > now_ms]
    if freeze.recurring is not None and not (freeze.until_ms and now_ms >= freeze.until_ms):
        start, end, now = _position(freeze.recurring, now_ms)
        span_ms = freeze.recurring.span_min * MIN_MS
        times += [now_ms + ((edge - now) % span_ms or span_ms) for edge in (start, end)]
    return min(times, default=None)


def last_edge_ms(freeze: Freeze, now_ms: int) -> int:
    """Return the last time up to ``now_ms`` at which a freeze may have begun or ended; 0 where none was."""
    times = [at for at in (freeze.from_ms, freeze.until_ms) if at <= now_ms]
    if freeze.recurring is not None:
        upto_ms = min(now_ms, freeze.until_ms or now_ms)
        start, end, now = _position(freeze.recurring, upto_ms)
        span_ms = freeze.recurring.span_min * MIN_MS
        edges = [upto_ms - (now - edge) % span_ms for edge in (start, end)]
        times += [edge for edge in edges if edge >= freeze.from_ms]
    return max(times, default=0)


def shown(freeze: Freeze) -> str:
    """Return what a calendar says, beside its dates, in words.

    >>> shown(Freeze(recurring=Recurring(start="fri 16:00", end="mon 08:00", utc_offset="+01:00")))
    'fri 16:00 to mon 08:00 (UTC+01:00) every week'
    """
    recurring = freeze.recurring
    if recurring is None:
        return "until it is lifted" if not freeze.until_ms else "until its end"
    every = "day" if recurring.span_min == DAY_MIN else "week"
    return f"{recurring.start} to {recurring.end} (UTC{recurring.utc_offset}) every {every}"


def _position(recurring: Recurring, now_ms: int) -> tuple[int, int, int]:
    """Return start, end and now as milliseconds since local midnight, or since Monday's where days are named."""
    local_ms = now_ms + (recurring.offset_min + EPOCH_DAY * DAY_MIN) * MIN_MS
    return _minute(recurring.start) * MIN_MS, _minute(recurring.end) * MIN_MS, local_ms % (recurring.span_min * MIN_MS)


def _minute(text: str) -> int:
    day, _, clock = text.rpartition(" ")
    hours, minutes = clock.split(":")
    return (DAYS.index(day) if day else 0) * DAY_MIN + int(hours) * 60 + int(minutes)
