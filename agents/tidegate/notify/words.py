"""An alarm as Alertmanager and its webhooks write one: labels that identify, annotations that explain."""

import datetime as dt
import re
from typing import Any

from tidegate.wire.judgement import Alarm, AlarmState

_NO_NAME = re.compile(r"^(?=[0-9])|[^A-Za-z0-9_]")
"""What Alertmanager takes for no label name: it would refuse the whole post."""


def labels(alarm: Alarm) -> dict[str, str]:
    """Return what identifies an alarm. Nothing that changes while it fires is among it, or it would be another one."""
    named = {"alertname": alarm.name, "severity": str(alarm.severity), "service": alarm.service, "writer": alarm.writer}
    found = {_NO_NAME.sub("_", name): value for name, value in alarm.labels.items()} | named | {"subject": alarm.subject}
    return {name: value for name, value in sorted(found.items()) if value}


def alert(alarm: Alarm) -> dict[str, Any]:
    """Return an alarm as webhooks carry it (Alertmanager's version 4)."""
    over = alarm.state is AlarmState.RESOLVED
    return {
        "status": "resolved" if over else "firing",
        "labels": labels(alarm),
        "annotations": {"summary": alarm.summary},
        "startsAt": moment(alarm.start_ms),
        "endsAt": moment(alarm.end_ms) if over else "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": alarm.key,
    }


def moment(at_ms: int) -> str:
    """Return a time as RFC 3339 has it.

    >>> moment(1_700_000_000_250)
    '2023-11-14T22:13:20.250Z'
    """
    at = dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03}Z"
