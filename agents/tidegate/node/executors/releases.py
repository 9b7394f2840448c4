"""The folder ``releases``: one folder a release, whole or not there at all; bounded; measured.

A release is unpacked beside, made durable file by file, given its manifest, and only then renamed into place: what lies in
``releases`` under a name without a dot is complete after any crash. It is renamed away before it is taken apart, likewise.
"""

import contextlib
import os
import posixpath
import shutil
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from msgspec import Struct

from tidegate.node.artifacts import RESERVE_BYTES, ArtifactCache
from tidegate.node.executors.tree import Memo, sync, sync_tree, tree_digest
from tidegate.node.executors.unpack import Unusable, is_archive, unpack
from tidegate.reconcile.held import identity
from tidegate.wire.codec import Malformed, decode, encode
from tidegate.wire.plans import Artifact

OURS = ".tidegate"
"""The folder in a release that is not the artifact's: manifest, configuration, environment."""
MANIFEST = f"{OURS}/release.json"
CONFIG = f"{OURS}/config"
ENVIRONMENT = f"{OURS}/env"
NOT_MEASURED = frozenset({MANIFEST, ENVIRONMENT})

log = structlog.get_logger("node.releases")


class Release(Struct, frozen=True, kw_only=True):
    """One release, as its manifest says it. ``tree`` is the digest of all its files when it was unpacked."""

    name: str
    artifact: Artifact
    tree: str


class Releases:
    """See the module. ``prepare`` may refuse (Unusable) or mend an unpacked release before it counts."""

    def __init__(self, folder: Path, bytes_most: int, free_bytes: Callable[[], int], prepare: Callable[[Path], None]) -> None:
        self.folder = folder
        self._bytes_most = bytes_most
        self._free_bytes = free_bytes
        self._prepare = prepare
        self._known: dict[str, Release] = {}
        self._memos: dict[str, Memo] = {}

    def load(self) -> None:
        """Find what is there; throw away what an earlier life of the agent had not finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known = {}
        for path in sorted(self.folder.iterdir(), key=_age):
            if path.name.startswith("."):
                log.info("half a release thrown away", path=str(path))
                _remove(path)
            elif (release := _manifest(path)) is not None:
                self._known[path.name] = release

    def path(self, release: Release) -> Path:
        """Return where a release lies."""
        return self.folder / release.name

    def named(self, name: str) -> Release | None:
        """Return the release of a folder's name; None where that is not one of ours."""
        return self._known.get(name)

    def find(self, artifact: Artifact) -> Release | None:
        """Return the newest whole release of an artifact."""
        known = list(self._known.values())  # a thread may make or prune meanwhile
        found = [one for one in known if identity(one.artifact) == identity(artifact)]
        return next((one for one in reversed(found) if (self.folder / one.name / MANIFEST).exists()), None)

    def intact(self, release: Release, *, read_all: bool = False) -> bool:
        """Return whether every file is what was unpacked. See ``tree`` for what it costs; ``read_all``: trust no memory."""
        memo = {} if read_all else self._memos.get(release.name, {})
        self._memos[release.name] = memo
        with contextlib.suppress(OSError):
            return tree_digest(self.path(release), memo, leave_out=NOT_MEASURED) == release.tree
        return False

    def make(self, artifact: Artifact, cache: ArtifactCache, stop: threading.Event) -> Release | None:
        """Return a release that is whole, unpacked anew where there is none or it was altered; None when told to stop.

        Unusable, FetchFailed, OSError. An altered one that may run stays where it is, under its own name, until it is old.
        """
        found = self.find(artifact)
        if found is not None and self.intact(found, read_all=True):
            os.utime(self.folder / found.name / MANIFEST)
            self._known[found.name] = self._known.pop(found.name)  # the newest is the last
            return found
        if found is not None:
            log.warning("release altered", release=found.name, problem="it is unpacked anew beside the altered one")
            del self._known[found.name]
        cache.check(artifact)
        name = self._free_name(artifact)
        beside = self.folder / f".{name}.unpacking"
        try:
            beside.mkdir(parents=True)
            self._fill(beside, artifact, cache, stop)
            if stop.is_set():
                return None
            release = Release(name=name, artifact=artifact, tree=tree_digest(beside, {}, leave_out=NOT_MEASURED))
            (beside / MANIFEST).write_bytes(encode(release))
            sync_tree(beside)
            beside.rename(self.folder / name)
            sync(self.folder)
        finally:
            _remove(beside)
        self._known[name] = release
        return release

    def prune(self, keep: int, needed: Iterable[str]) -> None:
        """Throw away the oldest releases beyond ``keep``, never one whose name is needed. What is not ours stays."""
        spared = set(needed)
        found = {path.name: release for path in self.folder.iterdir() if (release := _manifest(path)) is not None}
        spare = sorted((name for name in found if name not in spared), key=lambda name: _age(self.folder / name), reverse=True)
        for name in spare[keep:]:
            going = self.folder / f".{name}.removing"
            with contextlib.suppress(OSError):
                (self.folder / name).rename(going)
                sync(self.folder)
            self._known.pop(name, None)
            self._memos.pop(name, None)
            _remove(going)

    def _fill(self, beside: Path, artifact: Artifact, cache: ArtifactCache, stop: threading.Event) -> None:
        source, name = cache.path(artifact), _file_name(artifact)
        bytes_most = min(self._bytes_most, max(0, self._free_bytes() - RESERVE_BYTES))
        if is_archive(name):
            unpack(source, name, beside, bytes_most=bytes_most, stop=stop)
        elif source.stat().st_size > bytes_most:
            raise Unusable(f"{name} is more than the {bytes_most} bytes that there is room for; free space in {self.folder}")
        else:
            shutil.copyfile(source, beside / name)
            (beside / name).chmod(0o755)
        if os.path.lexists(beside / OURS):
            raise Unusable(f"the artifact may not hold {OURS}")
        (beside / OURS).mkdir()
        if (config := cache.config_path(artifact)) is not None:
            shutil.copyfile(config, beside / CONFIG)
        self._prepare(beside)

    def _free_name(self, artifact: Artifact) -> str:
        name = "-".join(
            [artifact.version, artifact.sha256[:12], *([artifact.config_sha256[:12]] if artifact.config_sha256 else [])]
        )
        count, free = 1, name
        while os.path.lexists(self.folder / free):
            count += 1
            free = f"{name}.{count}"
        return free


def _file_name(artifact: Artifact) -> str:
    """Return the last word of where an artifact comes from.

    >>> _file_name(Artifact(version="1", sha256="0" * 64, uri="https://host/shop.tgz?key=1"))
    'shop.tgz'
    """
    parts = urllib.parse.urlsplit(artifact.uri)
    path = urllib.parse.unquote(parts.path) if parts.scheme else artifact.uri
    name = posixpath.basename(path)
    return name if name not in ("", ".", "..", OURS) else "artifact"


def _manifest(path: Path) -> Release | None:
    if path.name.startswith("."):
        return None
    try:
        release = decode((path / MANIFEST).read_bytes(), Release)
    except (OSError, Malformed):
        return None
    return release if release.name == path.name else None


def _age(path: Path) -> tuple[int, str]:
    with contextlib.suppress(OSError):
        return (path / MANIFEST).stat().st_mtime_ns, path.name
    return 0, path.name


def _remove(path: Path) -> None:
    """Take a folder apart. What cannot be removed now is tried again by the next life of the agent."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
