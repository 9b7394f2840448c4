"""Checkpoints as they were written, version by version, and the log that goes on behind them.

``PYTHONPATH=. .venv/bin/python -m tests.golden.checkpoints`` adds the file of the present version; files of older ones are never
written again: they are what a fleet in the middle of an upgrade holds.
"""

from pathlib import Path

import cramjam
import msgspec

HERE = Path(__file__).parent
LOG = HERE / "nodeseconds.zst"
"""(append time in ms, bytes of the record), in order."""
CUT = 160
"""Records that a checkpoint here covers: two rollouts are in their first stage, one has failed early."""
TICKS = 230
"""Records in the log."""


def checkpoint(version: int) -> Path:
    """Return the file of one version: the state after ``CUT`` records of the log."""
    return HERE / f"checkpoint-{version}.zst"


def log() -> list[tuple[int, bytes]]:
    """Return the log."""
    return msgspec.msgpack.decode(bytes(cramjam.zstd.decompress(LOG.read_bytes())), type=list[tuple[int, bytes]])


def state(version: int) -> bytes:
    """Return the snapshot of one version."""
    return bytes(cramjam.zstd.decompress(checkpoint(version).read_bytes()))


def main() -> None:
    from tidegate.judge import JudgeState, snapshot, step  # noqa: PLC0415
    from tidegate.judge.snapshot import VERSION  # noqa: PLC0415
    from tidegate.wire import nodeseconds  # noqa: PLC0415

    if not LOG.exists():
        from tests.judge.story import story  # noqa: PLC0415

        entries = [(at_ms, nodeseconds.encode(record)) for at_ms, record in story(seconds=60)][:TICKS]
        LOG.write_bytes(bytes(cramjam.zstd.compress(msgspec.msgpack.encode(entries), 19)))
    if not checkpoint(VERSION).exists():
        judge = JudgeState()
        for append_ms, data in log()[:CUT]:
            step(judge, nodeseconds.decode(data), append_ms)
        checkpoint(VERSION).write_bytes(bytes(cramjam.zstd.compress(snapshot(judge), 19)))


if __name__ == "__main__":
    main()
