"""Alertmanager, by its API v2: it groups, routes and silences by itself, and takes labels for identity.

What fires is posted again every minute, each time with an end five minutes ahead: so an alarm ends by itself where notify is gone
(Prometheus does the same). Two notify processes post the same labels, which to Alertmanager is one alert.
"""

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate.alarms.notices import Notice, Policy
from tidegate.notify import web
from tidegate.notify.targets import Place
from tidegate.notify.words import labels, link, moment
from tidegate.wire.judgement import Alarm

KIND = "alertmanager"
RESEND_MS = 60_000
ENDS_AFTER_MS = 5 * 60_000
"""Alertmanager's own ``resolve_timeout``; four times may be missed."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``url``: of the server, as in http://127.0.0.1:9093. For a cluster, one target for each of its members."""

    url: str
    name: str = KIND


class Alertmanager:
    """One server."""

    def __init__(self, options: Options, policy: Policy, console: str) -> None:
        self.name = options.name
        self.policy = replace(policy, wait_ms=0, interval_ms=0, repeat_ms=RESEND_MS, together=True, hidden_ends=True)
        self._line = web.Line(options.name, options.url.rstrip("/") + "/api/v2/alerts")
        self._console = console

    async def send(self, notice: Notice, now_ms: int) -> None:
        """Post everything that fires, and what is over once. Undelivered where it does not take it."""
        alerts = [self._alert(alarm, now_ms + ENDS_AFTER_MS) for alarm in notice.firing]
        # An end ahead of the server's clock would not end anything yet.
        alerts += [self._alert(alarm, min(alarm.end_ms, now_ms)) for alarm in notice.over]
        await self._line.post(msgspec.json.encode(alerts), {"Content-Type": "application/json"})

    def _alert(self, alarm: Alarm, end_ms: int) -> dict[str, Any]:
        url = link(self._console, alarm)
        # One that ends before it starts is refused, and with it the rest.
        ends = max(end_ms, alarm.start_ms + 1)
        return {
            "labels": labels(alarm),
            "annotations": {"summary": alarm.summary},
            "startsAt": moment(alarm.start_ms),
            "endsAt": moment(ends),
        } | ({"generatorURL": url} if url else {})


def make(options: Options, policy: Policy, place: Place) -> Alertmanager:
    """Return the target."""
    return Alertmanager(options, policy, place.console)
