"""What a silence hides (I1, I2): an alarm that has everything the silence names, while the silence holds."""

from collections.abc import Iterable, Mapping

from tidegate.wire.decisions import Silence
from tidegate.wire.documents import Hush
from tidegate.wire.judgement import Alarm, AlarmState, Episode


def matches(hush: Hush, alarm: Alarm) -> bool:
    """Return whether an alarm has all that is named. Cohort, metric, version and the like are labels."""
    return (
        hush.service in ("", alarm.service)
        and hush.name in ("", alarm.name)
        and all(alarm.labels.get(name) == value for name, value in hush.labels.items())
    )


def silencing(silences: Iterable[Silence], alarm: Alarm, now_ms: int) -> Silence | None:
    """Return the silence that hides an alarm now, the one that ends last; None: nothing hides it."""
    found = [one for one in silences if one.since_ms <= now_ms < one.hush.until_ms and matches(one.hush, alarm)]
    return max(found, key=lambda one: (one.hush.until_ms, one.id), default=None)


def hidden_by(silence: Silence, alarms: Mapping[str, Alarm], until_ms: int) -> dict[str, tuple[Episode, ...]]:
    """Return what a silence has hidden so far, by key of the alarm: the times at which it fired while the silence held.

    Of each alarm the last 20 times are known. An episode that goes on has the end 0. ``until_ms``: now, or when it was ended.
    """
    found: dict[str, tuple[Episode, ...]] = {}
    over_ms = min(until_ms, silence.hush.until_ms)
    for key, alarm in sorted(alarms.items()):
        if matches(silence.hush, alarm):
            present = Episode(alarm.start_ms, alarm.end_ms if alarm.state is AlarmState.RESOLVED else 0)
            times = (*alarm.past, present)
            during = tuple(one for one in times if one.start_ms < over_ms and (one.end_ms == 0 or one.end_ms > silence.since_ms))
            if during:
                found[key] = during
    return found
