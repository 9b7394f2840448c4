"""The key document in a file, with which all trust of a process begins; and files whose mode matters."""

import os
import stat
from pathlib import Path

from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed
from tidegate.wire.envelope import Refused, Trust
from tidegate.wire.keys import trust_of, unseal_root


def read_trust(path: Path) -> Trust:
    """Return the trust that the key document in a file states, no node enrolled yet. Problem where it cannot be trusted.

    All trust begins with this file: who can write it decides whose commands count.
    """
    try:
        return trust_of(
            unseal_root(read_guarded(path, 0o022, "says whose keys count and others can write it", f"chmod go-w {path}"), None)
        )
    except (Malformed, Refused) as error:
        raise Problem(f"{path}: {error}", "restore it from a copy") from error


def read_guarded(path: Path, forbidden: int, what: str, remedy: str) -> bytes:
    """Return a file's bytes, after a look at the mode of that very file; Problem where it has one of the ``forbidden`` bits."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & forbidden:
                raise Problem(f"{path} {what} (mode {mode:04o})", f"run: {remedy}")
            return file.read()
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "make keys with: tidegate init, or name the home with --home") from error


def write_public(path: Path, data: bytes) -> None:
    """Write or replace a file that everybody may read, whole; nobody else may write it, whatever the umask says."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
