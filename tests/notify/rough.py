"""A server below HTTP: it reads a request whole, and answers as no good server does."""

import contextlib
import itertools
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

DRIP_EVERY_S = 0.02
DRIPS_MOST_S = 60.0
"""Then it ends by itself: who would wait for its end fails a test, and does not hang it."""

Act = Callable[["Rough", socket.socket], None]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def says(answer: bytes, *, resets: bool = False) -> Act:
    """Say something and hang up; ``resets``: as who crashed does (RST)."""

    def act(_: "Rough", connection: socket.socket) -> None:
        connection.sendall(answer)
        if resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(connection.detach())  # before the server says goodbye

    return act


def drips(begin: bytes, then: bytes = b"x") -> Act:
    """Say how it begins, and then a byte now and then, until nobody listens."""

    def act(server: "Rough", connection: socket.socket) -> None:
        server.dripping.set()
        try:
            connection.sendall(begin)
            for byte in itertools.islice(itertools.cycle(then), int(DRIPS_MOST_S / DRIP_EVERY_S)):
                connection.sendall(bytes([byte]))
                if server.enough.wait(DRIP_EVERY_S):
                    return
        except OSError:
            server.left.set()

    return act


def silent(server: "Rough", connection: socket.socket) -> None:
    """Say nothing, until the other side hangs up."""
    server.dripping.set()
    with contextlib.suppress(OSError):
        connection.recv(1)
    server.left.set()


class Rough:
    """``acts``: what to do with the next requests, the last one for ever; ``tls``: behind which certificate.

    Asked for a tunnel, as a proxy is, it does the same.
    """

    def __init__(self, *acts: Act, tls: Path | None = None) -> None:
        self.acts = [*acts]
        self.asked = 0
        self.at_once = self.at_once_most = 0
        self.dripping, self.enough, self.left = threading.Event(), threading.Event(), threading.Event()
        """Set when a drip begins; by a test, to end it; when whoever was dripped at has closed the connection."""
        rough = self
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if tls is not None else None
        if context is not None and tls is not None:
            context.load_cert_chain(tls)

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.close_connection = True
                with rough._counted() as act, contextlib.suppress(OSError):
                    act(rough, self.connection)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingTCPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, object]:
                connection, address = super().get_request()
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?token=do-not-tell"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[Act]:
        with self._lock:
            self.asked += 1
            self.at_once += 1
            self.at_once_most = max(self.at_once_most, self.at_once)
            act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        try:
            yield act
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self) -> None:
        self.enough.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def rough(*acts: Act, tls: Path | None = None) -> Iterator[Rough]:
    """Run one until the block ends."""
    server = Rough(*acts, tls=tls)
    try:
        yield server
    finally:
        server.close()


TORN = {
    "nothing": says(b""),
    "a reset": says(b"", resets=True),
    "half a status": says(b"HTTP/1.1 2"),
    "no HTTP": says(b"220 mail.example ESMTP\r\n"),
    "half a header": says(b"HTTP/1.1 502 Bad Gateway\r\nContent-Le"),
    "a refusal that resets": says(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100\r\n\r\nup", resets=True),
    "a refusal in torn chunks": says(b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nupstream"),
    "a refusal in chunks of no length": says(b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nup"),
    "a refusal that ends early": says(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nsoon"),
    "torn chunks": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"),
}
"""What a proxy that loses its server says, or a server that crashes."""

DRIPS = {
    "nothing": silent,
    "a status": drips(b"HTTP/1.1 ", b"2"),
    "a header": drips(b"HTTP/1.1 200 OK\r\nServer: "),
    "headers": drips(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n"),
    "go on": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    "a body without length": drips(b"HTTP/1.1 200 OK\r\n\r\n"),
    "a chunk": drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"),
    "chunks": drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a refusal": drips(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1000000\r\n\r\n"),
}
"""What never ends; a limit for each read would not end it either, but for the first."""
