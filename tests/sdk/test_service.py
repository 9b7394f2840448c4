"""A service with the three helpers, as a node agent starts it: inherited socket, readiness, drain; and by hand."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.sdk import listener, ready, stop_accepting

PATH = os.pathsep.join(entry for entry in sys.path if entry)
SERVICE = """
import sys, time
from http.server import BaseHTTPRequestHandler
from tidegate.sdk import serve_http

class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        print("taken", flush=True)
        time.sleep(float(self.path.strip("/") or 0))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())

serve_http(Shop)
"""


class Agent:
    """What a node agent is to a service: it holds the socket, starts versions, hears that they are ready."""

    def __init__(self, folder: Path) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self._script = folder / "service.py"
        self._script.write_text(SERVICE)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(f"\0tidegate-test-{os.getpid()}")
        self._notify.settimeout(10)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, version: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": PATH, "LISTEN_FDS": "1", "NOTIFY_SOCKET": f"@tidegate-test-{os.getpid()}"}
        tell_pid = 'LISTEN_PID=$$; export LISTEN_PID; exec "$@"'
        inherit = f"exec 3<&{self.listening.fileno()}; {tell_pid}"
        child = subprocess.Popen(
            ["bash", "-c", inherit, "bash", sys.executable, str(self._script), version],
            env=environment,
            pass_fds=[self.listening.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.started.append(child)
        assert self._notify.recv(100) == b"READY=1"
        return child

    def close(self) -> None:
        for child in self.started:
            child.kill()
            child.communicate()
        self._notify.close()
        self.listening.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    one = Agent(tmp_path)
    yield one
    one.close()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
        return str(answer.read().decode())


def test_a_version_serves_on_the_socket_that_it_inherits_and_hands_over_to_the_next(agent: Agent) -> None:
    old = agent.start("v1")
    assert get(agent.url) == "v1"
    agent.start("v2")
    old.send_signal(signal.SIGTERM)
    assert old.wait(10) == 0
    assert {get(agent.url) for _ in range(5)} == {"v2"}


def test_what_is_under_way_when_sigterm_comes_is_answered(agent: Agent) -> None:
    old = agent.start("v1")
    assert old.stdout is not None
    with socket.create_connection(agent.listening.getsockname()) as client:
        client.sendall(b"GET /0.7 HTTP/1.0\r\n\r\n")
        assert old.stdout.readline() == "taken\n"
        old.send_signal(signal.SIGTERM)
        client.settimeout(10)
        answer = b""
        while part := client.recv(1_000):
            answer += part
    assert answer.endswith(b"v1")
    assert old.wait(10) == 0


def test_without_an_agent_a_service_listens_where_it_says_and_readiness_is_nobodys_business(monkeypatch) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ready()
    with listener("127.0.0.1:0") as own:
        assert own.getsockname()[0] == "127.0.0.1"
    with pytest.raises(RuntimeError, match="listen"):
        listener()


def test_an_agent_that_died_meanwhile_ends_no_service_that_says_it_is_ready(monkeypatch) -> None:
    """It has taken connections by then, and an agent's next life drains it."""
    monkeypatch.setenv("NOTIFY_SOCKET", f"@tidegate-test-{os.getpid()}-of-nobody")
    ready()


def test_a_socket_that_was_handed_to_another_process_is_not_taken(monkeypatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(RuntimeError):
        listener()


class Counting(socket.socket):
    """A listening socket that counts what was accepted."""

    taken = 0

    def accept(self):
        accepted = super().accept()
        self.taken += 1
        return accepted


async def test_a_connection_that_was_accepted_in_the_turn_in_which_the_drain_begins_is_answered() -> None:
    listening = Counting()
    listening.bind(("127.0.0.1", 0))

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"v1")
        writer.close()

    server = await asyncio.start_server(answer, sock=listening)
    with socket.create_connection(listening.getsockname()) as client:
        while not listening.taken:  # noqa: ASYNC110 - asked once a turn, before what is accepted gets its transport
            await asyncio.sleep(0)
        await stop_accepting(server)
        client.setblocking(False)
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(client, 10) == b"v1"
