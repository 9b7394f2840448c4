"""One page over HTTP: bounded in time and size, on a connection of its own.

A kept connection would stay with the old process while a version is swapped. Nothing is followed: what is asked is on this
machine, and a redirect off it must not be taken for the service. The answer is read with the standard library's parser, once it
is whole, so there is a single deadline for everything.
"""

import asyncio
import contextlib
import http.client
import io
from urllib.parse import urlsplit

from msgspec import Struct

PAGE_BYTES_MAX = 8 << 20
WITHIN_S = 0.7
"""From connecting to the last byte: the row must be with the judge before its pane closes, one second after its end."""
ACCEPT = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
)
"""Protobuf first: clients show native histograms in no other form."""


class ScrapeFailed(Exception):
    """A page that cannot be had or read. Says why, and what to do."""


class Answer(Struct, frozen=True):
    """What came."""

    content_type: str
    body: bytes


async def fetch(url: str, within_s: float = WITHIN_S) -> Answer:
    """Return the page at an address; ScrapeFailed."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = (f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", f"Accept: {ACCEPT}", "User-Agent: tidegate", "Connection: close")
    try:
        async with asyncio.timeout(within_s):
            raw = await _exchange(parts.hostname or "", parts.port or 80, "\r\n".join((*lines, "\r\n")).encode())
    except TimeoutError as error:
        raise ScrapeFailed(f"{url} did not answer within {within_s} s") from error
    except OSError as error:
        raise ScrapeFailed(f"{url}: {error.strerror or error}; is the service's metrics page there?") from error
    return _parsed(url, raw)


async def _exchange(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        raw = bytearray()
        while data := await reader.read(1 << 18):
            raw += data
            if len(raw) > PAGE_BYTES_MAX:
                raise ScrapeFailed(f"the page has more than {PAGE_BYTES_MAX >> 20} MiB; have the service show less")
        return bytes(raw)
    finally:
        writer.transport.abort()  # nothing is left to be said, and a peer that does not read must not keep it open
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class _Whole(io.BytesIO):
    """What ``http.client`` takes for a socket."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self


def _parsed(url: str, raw: bytes) -> Answer:
    answer = http.client.HTTPResponse(_Whole(raw))  # type: ignore[arg-type] # it asks for makefile and nothing else
    try:
        answer.begin()
        body = answer.read()
    except (http.client.HTTPException, ValueError) as error:
        raise ScrapeFailed(f"{url} gave no whole answer of HTTP: {error!r}") from error
    if answer.status != http.HTTPStatus.OK:
        where = answer.headers.get("Location")
        raise ScrapeFailed(f"{url} answers {answer.status}" + (f"; it points to {where}: write that" if where else ""))
    return Answer(answer.headers.get("Content-Type") or "", body)
