"""One POST: bounded in time as a whole, in what is read of the answer, and in how many are under way."""

import asyncio
import contextlib
import http.client
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.notify.aside import Aside
from tidegate.notify.targets import Undelivered
from tidegate.runtime.problem import Problem

WITHIN_S = 5.0
"""From the first look-up of a name to the last byte of the answer."""
ANSWER_BYTES = 4 << 10
TOLD_BYTES = 512
"""So much of a refusal is told."""
TORN = (OSError, http.client.HTTPException, ValueError)
"""What ``http.client`` raises where the other side does not keep to HTTP, or goes away."""


class Line:
    """The way to one address. ``most`` posts at once: one that is over, but cannot be ended because a name is still being looked
    up or a connection made, counts until it has ended by itself, and then sends nothing.

    Problem where ``url`` cannot be posted to; the text leaves out what may be a secret.
    """

    def __init__(self, name: str, url: str, most: int = 1) -> None:
        self._url = _checked(url)
        self._aside = Aside(name, most)

    async def post(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Post, and return the beginning of an answer that is 2xx. After ``WITHIN_S``, or cancelled, the connection is closed.

        Undelivered says what came instead, never the address: it may hold a token.
        """
        request = urllib.request.Request(self._url, data=body, headers=dict(headers), method="POST")  # noqa: S310 - it was checked
        exchange = _Exchange(request)
        try:
            # A socket's own time limit begins anew with each byte.
            async with asyncio.timeout(WITHIN_S):
                return await self._aside.run(exchange.run)
        except TimeoutError as error:
            raise Undelivered(f"no whole answer within {WITHIN_S:g} s") from error
        finally:
            exchange.close()


class _Exchange:
    """A request and its answer: ``run`` blocks, ``close`` ends it from another thread."""

    def __init__(self, request: urllib.request.Request) -> None:
        self._request = request
        self._lock = threading.Lock()
        self._wires: list[socket.socket] = []
        self._closed = False

    def run(self) -> bytes:
        """Return the beginning of an answer that is 2xx. Undelivered."""
        try:
            with _opener(self._connect).open(self._request, timeout=WITHIN_S) as answer:
                return _taken(answer)
        except TORN as error:
            cause = getattr(error, "reason", None) or error
            raise Undelivered(f"{type(error).__name__}: {cause}") from error

    def close(self) -> None:
        """Wake up whoever reads or writes, and send nothing from now on. Safe to call twice."""
        with self._lock:
            self._closed = True
            for wire in self._wires:
                with contextlib.suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
                wire.close()
            self._wires.clear()

    def _connect(self, *where: Any) -> socket.socket:
        connected = socket.create_connection(*where)
        with self._lock:
            if self._closed:
                connected.close()
                raise TimeoutError("connected when it was over")
            # A second handle of the same connection: the first one is lost to TLS, a proxy's tunnel or the reader of the answer.
            self._wires.append(connected.dup())
        return connected


def _taken(answer: http.client.HTTPResponse) -> bytes:
    """Return the beginning of an answer that is 2xx. Undelivered says what else it is, though its text should break off."""
    if http.HTTPStatus.OK <= answer.status < http.HTTPStatus.MULTIPLE_CHOICES:
        return answer.read(ANSWER_BYTES)
    try:
        said = " ".join(answer.read(TOLD_BYTES).decode(errors="replace").split())
    except TORN:
        said = "and breaks off"
    raise Undelivered(f"it answers {answer.status} {said}".strip())


def _opener(connect: Callable[..., socket.socket]) -> urllib.request.OpenerDirector:
    """Return what opens web addresses, by the environment's proxies, and nothing else.

    Without handlers for redirections and errors: a signed notice goes where the settings say, and a refusal is an answer.
    """

    class Plain(http.client.HTTPConnection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._create_connection = connect

    class Secure(http.client.HTTPSConnection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._create_connection = connect

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), PlainHandler(), SecureHandler(), urllib.request.UnknownHandler()):
        opener.add_handler(handler)
    return opener


def _checked(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    # A space would be refused at each post, in a text that holds the whole address.
    spaced = any(letter <= " " for letter in url.strip())
    if spaced or parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise Problem(
            "notify.targets: a url must be http://host/... or https://host/..., without spaces, user and password",
            "mend config.yaml",
            code=2,
        )
    return url
