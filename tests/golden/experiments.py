"""Checkpoints of experiment as they were written, version by version.

``PYTHONPATH=. .venv/bin/python -m tests.golden.experiments`` adds the file of the present version; files of older ones are never
written again: they are what a fleet in the middle of an upgrade holds.
"""

from pathlib import Path

import cramjam
from tests.experiments.kit import BEGIN_MS, did, folded, saw

from tidegate.experiments import snapshot
from tidegate.experiments.snapshot import VERSION

HERE = Path(__file__).parent
PEOPLE = 60
EVENTS = [
    event
    for at in range(PEOPLE)
    for event in (saw(at, ("off", "on")[at % 2]), did(at, "bought", at_ms=BEGIN_MS + at), did(at, "paid", float(at)))
]
"""What a checkpoint here covers; a third of it, and then user 0 saw both."""


def checkpoint(version: int) -> Path:
    """Return the file of one version."""
    return HERE / f"experiment-{version}.zst"


def state(version: int) -> bytes:
    """Return the snapshot of one version."""
    return bytes(cramjam.zstd.decompress(checkpoint(version).read_bytes()))


def main() -> None:
    if not checkpoint(VERSION).exists():
        data = snapshot(folded([*EVENTS[:PEOPLE], saw(0, "on")]))
        checkpoint(VERSION).write_bytes(bytes(cramjam.zstd.compress(data, 19)))


if __name__ == "__main__":
    main()
