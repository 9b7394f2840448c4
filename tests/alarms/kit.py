"""Alarms as the topic holds them."""

from typing import Any

from msgspec.structs import replace

from tidegate.wire.judgement import Alarm, AlarmState, Severity

T0 = 1_700_000_000_000


def alarm(name: str = "coverage_lost", service: str = "shop", which: str = "", start_s: float = 0, **changes: Any) -> Alarm:
    made = Alarm(
        id="/".join(part for part in (name, service, which) if part),
        writer="judge",
        name=name,
        state=AlarmState.FIRING,
        severity=Severity.WARNING,
        start_ms=T0 + round(start_s * 1_000),
        service=service,
        labels={"node": which} if which else {},
        summary=f"{name} of {service} {which}",
    )
    return replace(made, **changes)


def over(one: Alarm, end_s: float) -> Alarm:
    return replace(one, state=AlarmState.RESOLVED, end_ms=T0 + round(end_s * 1_000))
