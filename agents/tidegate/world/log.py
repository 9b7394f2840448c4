"""A log in memory: partitions, offsets, append times, readers; and the faults that a client of a broker meets."""

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from tidegate.ports import RECENT_RECORDS, Appended, Clock, Record, SendUnknown
from tidegate.wire.partition import partition_of
from tidegate.wire.topics import BY_NAME


class MemoryLog:
    """``tidegate.ports.Log``. All who share one instance share its records.

    Faults: ``lose_answers`` makes the next appends to a topic end as unknown, landed or not; while ``reachable`` is false
    appends end as unknown and readers see nothing new; ``compact`` leaves of a compacted topic what a broker would.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reachable = True
        self.records: dict[tuple[str, int], list[Record]] = {
            (name, partition): [] for name, topic in BY_NAME.items() for partition in range(topic.partitions)
        }
        self._lost: dict[str, list[bool]] = {}
        self._waiting: set[asyncio.Event] = set()

    def lose_answers(self, topic: str, *landed: bool) -> None:
        """Let the next appends to ``topic`` go without an answer: one for each value, which says whether the record lands."""
        self._lost.setdefault(topic, []).extend(landed)

    def forget_faults(self) -> None:
        """Be a broker without faults from now on."""
        self._lost.clear()
        self.reachable = True

    def topic(self, name: str) -> list[Record]:
        """Return every record of a topic, partition by partition."""
        return [record for partition in range(BY_NAME[name].partitions) for record in self.records[name, partition]]

    def compact(self, topic: str) -> None:
        """Keep only the last record of each key, at its offset. ValueError where the topic is not compacted."""
        if not BY_NAME[topic].compacted:
            raise ValueError(f"{topic} is not compacted")
        for partition in range(BY_NAME[topic].partitions):
            records = self.records[topic, partition]
            last = {record.key: record.offset for record in records}
            self.records[topic, partition] = [record for record in records if last[record.key] == record.offset]

    async def append(
        self,
        topic: str,
        key: str | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> Appended:
        """Append one record. SendUnknown where a fault says so."""
        await asyncio.sleep(0)
        if not self.reachable:
            raise SendUnknown(f"{topic}: no broker answers")
        losses = self._lost.get(topic, [])
        lost = bool(losses)
        if lost and not losses.pop(0):
            raise SendUnknown(f"{topic}: the connection broke")
        if partition is None:
            partition = partition_of(key or "", BY_NAME[topic].partitions)
        records = self.records[topic, partition]
        offset = records[-1].offset + 1 if records else 0
        record = Record(topic, partition, offset, self._clock.now_ms(), key, value, dict(headers or {}))
        records.append(record)
        for event in self._waiting:
            event.set()
        if lost:
            raise SendUnknown(f"{topic}: the answer was lost")
        return Appended(partition, record.offset, record.time_ms)

    async def reader(
        self, topics: Sequence[str], *, start: str = "earliest", partitions: Sequence[int] | None = None
    ) -> "MemoryReader":
        """Return a reader of all (or the given) partitions of some topics."""
        back = RECENT_RECORDS if start == "recent" else 0
        found = {
            (topic, partition): 0 if start == "earliest" else max(0, self._end((topic, partition)) - back)
            for topic in topics
            for partition in (range(BY_NAME[topic].partitions) if partitions is None else partitions)
        }
        return MemoryReader(self, self._clock, found)

    async def close(self) -> None:
        """Do nothing: the records outlive their clients."""

    def _end(self, at: tuple[str, int]) -> int:
        return self.records[at][-1].offset + 1 if self.records[at] else 0

    @contextlib.contextmanager
    def news(self) -> Iterator[asyncio.Event]:
        """Yield an event that the next append sets."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            yield event
        finally:
            self._waiting.discard(event)


class MemoryReader:
    """``tidegate.ports.LogReader`` on a ``MemoryLog``."""

    def __init__(self, log: MemoryLog, clock: Clock, positions: dict[tuple[str, int], int]) -> None:
        self._log = log
        self._clock = clock
        self._positions = positions

    async def read_to_end(self) -> list[Record]:
        """Return every record that is there now."""
        while not self._log.reachable:
            await self._clock.sleep(0.5)
        await asyncio.sleep(0)
        return self._take()

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records, at once or within ``timeout_s`` of the clock."""
        with self._log.news() as news:
            found = self._take()
            if found:
                return found  # at once: a poll that is cancelled has taken nothing
            if timeout_s <= 0:
                await asyncio.sleep(0)
                return found
            waits = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(self._clock.sleep(timeout_s))]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        return self._take()

    def positions(self) -> dict[tuple[str, int], int]:
        """Return the next offset of each (topic, partition)."""
        return dict(self._positions)

    async def close(self) -> None:
        """Nothing is held."""

    def _take(self) -> list[Record]:
        if not self._log.reachable:
            return []
        found: list[Record] = []
        for at, offset in self._positions.items():
            records = self._log.records[at]
            new = records[bisect_left(records, offset, key=lambda record: record.offset) :]
            if new:
                found += new
                self._positions[at] = new[-1].offset + 1
        return found
