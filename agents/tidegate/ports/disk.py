"""The disk: small files that survive a crash whole."""

import os
import shutil
from pathlib import Path
from typing import IO, Protocol


class Disk(Protocol):
    """A folder of named blobs. A write is durable and atomic when it returns: after a crash the old or the new bytes
    are there, never a mixture.
    """

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a name, or None where there are none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace the bytes of a name, durably. OSError where the disk is full or gone."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes are free."""
        ...


class SystemDisk:
    """Files in one folder: written beside, synced, renamed, and the folder synced.

    ``writer`` tells apart several who write the same names. ``private``: the folder's owner alone can read what is written, also
    where root writes it for that user.
    """

    def __init__(self, folder: Path, writer: str = "new", *, private: bool = False) -> None:
        self._folder = folder
        self._writer = writer
        self._private = private
        folder.mkdir(0o700 if private else 0o777, parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a name, or None where there are none."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Replace the bytes of a name, durably."""
        beside = self._folder / f".{name}.{self._writer}"
        with self._private_file(beside) if self._private else beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._folder / name)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def free_bytes(self) -> int:
        """Return how many bytes are free."""
        return shutil.disk_usage(self._folder).free

    def _private_file(self, path: Path) -> IO[bytes]:
        """Return a new file. What stands there is not opened: the folder's owner may have put a link there, and root would give
        that user whatever it leads to.
        """
        path.unlink(missing_ok=True)
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
        if os.geteuid() == 0:
            owner = self._folder.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        return file
