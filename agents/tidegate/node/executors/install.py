"""Event Install: files of a release are copied to where they belong, and what only the revision before had copied is removed.

Each file appears by a rename, whole. What will have been copied is written down before the first one, so that a copy which is
broken off is taken away by the next.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tidegate.node.executors.appspec import AppSpec, inside
from tidegate.node.executors.releases import OURS
from tidegate.node.executors.tree import Memo, content_of, sync
from tidegate.ports import Disk
from tidegate.wire.codec import Malformed, decode, encode


class Installed:
    """What one service's revisions have copied to other folders of the machine."""

    def __init__(self, service: str, disk: Disk) -> None:
        self._file = f"installed-{service}"
        self._disk = disk
        self._memo: Memo = {}

    def install(self, spec: AppSpec, release: Path) -> None:
        """Copy what a release says, remove what only an earlier one had copied; OSError."""
        pairs = list(_pairs(spec, release))
        wanted = {str(target) for _, target in pairs}
        before = self._read()
        self._disk.write(self._file, encode(tuple(sorted(before | wanted))))
        for path in sorted(before - wanted):
            Path(path).unlink(missing_ok=True)
        for source, target in pairs:
            _copy(source, target)
        for folder in sorted({target.parent for _, target in pairs}):
            sync(folder)
        self._disk.write(self._file, encode(tuple(sorted(wanted))))

    def intact(self, spec: AppSpec, release: Path) -> bool:
        """Return whether what was copied is still what the release has; modes are the hooks' to set. Costs what ``tree`` says."""
        with contextlib.suppress(OSError):
            return all(self._content(source) == self._content(target) for source, target in _pairs(spec, release))
        return False

    def forget(self) -> None:
        """Read every byte again next time."""
        self._memo = {}

    def _content(self, path: Path) -> str:
        return content_of(path, str(path), self._memo).removeprefix("program ").removeprefix("file ")

    def _read(self) -> set[str]:
        data = self._disk.read(self._file)
        with contextlib.suppress(Malformed):
            return set(decode(data, tuple[str, ...])) if data is not None else set()
        return set()


def _pairs(spec: AppSpec, release: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file with where it goes. As CodeDeploy does: into the destination goes a file, or what a folder holds."""
    for one in spec.files or ():
        source, destination = inside(release, one.source), Path(one.destination)
        if not source.is_dir():
            yield source, destination / source.name
            continue
        for where, folders, files in os.walk(source):
            folders[:] = sorted(name for name in folders if not (where == str(release) and name == OURS))
            links = [name for name in folders if (Path(where) / name).is_symlink()]
            for name in sorted((*files, *links)):
                yield Path(where) / name, destination / Path(where).relative_to(source) / name


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name[:200]}.tidegate")
    beside.unlink(missing_ok=True)
    shutil.copy2(source, beside, follow_symlinks=False)
    if not beside.is_symlink():
        sync(beside)
    beside.replace(target)
