"""The artifact cache: fetched, digest checked, renamed into place; bounded, and what may be needed again is never thrown away.

What was cut off lies beside as ``.<digest>.part`` while somebody needs it.
"""

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from tidegate.node.download import Wanted, download, shown
from tidegate.node.executor import FetchFailed
from tidegate.wire.plans import Artifact

RESERVE_BYTES = 64 << 20
"""Room that a fetch leaves on the disk, for state and logs."""
ARTIFACT_BYTES_MOST = 8 << 30
UNSIZED_BYTES_LEAST = 64 << 20
"""Even a small cache takes an artifact of so much whose plan does not say how long it is."""


class ArtifactCache:
    """Files named by their sha256 in one folder. Reads are cheap; a file is measured when it comes and before it is run."""

    def __init__(self, folder: Path, bytes_max: int, free_bytes: Callable[[], int]) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._free_bytes = free_bytes
        self._one = asyncio.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*"):  # by an agent that was killed in mid download
            left.replace(self._part(left.name.split(".")[1]))

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
        """Bring an artifact and its configuration here; FetchFailed. Cancelled, what has come is kept in part, and does not count
        before a later fetch has brought the rest.

        One at a time: whoever asks for what another is bringing waits, and finds it.
        """
        kept = {digest for one in (artifact, *keep) for digest in _digests(one)}
        uris = [artifact.uri, *([artifact.config_uri] if artifact.config_sha256 is not None else [])]
        async with self._one:
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
        limit_bytes = size_bytes or min(ARTIFACT_BYTES_MOST, max(self._bytes_max, UNSIZED_BYTES_LEAST))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self._part(digest).replace(beside)  # whoever is told to stop may write on for a moment, in a file of its own
                beside.chmod(0o600)
            with beside.open("a+b") as file:
                self._make_room(max(0, size_bytes - file.tell()), kept)
                wanted = Wanted(uri=uri, limit_bytes=limit_bytes, room=lambda length: self._make_room(length, kept), stop=stop)
                found = download(wanted, file)
                file.flush()
                os.fsync(file.fileno())
            if stop.is_set():
                return
            _compare(found, digest)
            self._make_room(0, kept)  # nobody had to say how long it is
            beside.chmod(0o555)
            beside.replace(self._folder / digest)
            self._sync()
        except (OSError, ValueError, FetchFailed) as error:
            raise FetchFailed(f"{shown(uri)}: {error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                if stop.is_set():
                    beside.replace(self._part(digest))
                else:
                    beside.unlink()

    def _part(self, digest: str) -> Path:
        return self._folder / f".{digest}.part"

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _make_room(self, need_bytes: int, kept: set[str]) -> None:
        """Throw away parts and the oldest files that nobody needs; refuse where the disk has no room even so."""
        for part in self._folder.glob(".*.part"):
            digest = part.name.split(".")[1]
            if digest not in kept or (self._folder / digest).exists():
                part.unlink(missing_ok=True)
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


def _compare(found: str, digest: str) -> None:
    if found != digest:
        raise FetchFailed(f"it has sha256 {found}, the plan says {digest}")


def _digests(artifact: Artifact) -> list[str]:
    return [artifact.sha256, *([artifact.config_sha256] if artifact.config_sha256 is not None else [])]
