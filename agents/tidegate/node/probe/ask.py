"""One question and its answer, on a connection that is kept while one process answers: bounded in time and size.

An answer is read with the standard library's parser as soon as it is whole, so there is a single deadline for everything. Nothing
is followed: what is asked is on this machine.
"""

import asyncio
import contextlib
import http.client
import io
from collections.abc import Callable

from msgspec import Struct

from tidegate.node.config import host_and_port
from tidegate.wire.names import duration_ms
from tidegate.wire.probes import Method, Probe

BODY_BYTES_MAX = 64 << 10
"""As much of a body is read and looked at; the rest is left, and the connection with it."""
HEAD_BYTES_MAX = 64 << 10
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a service listens everywhere, it is asked at home
HEAD_END = b"\r\n\r\n"


class Answer(Struct, frozen=True):
    """What came of a question. ``seconds`` None: nobody answered, so there is no latency."""

    problem: str = ""
    """Why it is an error; empty: it is right."""
    seconds: float | None = None


class GaveUp(EOFError):
    """A connection was closed before the first byte of an answer."""


class Asker:
    """Asks one service at one address; at most one question at a time."""

    def __init__(self, address: str, monotonic_s: Callable[[], float]) -> None:
        _, host, self._port = host_and_port(address)
        self._host = ANYWHERE.get(host, host)
        self._named = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        self._monotonic_s = monotonic_s
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, probe: Probe) -> Answer:
        """Return what comes of a question within its ``timeout``. Raises nothing, whatever the service does."""
        began_s, timeout_s = self._monotonic_s(), duration_ms(probe.timeout) / 1_000
        try:
            async with asyncio.timeout(timeout_s):
                problem = await self._question(probe)
        except TimeoutError:
            self.close()
            return Answer(f"no whole answer within {probe.timeout}", timeout_s)
        except OSError as error:
            self.close()
            return Answer(f"{self._named}: {error.strerror or error}")
        except (EOFError, ValueError, http.client.HTTPException) as error:
            self.close()
            return Answer(f"no whole answer of HTTP: {error}", self._monotonic_s() - began_s)
        except BaseException:
            self.close()
            raise
        return Answer(problem, self._monotonic_s() - began_s)

    def close(self) -> None:
        """Let go of the connection; nothing is left to be said."""
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None

    async def _question(self, probe: Probe) -> str:
        if probe.http is None:
            await self._connected()
            self.close()
            return ""
        request = _request(probe, self._named)
        if self._connection is not None:
            # A server may have given up a connection that it kept for long; that is no fault of what it runs.
            with contextlib.suppress(GaveUp):
                return _problem(probe, await self._exchange(request, probe.method))
            self.close()
        return _problem(probe, await self._exchange(request, probe.method))

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._connection is None:
            self._connection = await asyncio.open_connection(self._host, self._port)
        return self._connection

    async def _exchange(self, request: bytes, method: Method) -> "_Whole":
        reader, writer = await self._connected()
        writer.write(request)
        raw, whole = bytearray(), None
        while whole is None:
            try:
                data = await reader.read(1 << 16)
            except OSError as error:
                raise (error if raw else GaveUp(str(error))) from error
            if not data and not raw:
                raise GaveUp("the connection was closed without one")
            raw += data
            whole = _parsed(raw, method, ended=not data)
        if whole.last:
            self.close()
        return whole


class _Whole(Struct, frozen=True):
    """A whole answer. ``last``: its connection is of no use any more."""

    status: int
    body: bytes
    last: bool


class _Raw(io.BytesIO):
    """What ``http.client`` takes for a socket."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self


def _parsed(raw: bytearray, method: Method, *, ended: bool) -> _Whole | None:
    """Return the answer, or None while more must come. HTTPException, ValueError where it is none; EOFError where it is torn."""
    head = raw.find(HEAD_END)
    if head < 0:
        if ended or len(raw) > HEAD_BYTES_MAX:
            raise EOFError("its head is torn" if ended else f"its head has more than {HEAD_BYTES_MAX >> 10} KiB")
        return None
    much = len(raw) - head > BODY_BYTES_MAX
    answer = http.client.HTTPResponse(_Raw(raw), method=method)  # type: ignore[arg-type] # it asks for makefile and nothing else
    answer.begin()
    try:
        body = answer.read()
    except http.client.IncompleteRead as error:
        if much:
            return _Whole(answer.status, error.partial or bytes(raw[head + len(HEAD_END) :]), last=True)
        if ended:
            raise EOFError("its body is torn") from error
        return None
    if answer.chunked:
        left = not raw.endswith(HEAD_END)  # the empty line behind the last chunk
    elif answer.length is None:
        left = not ended  # it is whole when the connection ends
    else:
        left = False
    if left and not ended and not much:
        return None
    return _Whole(answer.status, body, last=ended or left or answer.will_close)


def _request(probe: Probe, named: str) -> bytes:
    body = probe.body.encode()
    lines = [f"{probe.method} {probe.http} HTTP/1.1", f"Host: {named}", "User-Agent: tidegate-probe"]
    lines += [f"{name}: {text}" for name, text in probe.headers.items()]
    if probe.method is Method.POST:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "\r\n")).encode() + body


def _problem(probe: Probe, whole: _Whole) -> str:
    right = whole.status == probe.status if probe.status is not None else 200 <= whole.status <= 299
    if not right:
        return f"it answers {whole.status}, not {probe.status or '2xx'}"
    if probe.contains and probe.contains.encode() not in whole.body[:BODY_BYTES_MAX]:
        return f"its answer does not contain {probe.contains!r}"
    return ""
