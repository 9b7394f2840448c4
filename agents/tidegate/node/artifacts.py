"""The artifact cache: fetched, digest checked, renamed into place; bounded, and what may be needed again is never thrown away."""

import asyncio
import contextlib
import hashlib
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from tidegate.node.executor import FetchFailed
from tidegate.wire.plans import Artifact

CHUNK_BYTES = 1 << 18
RESERVE_BYTES = 64 << 20
"""Room that a fetch leaves on the disk, for state and logs."""
ARTIFACT_BYTES_MOST = 8 << 30
SILENT_MOST_S = 30.0
"""A server that says nothing for so long is given up."""


class ArtifactCache:
    """Files named by their sha256 in one folder. Reads are cheap; a file is measured when it comes and before it is run."""

    def __init__(self, folder: Path, bytes_max: int, free_bytes: Callable[[], int]) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._free_bytes = free_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def holds(self, artifact: Artifact) -> bool:
        """Return whether the artifact, and its configuration if it has one, were fetched and checked."""
        return all((self._folder / digest).exists() for digest in _digests(artifact))

    def path(self, artifact: Artifact) -> Path:
        """Return where the artifact lies."""
        return self._folder / artifact.sha256

    def config_path(self, artifact: Artifact) -> Path | None:
        """Return where the artifact's configuration lies, None where it has none."""
        return self._folder / artifact.config_sha256 if artifact.config_sha256 is not None else None

    def measure(self, artifact: Artifact) -> str:
        """Return the sha256 of the artifact's file as it is now; empty where it, or its configuration, is gone or altered."""
        try:
            if any(sha256_of(self._folder / digest) != digest for digest in _digests(artifact)[1:]):
                return ""
            return sha256_of(self.path(artifact))
        except OSError:
            return ""

    def check(self, artifact: Artifact) -> None:
        """Measure before a start. What is not what it was is thrown away, and FetchFailed says so."""
        for digest in _digests(artifact):
            path = self._folder / digest
            if not path.exists() or sha256_of(path) != digest:
                path.unlink(missing_ok=True)
                raise FetchFailed(f"the cached file of {artifact.version} is gone or altered ({path}); it is fetched again")

    async def fetch(self, artifact: Artifact, keep: Iterable[Artifact]) -> None:
        """Bring an artifact and its configuration here; FetchFailed. Cancellation leaves nothing half done."""
        kept = {digest for one in (artifact, *keep) for digest in _digests(one)}
        uris = [artifact.uri, *([artifact.config_uri] if artifact.config_sha256 is not None else [])]
        for digest, uri in zip(_digests(artifact), uris, strict=True):
            if (self._folder / digest).exists():
                continue
            stop = threading.Event()
            size_bytes = artifact.size_bytes if digest == artifact.sha256 else 0
            try:
                await asyncio.to_thread(self._fetch, uri, digest, size_bytes, kept, stop)
            finally:
                stop.set()

    def _fetch(self, uri: str, digest: str, size_bytes: int, kept: set[str], stop: threading.Event) -> None:
        beside = self._folder / f".{digest}.{threading.get_ident()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _source(uri) as (source, length), beside.open("wb") as file:
                self._make_room(max(size_bytes, length), kept)
                found = _copy(source, file, limit_bytes=size_bytes or ARTIFACT_BYTES_MOST, stop=stop)
                file.flush()
                os.fsync(file.fileno())
            if found != digest:
                raise FetchFailed(f"{uri} has sha256 {found}, the plan says {digest}")
            beside.chmod(0o555)
            if not stop.is_set():
                beside.replace(self._folder / digest)
        except (OSError, urllib.error.URLError, ValueError) as error:
            raise FetchFailed(f"{uri or '(no uri)'}: {error}") from error
        finally:
            beside.unlink(missing_ok=True)

    def _make_room(self, need_bytes: int, kept: set[str]) -> None:
        """Refuse before anything is touched where the disk has no room; throw away the oldest files that nobody needs."""
        files = sorted((one for one in self._folder.iterdir() if one.is_file()), key=lambda one: one.stat().st_mtime)
        used_bytes = sum(one.stat().st_size for one in files)
        for file in files:
            enough = self._free_bytes() >= need_bytes + RESERVE_BYTES
            if enough and used_bytes + need_bytes <= self._bytes_max:
                break
            if file.name not in kept and not file.name.startswith("."):
                used_bytes -= file.stat().st_size
                file.unlink()
        if self._free_bytes() < need_bytes + RESERVE_BYTES:
            raise FetchFailed(
                f"{self._free_bytes() >> 20} MiB are free in {self._folder}; the artifact needs {need_bytes >> 20} MiB "
                f"beside a reserve of {RESERVE_BYTES >> 20} MiB; free space there"
            )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes as they are now, in hexadecimal. OSError where there is none."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digests(artifact: Artifact) -> list[str]:
    return [artifact.sha256, *([artifact.config_sha256] if artifact.config_sha256 is not None else [])]


@contextlib.contextmanager
def _source(uri: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open a path, a file:// or an http(s):// address; yield it with its length, 0 where that is not known."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme in ("http", "https"):
        with urllib.request.urlopen(uri, timeout=SILENT_MOST_S) as response:  # noqa: S310 - the scheme was looked at
            yield cast("BinaryIO", response), int(response.headers.get("Content-Length") or 0)
        return
    if parts.scheme not in ("", "file"):
        raise FetchFailed(f"{uri}: {parts.scheme} is not understood; write a path, file:// or http(s):// address")
    path = Path(urllib.parse.unquote(parts.path) if parts.scheme else uri)
    with path.open("rb") as file:
        yield file, path.stat().st_size


def _copy(source: BinaryIO, into: BinaryIO, *, limit_bytes: int, stop: threading.Event) -> str:
    """Copy and return the sha256; ends early when told to. FetchFailed beyond the limit."""
    digest, copied_bytes = hashlib.sha256(), 0
    while not stop.is_set() and (chunk := source.read(CHUNK_BYTES)):
        copied_bytes += len(chunk)
        if copied_bytes > limit_bytes:
            raise FetchFailed(f"there is more than the {limit_bytes} bytes that the plan says")
        digest.update(chunk)
        into.write(chunk)
    return digest.hexdigest()
