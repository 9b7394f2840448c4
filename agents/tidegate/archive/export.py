"""Export: the control topics, each to an end captured now, in one file.

``decisions`` is captured first. So the archive is what a decision agent would find that had crashed at that moment: everything
that a decision rests on, and questions that have no answer yet.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from msgspec import Struct

from tidegate.archive.file import Head, Writer
from tidegate.ports import Log, Record
from tidegate.runtime.problem import Problem
from tidegate.wire.topics import BY_NAME

TOPICS = ("decisions", "keys", "plans", "intents", "verdicts", "reports", "alarms", "flags", "experiments", "desired")
"""In the order in which they stand in the file. Telemetry and what derives from it is not among them."""
BACK = tuple(topic for topic in TOPICS if topic != "reports")
"""Those that a restore makes and writes, in this order. Nodes report where they find the topic, also while a restore is under
way, and what was reported more than 90 s ago says nothing any more (B5).
"""
WHOLE = ("keys",)
"""Compacted topics that are small, so that every record is kept; of the others the last of each key, as a broker may leave it."""
POLL_S = 1.0


class Exported(Struct, frozen=True, kw_only=True):
    """What was written."""

    path: str
    sha256: str
    size_bytes: int
    records: dict[str, int]
    """By topic."""


async def export(log: Log, path: Path, head: Head, said: Callable[[str, int], None] = lambda _topic, _count: None) -> Exported:
    """Write the archive of a log; ``said`` hears of each topic when it is done.

    A file appears under its name only when it is whole and durable. At most one poll of records is in memory, and of a compacted
    topic one record for each key. Problem where the file is there already or cannot be written.
    """
    ends = await _ends(log, TOPICS[:1]) | await _ends(log, TOPICS[1:])
    counts: dict[str, int] = {}
    with _appearing(path) as file:
        writer = Writer(file, head)
        for topic in TOPICS:
            before = writer.records.total()
            await _topic(log, topic, ends, writer)
            counts[topic] = writer.records.total() - before
            said(topic, counts[topic])
        sha256 = writer.end()
        size_bytes = file.tell()
    return Exported(path=str(path), sha256=sha256, size_bytes=size_bytes, records=counts)


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name when all is written, and is gone where that fails."""
    _still_free(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        file = partial.open("xb")
    except FileExistsError as error:
        raise Problem(
            f"{partial} is there: an export is under way, or was cut off", "remove it, or name another file", code=2
        ) from error
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _still_free(path)
        partial.rename(path)
    except (ConnectionError, TimeoutError) as error:
        what = str(error) or type(error).__name__
        raise Problem(f"the broker broke off: {what}", f"export again; {path} was not written") from error
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _still_free(path: Path) -> None:
    if path.exists():
        raise Problem(f"{path} is there already", "name another file; an archive is never written over", code=2)


def _unwritten(path: Path, error: OSError) -> Problem:
    return Problem(f"{path}: {error.strerror}", "name a file in a folder with room for it", code=2)


async def _ends(log: Log, topics: tuple[str, ...]) -> dict[tuple[str, int], int]:
    reader = await log.reader(topics, start="latest")
    try:
        return dict(reader.positions())
    finally:
        await reader.close()


async def _topic(log: Log, topic: str, ends: dict[tuple[str, int], int], writer: Writer) -> None:
    last_only = BY_NAME[topic].compacted and topic not in WHOLE
    kept: dict[tuple[int, str | None], Record] = {}
    reader = await log.reader([topic])
    try:
        while any(position < ends[at] for at, position in reader.positions().items()):
            found = [one for one in await reader.poll(POLL_S) if one.offset < ends[topic, one.partition]]
            if last_only:
                kept |= {(one.partition, one.key): one for one in found}
            else:
                _write(writer, topic, found)
    finally:
        await reader.close()
    _write(writer, topic, sorted(kept.values(), key=lambda one: one.offset))


def _write(writer: Writer, topic: str, records: list[Record]) -> None:
    for partition in range(BY_NAME[topic].partitions):
        writer.write([one for one in records if one.partition == partition])
