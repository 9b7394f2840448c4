"""One POST: bounded in time and in what is read of the answer. Runs in a thread."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from tidegate.notify.targets import Undelivered
from tidegate.runtime.problem import Problem

WITHIN_S = 5.0
ANSWER_BYTES = 4 << 10
TOLD_BYTES = 512
"""So much of a refusal is told."""


class _NoDetours(urllib.request.HTTPRedirectHandler):
    """A signed notice goes where the settings say, and nowhere else."""

    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoDetours, urllib.request.ProxyHandler())


def checked(url: str) -> str:
    """Return an address that may be posted to. Problem where it is none; the text leaves out what may be a secret."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise Problem(
            "notify.targets: a url must be http://host/... or https://host/..., without user and password",
            "mend config.yaml",
            code=2,
        )
    return url


def post(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Post, and return the beginning of an answer that is 2xx.

    Undelivered says what came instead, never the address: it may hold a token.
    """
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")  # noqa: S310 - checked at the start
    try:
        with _OPENER.open(request, timeout=WITHIN_S) as answer:
            return bytes(answer.read(ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            said = " ".join(error.read(TOLD_BYTES).decode(errors="replace").split())
        raise Undelivered(f"it answers {error.code} {said}".strip()) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise Undelivered(f"{type(error).__name__}: {cause}") from error
