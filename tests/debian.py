"""Real servers of others for tests, from Debian's packages: on the PATH, in the cache, or fetched into it once, announced.

Nothing is installed, and no right of an administrator is needed. Where none of it works a test fails and says what to do.
"""

import contextlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tidegate.broker.jars import cache_folder

FETCH_WITHIN_S = 240


class NoProgram(Exception):
    """A program is not installed and cannot be fetched; the text says what to do."""


def program(package: str, name: str) -> str:
    """Return a program of a package."""
    return shutil.which(name) or str(unpacked(package) / "usr" / "bin" / name)


def unpacked(package: str, kept_as: str = "", mend: Callable[[Path], None] = lambda _: None) -> Path:
    """Return the folder that holds a package's files. ``mend`` changes them before they are kept, as ``kept_as``."""
    folder = cache_folder() / "-".join(filter(None, (package, platform.machine(), kept_as)))
    if folder.exists():
        return folder
    remedy = f"install it (Debian, Ubuntu: apt install {package})"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoProgram(f"no {package} on the PATH, and no apt-get to fetch it; {remedy}")
    sys.stderr.write(f"fetching {package} into {folder}, once (10 to 20 MB)\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as name:
        beside = Path(name)
        files = beside / "unpacked"
        subprocess.run(["dpkg", "-x", str(_download(package, beside, remedy)), str(files)], check=True, timeout=60)
        mend(files)
        with contextlib.suppress(OSError):  # another process was faster
            files.rename(folder)
    return folder


def _download(package: str, beside: Path, remedy: str) -> Path:
    # This machine's own lists may be missing or stale: then fresh ones, beside.
    fresh = ["-o", f"Dir::State::lists={beside}/lists", "-o", f"Dir::Cache={beside}"]
    for part in ("lists", "archives"):
        Path(beside, part, "partial").mkdir(parents=True)
    for arguments in (["download", package], [*fresh, "update"], [*fresh, "download", package]):
        done = subprocess.run(
            ["apt-get", *arguments], cwd=beside, capture_output=True, text=True, timeout=FETCH_WITHIN_S, check=False
        )
        found = list(beside.glob("*.deb"))
        if found:
            return found[0]
    raise NoProgram(f"{package} cannot be fetched: {done.stderr.strip()[-200:]}; {remedy}")
