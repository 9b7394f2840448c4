"""What Alertmanager's webhook posts (version 4), and the alarm that an alert of it becomes. No input or output here."""

import datetime as dt
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from tidegate.wire.documents import digest_of
from tidegate.wire.judgement import INBOUND_WRITER, Alarm, AlarmState, Severity, fired_again

ALERTS_MAX = 1_000
LABELS_MAX = 16
TEXT_LENGTH_MAX = 256
LOUDNESS = {"info": Severity.INFO, "warning": Severity.WARNING}
"""Whatever else an alert calls itself is critical: who sends it here wants rollouts to wait."""

Text = Annotated[str, Meta(max_length=4 << 10)]
Labels = Annotated[dict[Text, Text], Meta(max_length=64)]
Moment = Annotated[dt.datetime, Meta(tz=True)]


class Alert(Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert; the label ``service`` says whose rollouts it is about."""

    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: Labels = {}
    starts_at: Moment
    ends_at: Moment | None = None
    fingerprint: Annotated[str, Meta(pattern=r"^[0-9a-f]{0,64}$(?!\n)")] = ""


class Payload(Struct, frozen=True, kw_only=True, rename="camel"):
    """One notification of a group. What else Alertmanager writes is passed over."""

    version: Literal["4"]
    alerts: Annotated[list[Alert], Meta(max_length=ALERTS_MAX)]
    truncated_alerts: Annotated[int, Meta(ge=0)] = 0


def fires(alert: Alert, before: Alarm | None, *, critical: bool) -> Alarm:
    """Return the record of an alert that fires, with what its last record knows of earlier times."""
    labels = alert.labels
    rest = {name: text for name, text in sorted(labels.items()) if name not in ("alertname", "service", "severity")}
    alarm = Alarm(
        id=id_of(alert),
        writer=INBOUND_WRITER,
        name=name_of(alert),
        state=AlarmState.FIRING,
        severity=Severity.CRITICAL if critical else LOUDNESS.get(labels.get("severity", ""), Severity.CRITICAL),
        start_ms=ms_of(alert.starts_at),
        service=labels["service"],
        labels={name[:TEXT_LENGTH_MAX]: text[:TEXT_LENGTH_MAX] for name, text in list(rest.items())[:LABELS_MAX]},
        summary=summary_of(alert),
    )
    if before is None or before.state is AlarmState.RESOLVED:
        return fired_again(alarm, before)
    if before.start_ms == alarm.start_ms:
        return replace(alarm, past=before.past, episodes=before.episodes)
    return fired_again(alarm, replace(before, end_ms=alarm.start_ms))  # its end was never told


def ended(alert: Alert, before: Alarm | None, *, critical: bool, now_ms: int) -> Alarm | None:
    """Return the record of an alert that is over; None where it does not fire, since that is known or its start was never kept,
    and where it fires anew by now.
    """
    start_ms = ms_of(alert.starts_at)
    if before is None or before.state is AlarmState.RESOLVED or before.start_ms > start_ms:
        return None
    began = before if before.start_ms == start_ms else fires(alert, before, critical=critical)
    end_ms = ms_of(alert.ends_at) if alert.ends_at is not None else now_ms
    return replace(began, state=AlarmState.RESOLVED, end_ms=max(end_ms, start_ms))


def id_of(alert: Alert) -> str:
    """Return the id of the alarm that an alert is: of the same labels, the same one."""
    return f"alertmanager/{alert.fingerprint or digest_of(dict(sorted(alert.labels.items())))[:16]}"


def name_of(alert: Alert) -> str:
    """Return the name of an alert."""
    return alert.labels.get("alertname", "")[:TEXT_LENGTH_MAX] or "alert"


def summary_of(alert: Alert) -> str:
    """Return what an alert says of itself."""
    told = (alert.annotations.get(one, "") for one in ("summary", "description"))
    return next(filter(None, told), "no summary is given")[:TEXT_LENGTH_MAX]


def ms_of(at: dt.datetime) -> int:
    """Return a time in ms since the epoch, and not before it."""
    return max(0, round(at.timestamp() * 1_000))


__all__ = ["ALERTS_MAX", "Alert", "Payload", "ended", "fires", "id_of", "ms_of", "name_of", "summary_of"]
