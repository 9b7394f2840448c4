"""The flag files of a node: a set as flagd's own JSON, for local processes of any language without a network.

A file is replaced whole, by a rename, and only when it says something new. It holds what counts (G1) and stays as it is while the
broker is away. Stock flagd providers read it with ``FLAGD_RESOLVER=file``; who reads it believes the file's owner.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import structlog

from tidegate.flagfeed import Follower, Held, News, Status
from tidegate.ports import Clock, Disk, Log
from tidegate.runtime.trust import write_public
from tidegate.wire.envelope import Trust
from tidegate.wire.flags import EVALUATORS, METADATA, TopicKey, definition_of, evaluators_of, file_of_set, metadata_of

AGAIN_S = 5.0
"""A file that could not be written is tried again after so long."""

log_of_node = structlog.get_logger("node")


class FlagFiles:
    """Keeps a file for each set of ``paths``. ``disk`` is where the node remembers what it has read."""

    def __init__(self, log: Log, clock: Clock, disk: Disk, trust: Trust, paths: Mapping[str, Path]) -> None:
        self._clock = clock
        self._paths = paths
        self._sets: dict[str, dict[str, bytes]] = {set_id: {} for set_id in paths}
        self._held = Held(trust, self._put, frozenset(paths))
        self._follower = Follower(log, clock, self._held, self._hear, disk)
        self._due = asyncio.Event()
        self.written: Counter[str] = Counter()
        """How often each set's file was replaced."""

    @property
    def refused(self) -> Counter[str]:
        """How many records did not count, by reason."""
        return Counter({str(reason): count for reason, count in self._held.refused.items()})

    async def run(self) -> None:
        """Follow and write, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follower.follow())
            tasks.create_task(self._write())

    def _put(self, key: TopicKey, value: bytes | None) -> None:
        check = definition_of if key.is_flag else {EVALUATORS: evaluators_of, METADATA: metadata_of}[key.name]
        if value is None:
            self._sets[key.set_id].pop(key.name, None)
            return
        check(value)
        self._sets[key.set_id][key.name] = value

    def _hear(self, _news: News) -> None:
        self._due.set()

    async def _write(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            if self._follower.status is Status.NOT_READY:
                continue  # half of a set is worse than the file of before
            # What changes meanwhile is due again: one write of each file at a time, however fast they change.
            for set_id, path in self._paths.items():
                data = file_of_set(self._sets[set_id]).encoded()
                try:
                    if await asyncio.to_thread(replace_file, path, data):
                        self.written[set_id] += 1
                except OSError as error:
                    log_of_node.warning("flag file not written", path=str(path), problem=error.strerror)
                    await self._clock.sleep(AGAIN_S)
                    self._due.set()


def replace_file(path: Path, data: bytes) -> bool:
    """Replace a file that everybody may read, whole, unless it holds these bytes already; return whether it was. OSError."""
    try:
        if path.read_bytes() == data:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_public(path, data)
    return True


__all__ = ["FlagFiles", "replace_file"]
