"""A log in one file, for agents in processes of their own: appended under a lock, read by polling.

``down`` makes it a broker that is away: nothing is read, and a send has no answer.
"""

import asyncio
import base64
import fcntl
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidegate.ports import Appended, Record, SendUnknown

LOOK_EVERY_S = 0.01


class FileLog:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.down = False
        path.touch()

    async def append(self, topic, key, value, *, partition=None, headers: Mapping[str, bytes] | None = None) -> Appended:
        if self.down:
            await asyncio.sleep(0.2)
            raise SendUnknown(topic)
        body = base64.b64encode(value).decode() if value is not None else None
        line = json.dumps([topic, key, body, time.time_ns() // 1_000_000]).encode() + b"\n"
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            at = file.tell()
            file.write(line)
        return Appended(0, at, 0)

    async def reader(self, topics: Sequence[str], *, start: str = "earliest", partitions=None) -> "FileReader":
        return FileReader(self, topics)

    async def close(self) -> None: ...

    def read(self, topic: str) -> list[Record]:
        return list(self.records(0, {topic}))

    def records(self, at: int, topics):
        data = self.path.read_bytes()[at:]
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            topic, key, body, time_ms = json.loads(line)
            at += len(line)
            if topic in topics:
                yield Record(topic, 0, at, time_ms, key, base64.b64decode(body) if body is not None else None, {})


class FileReader:
    def __init__(self, log: FileLog, topics: Sequence[str]) -> None:
        self._log = log
        self._topics = set(topics)
        self._at = 0

    async def read_to_end(self) -> list[Record]:
        while self._log.down:  # noqa: ASYNC110 - a broker that is away says nothing when it comes back
            await asyncio.sleep(LOOK_EVERY_S)
        end = self._log.path.read_bytes().rfind(b"\n") + 1
        found = list(self._log.records(self._at, self._topics))
        self._at = max(end, self._at, *(record.offset for record in found)) if found else max(end, self._at)
        return found

    async def poll(self, timeout_s: float) -> list[Record]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self._log.down and (found := await self.read_to_end()):
                return found
            await asyncio.sleep(LOOK_EVERY_S)
        return []

    def positions(self) -> Mapping[tuple[str, int], int]:
        return {(topic, 0): self._at for topic in self._topics}

    async def close(self) -> None: ...
