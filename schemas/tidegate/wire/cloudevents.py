"""CloudEvents 1.0 in Kafka's binary mode for control topics: attributes are headers, the value stays as it is.

Telemetry and what derives from it carry none: there they would weigh as much as the data. The optional ``time`` is left
out, since the broker's append
time is the one that counts everywhere.
"""

import hashlib

EVENTS: dict[str, str] = {
    "plans": "dev.tidegate.plan.v1",
    "intents": "dev.tidegate.intent.v1",
    "decisions": "dev.tidegate.decision.v1",
    "desired": "dev.tidegate.desired.v1",
    "keys": "dev.tidegate.key.v1",
    "reports": "dev.tidegate.report.v1",
    "verdicts": "dev.tidegate.verdict.v1",
    "alarms": "dev.tidegate.alarm.v1",
}
"""Control topic to the type of its events; the major version is part of the type."""


def event_headers(topic: str, key: str | None, value: bytes | None, source: str) -> dict[str, bytes]:
    """Return the headers of an event; none for other topics, and none for a tombstone, which is no event.

    The id is made of the value: a record that is sent again is the same event.

    >>> event_headers("plans", "svc/shop", b"{}", "cli")["ce_type"]
    b'dev.tidegate.plan.v1'
    >>> event_headers("telemetry", "n1", b"{}", "sdk")
    {}
    """
    kind = EVENTS.get(topic)
    if kind is None or value is None:
        return {}
    headers = {
        "ce_specversion": b"1.0",
        "ce_id": hashlib.sha256(value).hexdigest()[:32].encode(),
        "ce_source": f"/tidegate/{source}".encode(),
        "ce_type": kind.encode(),
        "content-type": b"application/json",
    }
    return headers | ({"ce_subject": key.encode()} if key else {})
