"""Bytes from a path, a ``file://`` or an ``http(s)://`` address into an open file, with their sha256; bounded in size and time.

What lies in the file already is not brought again. A web server that breaks off is asked for the rest (RFC 9110, Range), as long
as something comes each time; the digest at the end decides whether the parts belong together. A redirection leads to another web
address or nowhere.
"""

import base64
import hashlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from tidegate.node.executor import FetchFailed

CHUNK_BYTES = 1 << 18
SILENT_MOST_S = 30.0
"""A server that says nothing for so long is given up."""
PATIENCE_S = 60.0
SLOWEST_BYTES_PER_S = 16 << 10
"""After the patience the whole transfer must have been at least so fast: who sends a byte now and then is given up."""
BREAKS_MOST = 20


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to be brought. ``limit_bytes``: more is refused. ``room`` is asked once for each length that is announced."""

    uri: str
    limit_bytes: int
    room: Callable[[int], None]
    stop: threading.Event


def shown(uri: str) -> str:
    """Return an address for an error text: without what may be a secret.

    >>> shown("https://user:pass@host/shop.tgz?signature=1")
    'https://host/shop.tgz'
    """
    parts = urllib.parse.urlsplit(uri)
    if not parts.scheme:
        return uri or "(no uri)"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def download(wanted: Wanted, into: BinaryIO) -> str:
    """Copy what is missing behind what is there, and return the sha256 of all; ends early when told to. FetchFailed, OSError."""
    parts = urllib.parse.urlsplit(wanted.uri)
    if parts.scheme in ("http", "https"):
        return _Web(wanted, into).run()
    if parts.scheme not in ("", "file"):
        raise FetchFailed(f"{parts.scheme} is not understood; write a path, file:// or http(s):// address")
    path = Path(urllib.parse.unquote(parts.path) if parts.scheme else wanted.uri)
    with path.open("rb") as file:
        copied = _Copied(wanted, into)
        wanted.room(max(0, path.stat().st_size - copied.bytes))
        file.seek(copied.bytes)
        while not wanted.stop.is_set() and copied.take(file.read(CHUNK_BYTES)):
            pass
    return copied.digest.hexdigest()


class _Copied:
    """What has come so far."""

    def __init__(self, wanted: Wanted, into: BinaryIO) -> None:
        self._wanted = wanted
        self._into = into
        self.digest = hashlib.sha256()
        self.bytes = 0
        into.seek(0)
        while not wanted.stop.is_set() and (chunk := into.read(CHUNK_BYTES)):
            self.digest.update(chunk)
            self.bytes += len(chunk)
        self._found_bytes = self.bytes

    @property
    def came_bytes(self) -> int:
        return self.bytes - self._found_bytes

    def take(self, chunk: bytes) -> bool:
        self.bytes += len(chunk)
        if self.bytes > self._wanted.limit_bytes:
            raise FetchFailed(f"there is more than the {self._wanted.limit_bytes} bytes that the plan, or the cache, allows")
        self.digest.update(chunk)
        self._into.write(chunk)
        return bool(chunk)

    def anew(self) -> None:
        self.digest = hashlib.sha256()
        self.bytes = self._found_bytes = 0
        self._into.seek(0)
        self._into.truncate()


class _Web:
    def __init__(self, wanted: Wanted, into: BinaryIO) -> None:
        self._wanted = wanted
        self._into = into
        self._copied = _Copied(wanted, into)
        self._began_s = time.monotonic()

    def run(self) -> str:
        breaks, before = 0, -1
        while True:
            problem = self._once()
            if not problem or self._wanted.stop.is_set():
                return self._copied.digest.hexdigest()
            breaks += 1
            if self._copied.bytes <= before or breaks > BREAKS_MOST:
                raise FetchFailed(f"{problem}; {self._copied.bytes} bytes had come")
            before = self._copied.bytes

    def _once(self) -> str:
        """Ask for what is missing; return why it broke off, empty where all has come."""
        sockets: list[socket.socket] = []
        request = _request(self._wanted.uri)
        if self._copied.bytes:
            request.add_header("Range", f"bytes={self._copied.bytes}-")
        with self._watched(sockets):
            try:
                with _opener(sockets).open(request, timeout=SILENT_MOST_S) as response:
                    return self._take(response)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._copied.bytes:
                    return ""  # all of it was there
                raise FetchFailed(f"the server answers {error.code} {error.reason}") from error
            except (OSError, http.client.HTTPException) as error:
                self._check_pace()
                return f"the transfer broke off: {getattr(error, 'reason', '') or str(error) or type(error).__name__}"

    def _take(self, response: http.client.HTTPResponse) -> str:
        if self._copied.bytes and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            self._copied.anew()  # a server that knows no ranges begins again
        begun, length = self._copied.bytes, response.headers.get("Content-Length", "")
        if length.isdigit():
            self._wanted.room(int(length))
        while not self._wanted.stop.is_set():
            self._check_pace()
            if not self._copied.take(response.read1(CHUNK_BYTES)):
                break
        came = self._copied.bytes - begun
        return f"the transfer broke off after {came} of {length} bytes" if length.isdigit() and came < int(length) else ""

    def _check_pace(self) -> None:
        took_s = time.monotonic() - self._began_s
        if took_s > PATIENCE_S and self._copied.came_bytes < took_s * SLOWEST_BYTES_PER_S:
            raise FetchFailed(f"the server is too slow: {self._copied.came_bytes} bytes in {took_s:.0f} s")

    @contextmanager
    def _watched(self, sockets: list[socket.socket]) -> Iterator[None]:
        """Shut the connections when told to stop, or when the pace is lost in the middle of a read: a header can trickle too."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                late = time.monotonic() - self._began_s > PATIENCE_S + self._copied.came_bytes / SLOWEST_BYTES_PER_S
                if late or self._wanted.stop.is_set():
                    for one in sockets:
                        _shut(one)

        watcher = threading.Thread(target=watch, name="download-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """A server may send elsewhere, not to a file of this machine or to another kind of server."""

    def redirect_request(self, *asked: Any) -> urllib.request.Request | None:
        to = str(asked[-1])
        asked[1].close()  # else what it says beside the address is read, however much that is
        if urllib.parse.urlsplit(to).scheme not in ("http", "https"):
            raise FetchFailed(f"the server redirects to {shown(to)}; only http and https are followed")
        return super().redirect_request(*asked)


def _request(uri: str) -> urllib.request.Request:
    """Return the request for an address; user and password in it go to its own server, not to one that it redirects to."""
    parts = urllib.parse.urlsplit(uri)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl())  # noqa: S310 - the scheme was looked at
    if user:
        secret = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request


def _opener(sockets: list[socket.socket]) -> urllib.request.OpenerDirector:
    """Return what opens web addresses and nothing else; the sockets it opens are told."""

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        PlainHandler(),
        SecureHandler(),
        _WebOnly(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _shut(one: socket.socket) -> None:
    try:
        socket.socket.shutdown(one, socket.SHUT_RDWR)  # below TLS: whoever reads wakes up
    except OSError:
        return
