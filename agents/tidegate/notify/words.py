"""An alarm as Alertmanager and its webhooks write one: labels that identify, annotations that explain."""

import datetime as dt
import re
from typing import Any
from urllib.parse import quote

from tidegate.alarms.notices import Notice
from tidegate.wire.flagstates import is_flag
from tidegate.wire.judgement import Alarm, AlarmState
from tidegate.wire.names import FLAG_PREFIX

_NO_NAME = re.compile(r"^(?=[0-9])|[^A-Za-z0-9_]")
"""What Alertmanager takes for no label name: it would refuse the whole post."""


def labels(alarm: Alarm) -> dict[str, str]:
    """Return what identifies an alarm. Nothing that changes while it fires is among it, or it would be another one."""
    named = {"alertname": alarm.name, "severity": str(alarm.severity), "service": alarm.service, "writer": alarm.writer}
    found = {_NO_NAME.sub("_", name): value for name, value in alarm.labels.items()} | named | {"subject": alarm.subject}
    return {name: value for name, value in sorted(found.items()) if value}


def alert(alarm: Alarm, console: str) -> dict[str, Any]:
    """Return an alarm as webhooks carry it (Alertmanager's version 4)."""
    over = alarm.state is AlarmState.RESOLVED
    return {
        "status": "resolved" if over else "firing",
        "labels": labels(alarm),
        "annotations": {"summary": alarm.summary},
        "startsAt": moment(alarm.start_ms),
        "endsAt": moment(alarm.end_ms) if over else "0001-01-01T00:00:00Z",
        "generatorURL": link(console, alarm),
        "fingerprint": alarm.key,
    }


def summary(notice: Notice) -> str:
    """Return a notice in one line, for a person."""
    alarms: tuple[Alarm, ...] = notice.firing or notice.over
    first = alarms[0]
    what = f"{first.name} of {first.service}" if first.service else first.name
    number = f" ({len(alarms)} alarms)" if len(alarms) > 1 else ""
    more = "; others of it go on" if notice.kept else ""
    return f"{what}{number}: {first.summary}" if notice.firing else f"over: {what}{number}{more}"


def link(console: str, alarm: Alarm) -> str:
    """Return where in the console a person can look further; empty: there is no console.

    >>> from tidegate.alarms.board import DECIDE_SILENT as kind
    >>> link("https://tide.example/", kind.firing("", 0, "", service="shop"))
    'https://tide.example/#/rollouts/shop'
    >>> link("https://tide.example/", kind.firing("", 0, "", service="shop", subject="flag/web/dark"))
    'https://tide.example/#/flags/web/dark'
    >>> link("https://tide.example", kind.firing("", 0, "")), link("", kind.firing("", 0, ""))
    ('https://tide.example/#/alarms', '')
    """
    if not console:
        return ""
    if is_flag(alarm.subject):
        page = f"flags/{alarm.subject.removeprefix(FLAG_PREFIX)}"
    else:
        page = f"rollouts/{alarm.service}" if alarm.service else "alarms"
    return f"{console.rstrip('/')}/#/{quote(page)}"


def moment(at_ms: int) -> str:
    """Return a time as RFC 3339 has it.

    >>> moment(1_700_000_000_250)
    '2023-11-14T22:13:20.250Z'
    """
    at = dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03}Z"
