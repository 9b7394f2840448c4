"""A real Alertmanager (Debian's package), and a receiver of its webhooks, or of ours."""

import asyncio
import contextlib
import json
import shutil
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from tests.debian import unpacked

from tidegate.broker.local import free_ports

PACKAGE = "prometheus-alertmanager"
BINARY = "usr/bin/prometheus-alertmanager"
SHARE = b"/usr/share/prometheus/alertmanager"
"""Where Debian's program looks for its templates, and nowhere else."""
RELATIVE_SHARE = SHARE.removeprefix(b"/").replace(b"usr/", b"usr//")
"""Where they lie when it runs in the folder that it was unpacked into: as long, so that it fits in its place."""
READY_WITHIN_S = 15.0


def alertmanager(beside: Path) -> tuple[str, Path]:
    """Return the program, and in which folder to run it."""
    found = shutil.which(PACKAGE) or shutil.which("alertmanager")
    if found:
        return found, beside
    folder = unpacked(PACKAGE, "relative", _relative)
    return str(folder / BINARY), folder


def _relative(files: Path) -> None:
    program = files / BINARY
    program.write_bytes(program.read_bytes().replace(SHARE, RELATIVE_SHARE))


class Server:
    """A running Alertmanager."""

    def __init__(self, url: str) -> None:
        self.url = url

    def alerts(self) -> list[dict[str, Any]]:
        """What it holds open, as its API tells."""
        found: list[dict[str, Any]] = self._get("/api/v2/alerts?active=true&silenced=true&inhibited=true")
        return found

    def names(self) -> list[str]:
        return sorted({alert["labels"]["alertname"] for alert in self.alerts()})

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - our own
            return json.load(answer)


@contextlib.asynccontextmanager
async def serving(folder: Path, config: Path, port: int = 0) -> AsyncIterator[Server]:
    """Run one with a configuration until the block ends. Port 0: any free one."""
    program, home = await asyncio.to_thread(alertmanager, folder)
    port = port or free_ports(1)[0]
    log = folder / "alertmanager.log"
    with log.open("wb") as told:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            cwd=home,
            stdout=told,
            stderr=told,
        )
    ready = f"http://127.0.0.1:{port}/-/ready"
    try:
        await until(lambda: process.returncode is not None or answers(ready), READY_WITHIN_S)
        assert process.returncode is None, log.read_text()
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own
        return True
    return False


async def until(true: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait for a condition that other processes bring about."""
    deadline_s = time.monotonic() + within_s
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline_s, f"still not true after {within_s:g} s: {true}"
        await asyncio.sleep(0.02)


class Receiver:
    """An HTTP server that keeps what is posted. ``answers``: statuses for the next posts; then 200 for ever."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[int] = []
        self.says = b""
        """Body of every answer."""
        self.posts: list[tuple[float, dict[str, str], bytes, int]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 200
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posts.append((time.time(), headers, body, status))
                self.send_response(status)
                self.send_header("Content-Length", str(len(receiver.says)))
                self.end_headers()
                self.wfile.write(receiver.says)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook?token=do-not-tell"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Bodies of what was answered with 2xx."""
        return [json.loads(body) for _, _, body, status in self.posts if status < 300]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(port)
    try:
        yield receiver
    finally:
        receiver.close()


def example(folder: Path, hook: str) -> Path:
    """The example configuration of deploy/, its receivers' addresses replaced by one of this test."""
    text = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml").read_text())
    for receiver in text["receivers"]:
        for entry in receiver.get("webhook_configs", []):
            entry["url"] = hook
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(text))
    return path
