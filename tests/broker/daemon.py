"""A Docker daemon on a socket of its own, with as much behaviour as testcontainers asks for.

A container of apache/kafka is a process of real Kafka from its jars, on the command, environment, folders and ports that it was
created with; the reaper is a thread that removes what belongs to a session whose connection ends.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOOLS = {"kafka-storage.sh": "kafka.tools.StorageTool", "kafka-server-start.sh": "kafka.Kafka"}
TOOL = """#!/bin/sh
exec java $KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS -cp '{jars}' -Dorg.slf4j.simpleLogger.defaultLogLevel=warn {main} "$@"
"""


def write_tools(folder: Path, class_path: str) -> None:
    """Make the tools of the image apache/kafka, on the jars of this machine."""
    folder.mkdir(parents=True)
    for name, main in TOOLS.items():
        (folder / name).write_text(TOOL.format(jars=class_path, main=main))
        (folder / name).chmod(0o755)


@dataclass
class Faults:
    """What goes wrong."""

    pull: str = ""
    """The registry's answer to every pull."""
    slow_pull: threading.Event | None = None
    """A pull does not end before this is set."""
    create: str = ""
    """The daemon's refusal of every container."""
    start: str = ""
    """What the image's Kafka says as it ends at once."""


@dataclass
class Container:
    """One container."""

    name: str
    body: dict[str, Any]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    ports: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    reaper: socket.socket | None = None

    @property
    def status(self) -> str:
        if self.reaper is not None:
            return "running"
        if self.process is None:
            return "created"
        return "running" if self.process.poll() is None else "exited"

    def inspect(self) -> dict[str, Any]:
        return {
            "Id": self.name,
            "Name": f"/{self.name}",
            "State": {"Status": self.status, "Running": self.status == "running"},
            "Config": {"Tty": False, "Labels": self.body.get("Labels", {})},
            "HostConfig": {"NetworkMode": "default", "LogConfig": {"Type": "json-file"}},
            "NetworkSettings": {"Ports": self.ports, "Networks": {"bridge": {"Gateway": "127.0.0.1"}}},
        }

    def end(self, number: signal.Signals) -> None:
        if self.reaper is not None:
            self.reaper.close()
            self.reaper = None
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait()


class Daemon(socketserver.ThreadingUnixStreamServer):
    """The daemon; ``images`` are the ones that it has, ``asked`` every request."""

    daemon_threads = True

    def __init__(self, folder: Path, jars: str = "", faults: Faults | None = None) -> None:
        self.folder = folder
        self.faults = faults or Faults()
        self.images: set[str] = set()
        self.containers: dict[str, Container] = {}
        self.created: list[dict[str, Any]] = []
        self.root = folder / "image"
        write_tools(self.root / "bin", jars)
        if self.faults.start:
            (self.root / "bin" / "kafka-storage.sh").write_text("#!/bin/sh\n")
            (self.root / "bin" / "kafka-server-start.sh").write_text(f"#!/bin/sh\necho '{self.faults.start}'; exit 3\n")
        super().__init__(str(folder / "docker.sock"), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def host(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.folder / 'docker.sock'}"

    def made_of(self, image: str) -> list[str]:
        """Return the containers of an image, whatever their state."""
        return [name for name, one in self.containers.items() if image in one.body["Image"]]

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        for container in self.containers.values():
            container.end(signal.SIGKILL)

    def handle_error(self, *_request: object) -> None:
        """Nothing: a client that goes in the middle of an answer is no fault."""

    def start(self, container: Container) -> None:
        bindings = container.body["HostConfig"].get("PortBindings") or {}
        if "ryuk" in container.body["Image"]:
            container.reaper = socket.create_server(("127.0.0.1", 0))
            port = container.reaper.getsockname()[1]
            container.ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
            container.log.write_text("Started!\n")
            threading.Thread(target=self._reap, args=(container.reaper,), daemon=True).start()
            return
        container.ports = bindings
        command = [word.replace("/opt/kafka/", f"{self.root}/") for word in container.body["Cmd"]]
        environment = dict(one.split("=", 1) for one in container.body["Env"]) | {"PATH": os.environ["PATH"]}
        with container.log.open("wb") as log:
            container.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def remove(self, name: str) -> None:
        container = self.containers.pop(name)
        container.end(signal.SIGKILL)
        shutil.rmtree(container.log.parent)

    def _reap(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            label, _, value = connection.recv(4096).decode().strip().removeprefix("label=").partition("=")
            with contextlib.suppress(ConnectionResetError):
                connection.sendall(b"ACK\n")
                while connection.recv(4096):
                    pass
        for name, container in [*self.containers.items()]:
            if container.body.get("Labels", {}).get(label) == value:
                self.remove(name)


class Handler(BaseHTTPRequestHandler):
    """The calls of Docker's API."""

    protocol_version = "HTTP/1.1"
    server: Daemon

    def log_message(self, *_arguments: object) -> None:
        pass

    def address_string(self) -> str:
        return "a client"

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_DELETE(self) -> None:
        self._route()

    def _route(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v[0-9.]+", "", url.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        daemon, faults = self.server, self.server.faults
        match self.command, *path.strip("/").split("/"):
            case "GET", "version":
                self._answer(200, {"ApiVersion": "1.44", "Version": "27.0"})
            case "GET", "info":
                self._answer(200, {"SecurityOptions": ["name=seccomp,profile=builtin"]})
            case "GET", "networks":
                self._answer(200, [])
            case "GET", "images", *name, "json":
                known = "/".join(name) in daemon.images
                self._answer(200 if known else 404, {"Id": "/".join(name)} if known else {"message": "No such image"})
            case "POST", "images", "create":
                self._stream(self._pull(f"{query['fromImage']}:{query['tag']}"))
            case "POST", "containers", "create":
                self._create(query.get("name", f"c{len(daemon.created)}"), json.loads(body), faults.create)
            case "GET", "containers", "json":
                wanted = json.loads(query["filters"])["id"]
                self._answer(200, [one.inspect() for name, one in daemon.containers.items() if name in wanted])
            case _, "containers", name, *action:
                self._of_container(name, action)
            case _:
                self._answer(404, {"message": f"{self.command} {path} is not known here"})

    def _pull(self, image: str) -> Iterator[dict[str, str]]:
        faults = self.server.faults
        yield {"status": f"Pulling from {image}"}
        while faults.slow_pull is not None and not faults.slow_pull.wait(0.05):
            yield {"status": "Downloading"}
        if faults.pull:
            yield {"error": faults.pull}
        else:
            self.server.images.add(image)

    def _create(self, name: str, body: dict[str, Any], refusal: str) -> None:
        daemon = self.server
        if refusal and "ryuk" not in body["Image"]:
            self._answer(500, {"message": refusal})
        elif body["Image"] not in daemon.images:
            self._answer(404, {"message": "No such image"})
        elif name in daemon.containers:
            self._answer(409, {"message": f"The container name {name} is already in use"})
        else:
            folder = daemon.folder / f"container-{len(daemon.created)}"
            folder.mkdir()
            daemon.containers[name] = Container(name, body, folder / "log")
            daemon.created.append(body)
            self._answer(201, {"Id": name, "Warnings": []})

    def _of_container(self, name: str, action: list[str]) -> None:
        daemon = self.server
        container = daemon.containers.get(name)
        if container is None:
            self._answer(404, {"message": f"No such container: {name}"})
            return
        match self.command, *action:
            case "GET", "json":
                self._answer(200, container.inspect())
            case "GET", "logs":
                said = container.log.read_bytes() if container.log.exists() else b""
                self._send(200, "application/octet-stream", struct.pack(">BxxxI", 1, len(said)) + said)
            case "POST", "start":
                daemon.start(container)
                self._answer(204, None)
            case "POST", "stop":
                container.end(signal.SIGTERM)
                self._answer(204, None)
            case ("DELETE",):
                daemon.remove(name)
                self._answer(204, None)
            case _:
                self._answer(404, {"message": f"{self.command} {'/'.join(action)} of a container is not known here"})

    def _answer(self, status: int, value: object) -> None:
        self._send(status, "application/json", b"" if value is None else json.dumps(value).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, lines: Iterator[dict[str, str]]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in lines:
                data = json.dumps(line).encode() + b"\r\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
