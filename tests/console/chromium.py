"""A real browser for tests: Debian's Chromium, installed where there is none and this is allowed; else a test fails and says what
to do.
"""

import os
import shutil
import subprocess
import sys

from tests.debian import NoProgram

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INSTALL_WITHIN_S = 600
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """Return the path of a browser."""
    found = _found()
    return found if found is not None else _installed()


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _installed() -> str:
    remedy = "install it (Debian, Ubuntu: apt install chromium)"
    if os.geteuid() or not shutil.which("apt-get"):
        raise NoProgram(f"no browser on the PATH ({', '.join(NAMES)}), and it cannot be installed from here; {remedy}")
    sys.stderr.write("installing Debian's chromium, once (some 100 MB)\n")
    # Another process may be at it: the lock is waited for.
    apt = ["apt-get", "-y", "-o", "DPkg::Lock::Timeout=300"]
    for arguments in (["update"], ["install", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            [*apt, *arguments],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=INSTALL_WITHIN_S,
            check=False,
        )
    found = _found()
    if found is None:
        raise NoProgram(f"chromium cannot be installed: {done.stderr.strip()[-200:]}; {remedy}")
    return found
