"""Groups as they were decided, version by version, with everything that was read for them.

``PYTHONPATH=. .venv/bin/python -m tests.golden.groups NUMBER`` adds a file; those that are there are never written again. Each is
the log of a simulated fleet whose decision agents are the real ones: three first installs in three waves, then two waves of which
the second fails, and a death in between.
"""

import asyncio
import sys
from pathlib import Path

import cramjam
import msgspec
from tests.decider.groupkit import RECORDS, played

from tidegate.ports import Record

HERE = Path(__file__).parent


def group_ledger(number: int) -> list[Record]:
    """Return the records of one file, topic by topic in the order of their offsets."""
    data = bytes(cramjam.zstd.decompress((HERE / f"groups-{number}.zst").read_bytes()))
    return [Record(*fields) for fields in msgspec.msgpack.decode(data)]


def numbers() -> list[int]:
    """Return the numbers of the files."""
    return sorted(int(path.stem.partition("-")[2]) for path in HERE.glob("groups-*.zst"))


async def told() -> list[Record]:
    """Play the story and return its log."""
    world = await played(dies_at=RECORDS // 2)
    try:
        return world.records()
    finally:
        await world.end()


if __name__ == "__main__":
    path = HERE / f"groups-{int(sys.argv[1])}.zst"
    if path.exists():
        raise SystemExit(f"{path} is there: a golden file is never written again")
    path.write_bytes(bytes(cramjam.zstd.compress(msgspec.msgpack.encode(asyncio.run(told())), 19)))
