"""People, wherever they are: chat, mail, push, SMS, by the library apprise, which knows over a hundred services by an address.

The address holds tokens, so it is a secret. One target for each receiver: what one does not take, others are told all the same.
"""

import datetime as dt
import logging
from functools import partial
from typing import Any

from msgspec import Struct

from tidegate.alarms.notices import Notice, Policy
from tidegate.notify.aside import Aside
from tidegate.notify.targets import Place, Undelivered
from tidegate.notify.words import link, summary
from tidegate.runtime.problem import Problem
from tidegate.runtime.secrets import read_secret
from tidegate.wire.judgement import Alarm, Severity

KIND = "apprise"
NAMED_MAX = 20
"""So many alarms are named in one message; of the rest it says how many there are."""
WITHIN_S = 5
LOUDNESS = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``url``: ``file:PATH`` or ``env:NAME`` of an address as apprise writes it, such as ``slack://...`` or ``mailtos://...``."""

    url: str
    name: str


class People:
    """One receiver."""

    def __init__(self, options: Options, policy: Policy, receiver: Any, console: str) -> None:
        self.name = options.name
        self.policy = policy
        self._receiver = receiver
        self._console = console
        self._aside = Aside(options.name)

    async def send(self, notice: Notice, now_ms: int) -> None:
        """Tell it. Undelivered where it is not taken; the library logs why, without the address.

        The library has no time limit for the whole: what hangs in it is left to itself, and nothing is sent until it has ended.
        """
        loudest = min(notice.firing, key=lambda alarm: [*LOUDNESS].index(alarm.severity), default=None)
        tell = partial(
            self._receiver.notify,
            title=summary(notice),
            body=body(notice, self._console, now_ms),
            notify_type=LOUDNESS[loudest.severity] if loudest is not None else "info" if notice.goes_on else "success",
        )
        if not await self._aside.run(tell):
            raise Undelivered(f"{self._receiver.service_name} did not take it; see the log of apprise above")


def make(options: Options, policy: Policy, place: Place) -> People:
    """Return the target. Problem where the library or a good address is missing; the text does not hold it."""
    try:
        import apprise  # noqa: PLC0415 - of an extra, that only this kind needs
    except ImportError as error:
        raise Problem(
            "notify.targets: the kind apprise needs the library apprise", "pip install 'tidegate[people]'", code=2
        ) from error
    for chatty in ("apprise", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.INFO)  # below that they write addresses
    receiver = apprise.Apprise.instantiate(read_secret(options.url, place.base), suppress_exceptions=True)
    if receiver is None:
        raise Problem(
            f"notify.targets: {options.name}: apprise knows no such address",
            "write it as in https://github.com/caronc/apprise/wiki, one line",
            code=2,
        )
    receiver.socket_connect_timeout = receiver.socket_read_timeout = WITHIN_S
    return People(options, policy, receiver, place.console)


def body(notice: Notice, console: str, now_ms: int) -> str:
    """Return what a person reads: an alarm a line, and where to look further."""
    alarms = (*notice.firing, *notice.over)
    lines = [_line(alarm, now_ms) for alarm in alarms[:NAMED_MAX]]
    if len(alarms) > NAMED_MAX:
        lines.append(f"and {len(alarms) - NAMED_MAX} more")
    if notice.hidden:
        lines.append(f"{notice.hidden} more are silenced or explained by a rollback")
    url = link(console, alarms[0])
    return "\n".join([*lines, url] if url else lines)


def _line(alarm: Alarm, now_ms: int) -> str:
    since = dt.datetime.fromtimestamp(alarm.start_ms / 1_000, tz=dt.UTC)
    what = f"over after {_told(alarm.end_ms - alarm.start_ms)}" if alarm.end_ms else f"for {_told(now_ms - alarm.start_ms)}"
    return f"[{alarm.severity}] {alarm.summary} (since {since:%Y-%m-%d %H:%M:%S} UTC, {what})"


def _told(ms: int) -> str:
    minutes, seconds = divmod(max(0, ms) // 1_000, 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
