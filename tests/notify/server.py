"""A real Alertmanager: Debian's package, installed or fetched once into the cache; and a receiver of its webhooks, or of ours."""

import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tidegate.broker.jars import cache_folder
from tidegate.broker.local import free_ports

PACKAGE = "prometheus-alertmanager"
BINARY = "usr/bin/prometheus-alertmanager"
SHARE = b"/usr/share/prometheus/alertmanager"
"""Where Debian's program looks for its templates, and nowhere else."""
RELATIVE_SHARE = SHARE.removeprefix(b"/").replace(b"usr/", b"usr//")
"""Where they lie when it runs in the folder that it was unpacked into: as long, so that it fits in its place."""
READY_WITHIN_S = 15.0


class NoAlertmanager(Exception):
    """None is installed and none can be fetched; the text says what to do."""


def alertmanager(beside: Path) -> tuple[str, Path]:
    """Return the program, and in which folder to run it: on the PATH, in the cache, or fetched into it now, once, announced."""
    found = shutil.which(PACKAGE) or shutil.which("alertmanager")
    if found:
        return found, beside
    folder = cache_folder() / f"{PACKAGE}-{platform.machine()}-relative"
    if not (folder / BINARY).exists():
        fetch(folder)
    return str(folder / BINARY), folder


def fetch(folder: Path) -> None:
    """Fetch Debian's package and unpack it, without installing anything."""
    remedy = f"install it (Debian, Ubuntu: apt install {PACKAGE})"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoAlertmanager(f"no {PACKAGE} on the PATH, and no apt-get to fetch it; {remedy}")
    sys.stderr.write(f"fetching {PACKAGE} into {folder}, once (about 10 MB)\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as beside:
        # This machine's own lists may be missing or stale: then fresh ones, beside.
        fresh = ["-o", f"Dir::State::lists={beside}/lists", "-o", f"Dir::Cache={beside}"]
        for part in ("lists", "archives"):
            Path(beside, part, "partial").mkdir(parents=True)
        for arguments in (["download", PACKAGE], [*fresh, "update"], [*fresh, "download", PACKAGE]):
            done = subprocess.run(["apt-get", *arguments], cwd=beside, capture_output=True, text=True, timeout=240, check=False)
            if list(Path(beside).glob("*.deb")):
                break
        packages = list(Path(beside).glob("*.deb"))
        if not packages:
            raise NoAlertmanager(f"{PACKAGE} cannot be fetched: {done.stderr.strip()[-200:]}; {remedy}")
        subprocess.run(["dpkg", "-x", str(packages[0]), f"{beside}/unpacked"], check=True, timeout=60)
        program = Path(beside, "unpacked", BINARY)
        program.write_bytes(program.read_bytes().replace(SHARE, RELATIVE_SHARE))
        with contextlib.suppress(OSError):  # another process was faster
            Path(beside, "unpacked").rename(folder)


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
async def serving(folder: Path, config: Path) -> AsyncIterator[Server]:
    """Run one with a configuration until the block ends."""
    (program, home), port = await asyncio.to_thread(alertmanager, folder), free_ports(1)[0]
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


MUST = os.environ.get("CI") == "true"
