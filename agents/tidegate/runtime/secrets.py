"""Where a secret is: in a file or in the environment, never in the settings, a log line or an error."""

import os
import stat
from pathlib import Path

from tidegate.runtime.problem import Problem


def read_secret(where: str, base: Path) -> str:
    """Return the secret that ``file:PATH`` or ``env:NAME`` names. Problem where it is missing, empty or open to others."""
    kind, _, name = where.partition(":")
    if kind == "env" and name:
        found = os.environ.get(name, "").strip()
        if not found:
            raise Problem(f"the variable {name} holds no secret", f"set {name}, or name a file: file:PATH", code=2)
        return found
    if kind == "file" and name:
        return _file(base / name)
    raise Problem("a secret is written as file:PATH or env:NAME, never as itself", "mend the settings", code=2)


def _file(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path}: no secret can be read there", "write it there, readable by its owner alone", code=2) from error
    if mode & 0o077:
        raise Problem(f"{path} is a secret and others can read it (mode {mode:04o})", f"run: chmod 600 {path}", code=2)
    if not text:
        raise Problem(f"{path} is empty", "write the secret there", code=2)
    return text
