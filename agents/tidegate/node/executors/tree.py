"""The digest of a folder: names, kinds, executable bits and contents. Whatever a person changes by hand changes it.

Cost: the first time every byte is read. Later one ``lstat`` a file, and only files are read again whose size, times or inode
changed. The change time cannot be set back without root, so what was edited by hand is found; what rots on the disk is found at
the next start of the version or of the agent, which read everything.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tidegate.node.artifacts import sha256_of

Memo = dict[str, tuple[tuple[int, ...], str]]
"""What is known of each file: its identity by ``lstat``, and what it is."""


def tree_digest(folder: Path, memo: Memo, *, leave_out: frozenset[str] = frozenset()) -> str:
    """Return the sha256 of a folder as it is now; OSError where it is gone. ``memo`` is read and brought up to date."""
    digest, seen = hashlib.sha256(), set()
    for path in _sorted(folder):
        if path in leave_out:
            continue
        seen.add(path)
        line = f"{path}\0{content_of(folder / path, path, memo)}\0"
        digest.update(line.encode(errors="surrogateescape"))
    for gone in memo.keys() - seen:
        del memo[gone]
    return digest.hexdigest()


def sync_tree(folder: Path) -> None:
    """Make everything in a folder durable: the files, then the folders that name them, the deepest first; OSError."""
    for where, _, files in os.walk(folder, topdown=False):
        for name in (*files, "."):
            path = os.path.join(where, name)  # noqa: PTH118 - a Path swallows the dot
            if not os.path.islink(path):  # noqa: PTH114
                sync(Path(path))


def sync(path: Path) -> None:
    """Make one file or folder durable; OSError."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _sorted(folder: Path) -> Iterator[str]:
    """Yield what is in a folder, each folder before what it holds. Without recursion: a script may make folders of any depth."""
    left = _backwards(folder, "")
    while left:
        path, is_folder = left.pop()
        yield path
        if is_folder:
            left += _backwards(folder, path)


def _backwards(folder: Path, inside: str) -> list[tuple[str, bool]]:
    with os.scandir(folder / inside) as entries:
        found = sorted(entries, key=lambda entry: entry.name, reverse=True)
    return [(f"{inside}/{one.name}" if inside else one.name, one.is_dir(follow_symlinks=False)) for one in found]


def content_of(at: Path, key: str, memo: Memo) -> str:
    """Return what a file is: its kind, whether it is a program, its sha256 or where it links to. OSError where it is gone."""
    now = at.lstat()
    identity = (now.st_ino, now.st_dev, now.st_mode, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    known = memo.get(key)
    if known is not None and known[0] == identity:
        return known[1]
    if stat.S_ISDIR(now.st_mode):
        what = "folder"
    elif stat.S_ISLNK(now.st_mode):
        what = f"link {at.readlink()}"
    elif stat.S_ISREG(now.st_mode):
        what = f"{'program' if now.st_mode & 0o100 else 'file'} {sha256_of(at)}"
    else:
        what = f"other {now.st_mode:o} {now.st_rdev}"
    memo[key] = (identity, what)
    return what
