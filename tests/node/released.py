"""Releases for executors ``symlink`` and ``hooks``: archives of a plain server, and an init system in a few shell scripts."""

import contextlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.node.kit import SERVER, free_port

from tidegate.node.config import Readiness, ServiceConfig
from tidegate.wire.documents import digest
from tidegate.wire.plans import Artifact

PLAIN = str(Path(SERVER).with_name("plain.py"))

# A corpse that nobody has buried yet can still be sent signals, so `kill -0` would not do.
STOP = """
if [ -s {at}/pid ]; then
    kill $(cat {at}/pid) 2>/dev/null
    while grep -qs '^State:.[RSDT]' /proc/$(cat {at}/pid)/status; do sleep 0.01; done
    rm -f {at}/pid
fi
"""
START = """
[ -z "$(cat $here/slow 2>/dev/null)" ] || sleep $(cat $here/slow)
if [ -e $here/broken ]; then echo "this version cannot start: no such table" >&2; exit 3; fi
setsid {python} {plain} {port} $here </dev/null >>{at}/server.log 2>&1 &
echo $! >{at}/pid
"""
STATUS = "[ -s {at}/pid ] && grep -q '^State:.[RSDT]' /proc/$(cat {at}/pid)/status"


class Unit:
    """What a unit of an init system is: a port, a pid file, commands that stop, start and look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.restart = self.script("restart", f"here=$(readlink -f {folder}/current)\n" + STOP + START)
        self.stop = self.script("stop", STOP)
        self.status = self.script("status", STATUS)

    def script(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(self.filled(text))
        path.chmod(0o755)
        return str(path)

    def filled(self, text: str) -> str:
        for key, value in {"at": self.folder, "port": self.port, "plain": PLAIN, "python": sys.executable}.items():
            text = text.replace(f"{{{key}}}", str(value))
        return "#!/bin/sh\n" + text

    def pids(self) -> list[int]:
        """Return every server on this unit's port, found without asking anybody."""
        return [pid for pid, words in command_lines() if PLAIN in words and str(self.port) in words]

    def commands(self) -> list[int]:
        """Return every restart under way."""
        return [pid for pid, words in command_lines() if self.restart in words]

    def symlink(self, **changes) -> ServiceConfig:
        options = {"folder": str(self.folder), "restart": [self.restart], "stop": [self.stop], "status": [self.status]}
        return self._service("symlink", options, changes)

    def hooks(self, **changes) -> ServiceConfig:
        return self._service("hooks", {"folder": str(self.folder), "status": [self.status]}, changes)

    def release(self, version: str, files: dict[str, str] | None = None, **behaviour: str) -> dict[str, str]:
        """Return the files of a release that both executors can run."""
        appspec = """
version: 0.0
os: linux
hooks:
  ApplicationStop: [{location: scripts/stop, timeout: 20}]
  ApplicationStart: [{location: scripts/start, timeout: 20}]
  ValidateService: [{location: scripts/status, timeout: 20}]
"""
        scripts = {"scripts/stop": STOP, "scripts/start": "here=$TIDEGATE_RELEASE\n" + STOP + START, "scripts/status": STATUS}
        made = {name: self.filled(text) for name, text in scripts.items()}
        return made | {"version": version, "appspec.yml": appspec} | behaviour | (files or {})

    def _service(self, executor: str, options: dict, changes: dict) -> ServiceConfig:
        fields = {"readiness": Readiness(http=f"http://127.0.0.1:{self.port}/"), "ready_within": "10s"}
        for key, value in changes.items():
            (fields if key in ServiceConfig.__struct_fields__ else options)[key] = value
        return ServiceConfig(executor=executor, options=options, **fields)


def command_lines() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")


def tarred(folder: Path, version: str, files: dict[str, str]) -> Artifact:
    """Write an archive and return what a plan says of it."""
    path = folder / f"{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text.encode()), 0o755 if text.startswith("#!") else 0o644
            archive.addfile(info, io.BytesIO(text.encode()))
    return artifact_of(path, version)


def zipped(folder: Path, version: str, files: dict[str, str]) -> Artifact:
    path = folder / f"{version}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return artifact_of(path, version)


def artifact_of(path: Path, version: str) -> Artifact:
    data = path.read_bytes()
    return Artifact(version=version, sha256=digest(data), size_bytes=len(data), uri=str(path))
