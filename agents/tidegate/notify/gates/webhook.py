"""A gate that is a webhook: the question as JSON, signed as notices are; the answer ``{"verdict": "pass" | "fail" | "undecided",
"reason": "..."}`` with a status of 2xx. Everything else is undecided.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from tidegate.notify import web
from tidegate.notify.gates import AT_ONCE_MAX, Answer, Says
from tidegate.notify.targets import Undelivered
from tidegate.notify.targets.webhook import headers, key_of
from tidegate.rollout.outgoing import OpenGate
from tidegate.runtime.secrets import read_secret
from tidegate.wire.documents import digest
from tidegate.wire.names import Duration, Name, duration_ms

KIND = "webhook"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``secret``: as that of a target."""

    name: Name
    url: str
    secret: str
    every: Duration = "10s"


class Verdict(Struct, frozen=True):
    """What comes back; whatever else it says is ignored."""

    verdict: Says
    reason: str = ""


class Webhook:
    """One receiver."""

    def __init__(self, options: Options, secret: bytes) -> None:
        self.name = options.name
        self.every_s = duration_ms(options.every) / 1_000
        self._line = web.Line(options.name, options.url, AT_ONCE_MAX)
        self._secret = secret

    async def ask(self, question: OpenGate, now_ms: int) -> Answer:
        """Post the question."""
        body = msgspec.json.encode(question)
        try:
            said = await self._line.post(body, headers(self._secret, digest(body), now_ms, body))
            found = msgspec.json.decode(said, type=Verdict)
        except Undelivered as error:
            return Answer(Says.UNDECIDED, str(error))
        except msgspec.DecodeError as error:
            return Answer(Says.UNDECIDED, f"its answer is no verdict: {error}")
        return Answer(found.verdict, found.reason)


def make(options: Options, base: Path) -> Webhook:
    """Return the gate. Problem where there is no secret worth the name."""
    return Webhook(options, key_of(read_secret(options.secret, base)))
