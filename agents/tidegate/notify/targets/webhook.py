"""A signed webhook, as the Standard Webhooks specification has it (standardwebhooks.com); the body as Alertmanager writes it.

``webhook-id`` follows from the content: the same notice, sent again after a failure, a restart or by a second notify, has the
same one, and a receiver that keeps ids does the work once. ``webhook-timestamp`` is now, in seconds: receivers refuse old ones.
``webhook-signature``: ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec
from msgspec import Struct

from tidegate.alarms.notices import Notice, Policy
from tidegate.notify import web
from tidegate.notify.targets import Place
from tidegate.notify.words import alert, labels, summary
from tidegate.runtime.problem import Problem
from tidegate.runtime.secrets import read_secret

KIND = "webhook"
PREFIX = "whsec_"
SECRET_BYTES_MIN = 24
"""As the specification has it."""
ALERTS_MAX = 100
"""So many are named in one body; the rest is counted in ``truncatedAlerts``."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``secret``: ``file:PATH`` or ``env:NAME`` of ``whsec_`` and base64, or of any text of 24 bytes or more."""

    url: str
    name: str
    secret: str


class Webhook:
    """One receiver."""

    def __init__(self, options: Options, policy: Policy, secret: bytes, console: str) -> None:
        self.name = options.name
        self.policy = policy
        self._line = web.Line(options.name, options.url)
        self._secret = secret
        self._console = console

    async def send(self, notice: Notice, now_ms: int) -> None:
        """Post one notice, signed. Undelivered where the answer is not 2xx."""
        body = msgspec.json.encode(payload(notice, self._console))
        await self._line.post(body, headers(self._secret, notice.id, now_ms, body))


def make(options: Options, policy: Policy, place: Place) -> Webhook:
    """Return the target. Problem where there is no secret worth the name."""
    return Webhook(options, policy, key_of(read_secret(options.secret, place.base)), place.console)


def key_of(secret: str) -> bytes:
    """Return the bytes of a secret. Problem where it is too short or torn; the text does not hold it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else secret.encode()
    except binascii.Error as error:
        raise Problem("a webhook's secret begins with whsec_ and is no base64", "make another one", code=2) from error
    if len(key) < SECRET_BYTES_MIN:
        raise Problem(
            f"a webhook's secret is shorter than {SECRET_BYTES_MIN} bytes",
            'make one: echo "whsec_$(openssl rand -base64 32)"',
            code=2,
        )
    return key


def headers(key: bytes, name: str, now_ms: int, body: bytes) -> dict[str, str]:
    """Return the headers of a signed post."""
    stamp = str(now_ms // 1000)
    return {
        "Content-Type": "application/json",
        "User-Agent": "tidegate",
        "webhook-id": name,
        "webhook-timestamp": stamp,
        "webhook-signature": sign(key, name, stamp, body),
    }


def sign(key: bytes, name: str, stamp: str, body: bytes) -> str:
    """Return the signature header."""
    told = hmac.new(key, name.encode() + b"." + stamp.encode() + b"." + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(told).decode()


def payload(notice: Notice, console: str = "") -> dict[str, Any]:
    """Return the body: what fires first, as many as there is room for."""
    alarms = (*notice.firing, *notice.over)
    named = alarms[:ALERTS_MAX]
    common = _common([labels(alarm) for alarm in alarms])
    return {
        "version": "4",
        "status": "firing" if notice.goes_on else "resolved",
        "receiver": "tidegate",
        "groupKey": notice.group,
        "groupLabels": {name: common[name] for name in ("alertname", "service") if name in common},
        "commonLabels": common,
        "commonAnnotations": {"summary": summary(notice)},
        "externalURL": console,
        "truncatedAlerts": len(alarms) - len(named),
        "hiddenAlerts": notice.hidden,
        "alerts": [alert(alarm, console) for alarm in named],
    }


def _common(found: list[dict[str, str]]) -> dict[str, str]:
    first, *others = found
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
