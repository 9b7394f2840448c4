"""How a version says that it may serve: a datagram, a page, or an open port."""

import asyncio
import contextlib
import os
import secrets
import socket
import struct
import urllib.parse

from tidegate.node.config import Readiness, host_and_port
from tidegate.ports import Clock

PROBE_EVERY_S = 0.1
PROBE_WITHIN_S = 2.0


class NotifySocket:
    """Receives ``READY=1`` as systemd does (sd_notify), on an abstract socket: nothing lies on disk, no path is too long.

    Anybody on the machine can send to it, so the kernel's word on the sender is asked: only the service's own session counts.
    """

    def __init__(self) -> None:
        name = f"tidegate-{secrets.token_hex(12)}"
        self.address = f"@{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{name}")

    async def ready(self, pid: int) -> None:
        """Return when the session that ``pid`` leads says that it is ready."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()

        def receive() -> None:
            if self._says_ready(pid) and not told.done():
                told.set_result(None)

        loop.add_reader(self._socket, receive)
        try:
            await told
        finally:
            loop.remove_reader(self._socket)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _says_ready(self, pid: int) -> bool:
        credentials = struct.Struct("3i")
        message, ancillary, _, _ = self._socket.recvmsg(4_096, socket.CMSG_SPACE(credentials.size))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                sender = credentials.unpack(data[: credentials.size])[0]
                with contextlib.suppress(ProcessLookupError):
                    return os.getsid(sender) == pid and b"READY=1" in message.split(b"\n")
        return False


async def until_ready(readiness: Readiness, clock: Clock) -> None:
    """Return when the probe succeeds; asks ten times a second."""
    while not await (_answers(readiness.http) if readiness.http is not None else _accepts(readiness.tcp or "")):
        await clock.sleep(PROBE_EVERY_S)


async def _answers(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(PROBE_WITHIN_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            try:
                writer.write(request.encode())
                line = (await reader.readline()).split()
            finally:
                writer.close()
        return len(line) > 1 and line[1].startswith(b"2")
    return False


async def _accepts(address: str) -> bool:
    _, host, port = host_and_port(address)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True
    return False
