"""What services and their commands print: files of a bounded number and length, whose ends go into error texts."""

import contextlib
from collections.abc import Collection
from pathlib import Path

OUTPUTS_KEPT = 20
OUTPUT_BYTES_MOST = 16 << 20
"""A talkative service must not fill the node's disk."""
TAIL_BYTES = 2_048


def tail_of(output: Path, begin: int = 0) -> str:
    """Return the last lines that were printed since an offset; empty where there are none."""
    with contextlib.suppress(OSError), output.open("rb") as file:
        file.seek(max(begin, output.stat().st_size - TAIL_BYTES))
        return file.read(TAIL_BYTES).decode(errors="replace").strip()
    return ""


def bound_outputs(folder: Path, in_use: Collection[str]) -> None:
    """Throw away the oldest outputs, and what is too long: whoever prints appends, so cutting to nothing is safe.

    ``in_use``: names, without what follows the last dot, of outputs that somebody prints to. However quiet they were, they stay:
    thrown away, they would fill the disk unseen.
    """
    with contextlib.suppress(OSError):
        for index, path in enumerate(sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)):
            if index >= OUTPUTS_KEPT and path.stem not in in_use:
                path.unlink(missing_ok=True)
            elif path.stat().st_size > OUTPUT_BYTES_MOST:
                path.write_bytes(b"")
