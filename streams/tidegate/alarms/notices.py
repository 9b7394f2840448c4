"""What one target is told, and when (I2): grouped by service and name, told once, told again where it lasts.

It is a matter of levels, not of edges: a desk knows what its target was told last and compares it with what stands now. So a
target that was away for an hour is told how things are, not sixty times how they were; nothing queues up; and a send that failed
is made again with what is true by then. An alarm that came and went before anybody was told is told to nobody; its record has it.
"""

import hashlib
from collections.abc import Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate.alarms.board import Board, hidden, standing, turns
from tidegate.wire.judgement import Alarm, AlarmState


class Policy(Struct, frozen=True, kw_only=True):
    """How a target wants to be told, in ms."""

    wait_ms: int = 2_000
    """So long a group's first news wait for more: nodes that fail together are seen to within a second or two."""
    interval_ms: int = 30_000
    """So long after a notice the next news of its group wait: a storm is one notice, then one every half minute."""
    repeat_ms: int = 4 * 3_600_000
    """What still fires is told again after this: somebody may have forgotten it."""
    together: bool = False
    """Everything is one group: the target groups by itself."""
    hidden_ends: bool = False
    """What becomes hidden is told as over: the target would go on by itself otherwise."""


class Group(Struct, frozen=True, omit_defaults=True):
    """One group at one target: what it was told, when, and since when there is something new. Times in ms; 0: never."""

    told: dict[str, Alarm] = {}
    """What it takes to be firing, by key."""
    told_ms: int = 0
    news_ms: int = 0
    repeats: int = 0
    """How often the same has been told again."""


class Desk(Struct, frozen=True, omit_defaults=True):
    """Everything a target was told, by group; plain data, kept over restarts. Empty groups are not kept."""

    groups: dict[str, Group] = {}


class Notice(Struct, frozen=True, kw_only=True):
    """What a target is to be told now of one group."""

    group: str
    firing: tuple[Alarm, ...]
    over: tuple[Alarm, ...]
    kept: tuple[Alarm, ...] = ()
    """What was told before, goes on, and is hidden by now: no part of what is said."""
    hidden: int = 0
    """So many more of the group fire and are told to nobody."""
    repeats: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether anything that the target knows of fires still."""
        return bool(self.firing or self.kept)

    @property
    def id(self) -> str:
        """The same for the same content, whoever sends it and however often: receivers that keep ids are told once."""
        content = [
            self.group,
            [[alarm.key, alarm.start_ms] for alarm in self.firing],
            [[alarm.key, alarm.start_ms] for alarm in self.over],
            self.repeats,
        ]
        return "msg_" + hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]


def due(desk: Desk, board: Board, policy: Policy, now_ms: int) -> tuple[Desk, tuple[Notice, ...]]:
    """Return the desk as it waits now, and the notices that are due. Total; nothing is told until ``delivered`` says so."""
    groups: dict[str, Group] = {}
    notices: list[Notice] = []
    for name, group, notice in _compared(desk, board, policy, now_ms):
        news = _news(group, notice)
        waiting = replace(group, news_ms=(group.news_ms or now_ms) if news else 0)
        if waiting.told or news:
            due_now = _due_ms(waiting, policy) <= now_ms
            if due_now and not news and not notice.firing:
                waiting, due_now = replace(waiting, told_ms=now_ms), False  # all of it is hidden by now: nobody is told again
            groups[name] = waiting
            if due_now:
                notices.append(notice if news else replace(notice, repeats=group.repeats + 1))
    return Desk(groups), tuple(notices)


def delivered(desk: Desk, notice: Notice, now_ms: int) -> Desk:
    """Return the desk once a target has taken a notice."""
    told = {alarm.key: alarm for alarm in (*notice.firing, *notice.kept)}
    groups = {name: group for name, group in desk.groups.items() if name != notice.group}
    return Desk(groups | ({notice.group: Group(told, now_ms, 0, notice.repeats)} if told else {}))


def wake_at(desk: Desk, board: Board, policy: Policy, now_ms: int) -> int | None:
    """Return the next time at which something may be due without other news, given a desk that ``due`` has returned."""
    times = [_due_ms(group, policy) for group in desk.groups.values()]
    return min((*times, *turns(board, now_ms)), default=None)


def _compared(desk: Desk, board: Board, policy: Policy, now_ms: int) -> Iterator[tuple[str, Group, Notice]]:
    """Yield each group, by name, with the notice that would bring its target up to date."""
    veiled = hidden(board, now_ms)
    standing_now = standing(board, now_ms)
    by_group: dict[str, dict[str, Alarm]] = {name: {} for name in desk.groups}
    for key, alarm in standing_now.items():
        by_group.setdefault("" if policy.together else f"{alarm.service}/{alarm.name}", {})[key] = alarm
    for name, alarms in sorted(by_group.items()):
        group = desk.groups.get(name, Group())
        # What was told and is hidden now is not over for those who were told, unless their target cannot know that, and is not
        # told again. What fires anew meanwhile is told to nobody: to those who were told of the time before, that one is over.
        same = {key for key, told in group.told.items() if key in alarms and alarms[key].start_ms == told.start_ms}
        kept = same if not policy.hidden_ends else set()
        firing = {key: alarm for key, alarm in alarms.items() if key not in veiled}
        on = {key: alarm for key, alarm in alarms.items() if key in veiled and key in kept}
        over = {key: _over(alarm, board, now_ms) for key, alarm in group.told.items() if key not in firing and key not in on}
        yield (
            name,
            group,
            Notice(
                group=name,
                firing=tuple(alarm for _, alarm in sorted(firing.items())),
                over=tuple(alarm for _, alarm in sorted(over.items())),
                kept=tuple(alarm for _, alarm in sorted(on.items())),
                hidden=len(alarms) - len(firing) - len(on),
                repeats=group.repeats,
            ),
        )


def _news(group: Group, notice: Notice) -> bool:
    """Return whether a notice says anything that the target does not know: what began, began anew, or is over."""
    known = {key: alarm.start_ms for key, alarm in group.told.items()}
    return known != {alarm.key: alarm.start_ms for alarm in (*notice.firing, *notice.kept)}


def _due_ms(group: Group, policy: Policy) -> int:
    if group.news_ms:
        waited_ms = group.news_ms + policy.wait_ms
        return max(waited_ms, group.told_ms + policy.interval_ms) if group.told_ms else waited_ms
    return group.told_ms + policy.repeat_ms


def _over(told: Alarm, board: Board, now_ms: int) -> Alarm:
    last = board.alarms.get(told.key)
    if last is not None and last.state is AlarmState.RESOLVED:
        return last
    past = last.past if last is not None else ()
    end_ms = next((one.end_ms for one in past if one.start_ms == told.start_ms), now_ms)
    return replace(told, state=AlarmState.RESOLVED, end_ms=end_ms)
