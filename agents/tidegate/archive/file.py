"""The archive file, version 1.

A line ``tidegate archive 1``, then blocks: the length of the rest in four bytes, big-endian, and a MessagePack map, compressed
with zstd, whose field ``type`` says what it is. First a ``Head``; then ``Block`` after ``Block``, each with records of one
partition in the order of their offsets; last an ``End`` with the number of records of each partition and the SHA-256 of every
byte before it. So a file that was cut, or altered anywhere, is known by it. Fields that a later version adds are ignored.

The digest shows accidents, and whoever knows it from elsewhere sees anything else: ``sha256sum`` of the file is what is printed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import cramjam
import msgspec
from msgspec import Struct

from tidegate.ports import Record
from tidegate.runtime.problem import Problem

MAGIC = b"tidegate archive 1\n"
LEVEL = 6
BLOCK_BYTES = 1 << 20
"""A block is closed when it holds this much; one record may be larger."""
PACKED_BYTES_MAX = 64 << 20
"""No block is longer: the largest record of the topic table is 4 MiB. A longer one is damage, and is not read into memory."""
LENGTH_BYTES = 4


class Damaged(Problem):
    """A file that is no archive, or no whole one, or not what was written."""


class Head(Struct, frozen=True, kw_only=True, tag="head"):
    """Of what, and when."""

    fleet: str
    made_ms: int
    by: str
    """Version of tidegate."""


class Row(Struct, frozen=True, array_like=True):
    """One record."""

    offset: int
    time_ms: int
    key: str | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Block(Struct, frozen=True, kw_only=True, tag="block"):
    """Records of one partition."""

    topic: str
    partition: int
    rows: list[Row]

    def records(self) -> list[Record]:
        """Return the records as they were read."""
        return [
            Record(self.topic, self.partition, row.offset, row.time_ms, row.key, row.value, dict(row.headers))
            for row in self.rows
        ]


class End(Struct, frozen=True, kw_only=True, tag="end"):
    """What makes a file whole. ``records``: topic/partition to their number."""

    records: dict[str, int]
    sha256: str


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Head | Block | End)


class Writer:
    """Writes an archive to an open file, block by block."""

    def __init__(self, file: IO[bytes], head: Head) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.records: Counter[str] = Counter()
        self._put(MAGIC)
        self._block(head)

    def write(self, records: Sequence[Record]) -> None:
        """Append records of one partition; none stays in memory."""
        rows: list[Row] = []
        size = 0
        for record in records:
            rows.append(Row(record.offset, record.time_ms, record.key, record.value, list(record.headers.items())))
            size += len(record.value or b"")
            if size >= BLOCK_BYTES:
                self._rows(record, rows)
                rows, size = [], 0
        if rows:
            self._rows(records[-1], rows)

    def end(self) -> str:
        """Make the file whole and return the SHA-256 of all of it."""
        self._block(End(records=dict(sorted(self.records.items())), sha256=self._digest.hexdigest()))
        return self._digest.hexdigest()

    def _rows(self, of: Record, rows: list[Row]) -> None:
        self.records[f"{of.topic}/{of.partition}"] += len(rows)
        self._block(Block(topic=of.topic, partition=of.partition, rows=rows))

    def _block(self, block: Head | Block | End) -> None:
        packed = bytes(cramjam.zstd.compress(_ENCODER.encode(block), LEVEL))
        self._put(len(packed).to_bytes(LENGTH_BYTES, "big") + packed)

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class Reader:
    """Reads an archive from its beginning. Problem where the file cannot be opened, Damaged where it is not whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sha256 = ""
        """Of the whole file, once ``blocks`` has come to its end."""

    def head(self) -> Head:
        """Return the head alone; nothing is verified by that."""
        with self._open() as file:
            return self._head(file, hashlib.sha256())

    def blocks(self) -> Iterator[Block]:
        """Yield every block. Only when it has come to its end without Damaged has it been what was written."""
        digest, counted = hashlib.sha256(), Counter[str]()
        with self._open() as file:
            self._head(file, digest)
            while True:
                before = digest.hexdigest()
                block = self._next(file, digest)
                if isinstance(block, Head):
                    raise self._damaged("it has a second head")
                if isinstance(block, End):
                    break
                counted[f"{block.topic}/{block.partition}"] += len(block.rows)
                yield block
            if (block.sha256, block.records) != (before, counted):
                raise self._damaged("its bytes are not those that were written")
            if file.read(1):
                raise self._damaged("something follows its end")
        self.sha256 = digest.hexdigest()

    def _open(self) -> IO[bytes]:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise Problem(f"{self._path}: {error.strerror}", "name a file that tidegate export has written", code=2) from error

    def _head(self, file: IO[bytes], digest: "hashlib._Hash") -> Head:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            raise self._damaged("it does not begin as an archive of version 1 does")
        digest.update(magic)
        head = self._next(file, digest)
        if not isinstance(head, Head):
            raise self._damaged("it has no head")
        return head

    def _next(self, file: IO[bytes], digest: "hashlib._Hash") -> Head | Block | End:
        length = file.read(LENGTH_BYTES)
        size = int.from_bytes(length, "big")
        packed = file.read(size) if size <= PACKED_BYTES_MAX else b""
        if len(length) != LENGTH_BYTES or len(packed) != size:
            raise self._damaged("it ends too early")
        digest.update(length + packed)
        try:
            block: Head | Block | End = _DECODER.decode(bytes(cramjam.zstd.decompress(packed)))
        except (cramjam.DecompressionError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(f"a block cannot be read: {error}") from error
        return block

    def _damaged(self, what: str) -> Damaged:
        return Damaged(
            f"{self._path} is damaged or no archive: {what}", "use another copy; nothing has been written from this one"
        )
