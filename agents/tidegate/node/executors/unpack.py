"""Unpacking an archive that is not trusted: nothing comes to lie outside the folder, and no more than a bound.

Refused are absolute names and ``..``, names that stand twice, devices, pipes, links that lead out, and what is encrypted. Owners
and setuid bits are not taken over. Links are made last, so that nothing is ever written through one.
"""

import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Self

from msgspec import Struct

CHUNK_BYTES = 1 << 18
MEMBERS_MOST = 200_000
DEPTH_MOST = 100
"""Folders within folders: the standard library walks and removes them by recursion."""
HEADER_BYTES_MOST = 1 << 20
"""Of a long name, or what else is said of a member: the library reads it into memory whole."""
_READ_WHOLE = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Unusable(Exception):
    """An artifact that cannot be made a release. Says what in it is wrong."""


class Member(Struct, frozen=True):
    """One thing in an archive. Exactly one of ``data``, ``link`` (symbolic), ``same`` (hard) and none of them (a folder)."""

    name: str
    mode: int
    data: IO[bytes] | None = None
    link: str | None = None
    same: str | None = None


def is_archive(name: str) -> bool:
    """Return whether a file of this name is unpacked; any other is a release of one file.

    >>> is_archive("shop-1.2.tar.zst"), is_archive("shop.pyz")
    (True, False)
    """
    return name.lower().endswith((*TARS, ".zip"))


def unpack(archive: Path, name: str, into: Path, *, bytes_most: int, stop: threading.Event) -> None:
    """Unpack ``archive``, whose kind ``name`` tells, into an empty folder. Unusable, OSError. Ends early when told to."""
    try:
        _Unpacking(into, bytes_most, stop).run(_zip(archive) if name.lower().endswith(".zip") else _tar(archive, name))
    except (*_DAMAGED, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise Unusable(f"{name} cannot be unpacked: {error}") from error


class _Unpacking:
    def __init__(self, into: Path, bytes_most: int, stop: threading.Event) -> None:
        self._into = into
        self._bytes_most = bytes_most
        self._left_bytes = bytes_most
        self._stop = stop
        self._links: list[tuple[Path, str]] = []

    def run(self, members: Iterator[Member]) -> None:
        for count, member in enumerate(members):
            if self._stop.is_set():
                return
            if count >= MEMBERS_MOST:
                raise Unusable(f"more than {MEMBERS_MOST} files")
            self._take(member, self._place(member.name))
        for path, target in self._links:
            self._parent(path, str(path.relative_to(self._into)))
            self._once(str(path.relative_to(self._into)), partial(path.symlink_to, target))
        root = os.path.realpath(self._into)
        for path, target in self._links:  # one link may lead through another: only now all of them are there
            if os.path.commonpath([root, os.path.realpath(path)]) != root:
                raise Unusable(f"link {path.relative_to(self._into)} leads out of the release: {target}")

    def _take(self, member: Member, path: Path) -> None:
        if member.link is not None:
            if member.link.startswith("/"):
                raise Unusable(f"link {member.name} leads out of the release: {member.link}")
            self._links.append((path, member.link))
        elif path == self._into:
            return
        elif member.same is not None:
            self._parent(path, member.name)
            self._once(member.name, lambda: os.link(self._place(member.same or ""), path, follow_symlinks=False))
        elif member.data is not None:
            self._parent(path, member.name)
            self._once(member.name, lambda: self._write(member, path))
        else:
            self._parent(path / "x", member.name)

    def _write(self, member: Member, path: Path) -> None:
        source = member.data
        assert source is not None  # noqa: S101 - for the type checker
        with path.open("xb") as file:
            while not self._stop.is_set() and (chunk := source.read(CHUNK_BYTES)):
                self._left_bytes -= len(chunk)
                if self._left_bytes < 0:
                    raise Unusable(
                        f"unpacked it is more than {self._bytes_most} bytes; raise `unpackedBytesMax` of the service's options"
                    )
                file.write(chunk)
        path.chmod(0o755 if member.mode & 0o111 else 0o644)

    def _place(self, name: str) -> Path:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name:
            raise Unusable(f"{name!r} leads out of the release")
        if len(pure.parts) > DEPTH_MOST:
            raise Unusable(f"{name[:40]!r}… lies more than {DEPTH_MOST} folders deep")
        return self._into / pure

    def _parent(self, path: Path, name: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise Unusable(f"{name} is both a file and a folder") from error
        except NotADirectoryError as error:
            raise Unusable(f"{name} lies in what is a file") from error
        if os.path.lexists(path) and not path.is_dir():
            raise Unusable(f"{name} stands twice in the archive")

    def _once(self, name: str, make: Callable[[], None]) -> None:
        try:
            make()
        except (FileExistsError, IsADirectoryError) as error:
            raise Unusable(f"{name} stands twice in the archive") from error
        except FileNotFoundError as error:
            raise Unusable(f"{name} is a link to what is not there") from error


def _zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if info.is_dir():
                yield Member(info.filename, mode)
            elif kind == stat.S_IFLNK:
                yield Member(info.filename, mode, link=os.fsdecode(opened.read(info)) if info.file_size < 4_096 else "/")
            elif kind in (0, stat.S_IFREG):
                with opened.open(info) as data:
                    yield Member(info.filename, mode, data=data)
            else:
                raise Unusable(f"{info.filename} is neither file nor folder nor link")


def _tar(archive: Path, name: str) -> Iterator[Member]:
    with _tar_stream(archive, name) as opened:
        for info in opened:
            if info.isdir():
                yield Member(info.name, info.mode)
            elif info.issym():
                yield Member(info.name, info.mode, link=info.linkname)
            elif info.islnk():
                yield Member(info.name, info.mode, same=info.linkname)
            elif info.isreg():
                yield Member(info.name, info.mode, data=opened.extractfile(info))
            else:
                raise Unusable(f"{info.name} is neither file nor folder nor link")


class _Info(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _READ_WHOLE and info.size > HEADER_BYTES_MOST:
            raise Unusable(f"a header of more than {HEADER_BYTES_MOST} bytes")
        return info


@contextmanager
def _tar_stream(archive: Path, name: str) -> Iterator[tarfile.TarFile]:
    if not name.lower().endswith(".zst"):
        with tarfile.open(archive, "r|*", tarinfo=_Info) as opened:
            yield opened
        return
    program = shutil.which("zstd")
    if program is None:
        raise Unusable(f"{name}: there is no program `zstd` on this node; install it, or publish a .tar.gz")
    with subprocess.Popen([program, "-dcq", str(archive)], stdout=subprocess.PIPE) as process:  # noqa: S603 - a file of the cache
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", tarinfo=_Info) as opened:
                yield opened
        finally:
            process.kill()
