"""One broker and the ways to it: each process has its own link, with its own delays and losses, and its own view of the log.

The log itself never changes what it holds: faults happen on the way there and on the way back. What was sent and not answered may
land later, also when its sender has died. Reading to the end is exact, as with Kafka's high watermark; following may lag.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from tidegate.ports import Appended, Record, SendUnknown
from tidegate.wire.partition import partition_of
from tidegate.wire.topics import BY_NAME
from tidegate.world.process import Process
from tidegate.world.timeline import Timeline

SEND_TIMEOUT_MS = 10_000
BULK = frozenset({"telemetry", "nodeseconds"})
"""Nobody here reads them by a reader: a record of them needs no way."""

At = tuple[str, int]


class Link(Struct):
    """How a process's way to the broker is. Shares are of all sends, delays in ms."""

    lost: float = 0.0
    """Never lands; no answer."""
    late: float = 0.0
    """Lands up to ``late_ms`` after its sender was told that there is no answer."""
    unanswered: float = 0.0
    """Lands; no answer."""
    doubled: float = 0.0
    """Lands twice."""
    delay_ms: int = 2
    """At most so long there, and as long back."""
    late_ms: int = 10_000
    lag_ms: int = 0
    """Following shows a record so long after it landed."""
    gather_ms: int = 1
    """Who waits for news is told at multiples of this: a broker answers with all that there is by then."""
    up: bool = True
    down: bool = True


class Sent(NamedTuple):
    """A record as it leaves."""

    topic: str
    key: str | None
    value: bytes | None
    headers: Mapping[str, bytes] = {}
    partition: int | None = None


class Broker:
    """What every client shares: the records. ``landed`` is told of each one, with who wrote it and in which life."""

    def __init__(self, timeline: Timeline, landed: Callable[[Record, str, str], None]) -> None:
        self.timeline = timeline
        self.records: dict[At, list[Record]] = {
            (name, partition): [] for name, topic in BY_NAME.items() for partition in range(topic.partitions)
        }
        self.clients: list[Client] = []
        self._landed = landed
        self.ends: dict[At, int] = dict.fromkeys(self.records, 0)
        """The next offset of each partition."""

    def topic(self, name: str) -> list[Record]:
        """Return every record of a topic, partition by partition."""
        return [record for partition in range(BY_NAME[name].partitions) for record in self.records[name, partition]]

    def restore(self, records: Mapping[At, list[Record]]) -> None:
        """Hold these records, and none else."""
        for at, held in records.items():
            self.records[at] = list(held)
            if held:
                self.ends[at] = held[-1].offset + 1

    def land(self, sent: "Sent", who: str, life: str = "") -> Record:
        """Append a record at once. ``who`` and ``life`` wrote it: what a log does not know, and a judge of the run must."""
        topic, key, value, headers, partition = sent
        partitions = BY_NAME[topic].partitions
        if partition is None:
            partition = partition_of(key or "", partitions) if partitions > 1 else 0
        at = (topic, partition)
        offset = self.ends[at]
        record = Record(topic, partition, offset, self.timeline.now_ms, key, value, headers)
        self.records[at].append(record)
        self.ends[at] = offset + 1
        self._landed(record, who, life)
        if topic not in BULK:
            for client in self.clients:
                client.news(at, key)
        return record

    def compact(self, topic: str) -> None:
        """Keep only the last record of each key, at its offset."""
        for partition in range(BY_NAME[topic].partitions):
            records = self.records[topic, partition]
            last = {record.key: record.offset for record in records}
            self.records[topic, partition] = [record for record in records if last[record.key] == record.offset]

    def since(self, at: At, offset: int) -> list[Record]:
        """Return the records of a partition from an offset on."""
        records = self.records[at]
        if records and records[0].offset == 0 and records[-1].offset == len(records) - 1:
            return records[offset:]
        return records[bisect_left(records, offset, key=lambda record: record.offset) :]


class Client:
    """``tidegate.ports.Log`` of one process.

    ``lazy``: a wait for news that is over without any wakes nobody, nor does a heartbeat alone: it is read with what comes next,
    and a node's own clock comes every second, if a little late.
    """

    def __init__(self, broker: Broker, process: Process, link: Link, *, who: str = "", lazy: bool = False) -> None:
        self.broker = broker
        self.who = who
        self.process = process
        self.link = link
        self.lazy = lazy
        self._readers: list[Reader] = []
        self._stuck: list[_Sending] = []
        self._cut_off: list[asyncio.Future[None]] = []
        broker.clients.append(self)
        process.on_death.append(lambda: broker.clients.remove(self))
        if lazy:
            process.overdue = self._overdue

    async def append(
        self,
        topic: str,
        key: str | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> Appended:
        """Send one record. SendUnknown where no answer comes in time."""
        await self.process.reach_out()
        sent = Sent(topic, key, value, headers or {}, partition)
        if topic in BULK and self.link.up:
            return self._append_bulk(sent)
        sending = _Sending(self, sent)
        sending.send()
        record = await sending.answer
        if record is None:
            raise SendUnknown(f"{topic}: no answer")
        return Appended(record.partition, record.offset, record.time_ms)

    async def reader(
        self, topics: Sequence[str], *, start: str = "earliest", partitions: Sequence[int] | None = None
    ) -> "Reader":
        """Return a reader of all (or the given) partitions of some topics."""
        await self.process.reach_out()
        positions = {
            (topic, partition): 0 if start == "earliest" else self.broker.ends[topic, partition]
            for topic in topics
            for partition in (range(BY_NAME[topic].partitions) if partitions is None else partitions)
        }
        reader = Reader(self, positions)
        self._readers.append(reader)
        return reader

    async def close(self) -> None:
        """Nothing is held."""

    def set_link(self, *, up: bool, down: bool) -> None:
        """Cut or mend the ways there and back. What waited for a way goes on."""
        self.link.up, self.link.down = up, down
        if up:
            stuck, self._stuck = self._stuck, []
            for sending in stuck:
                sending.land()
        if down and not self.process.dead:
            waiting, self._cut_off = self._cut_off, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
            for reader in self._readers:
                reader.look()
            self.process.run()

    async def reachable(self) -> None:
        """Wait until answers come through."""
        while not self.link.down:
            future: asyncio.Future[None] = self.process.loop.create_future()
            self._cut_off.append(future)
            await future

    def stuck(self, sending: "_Sending") -> None:
        """Keep what cannot leave until there is a way."""
        self._stuck.append(sending)

    def news(self, at: At, key: str | None) -> None:
        """Hear that a record has landed."""
        for reader in self._readers:
            if at in reader.offsets:
                reader.hear(alone=self.lazy and key == "heartbeat")

    def forget(self, reader: "Reader") -> None:
        """Drop a reader that was closed."""
        if reader in self._readers:
            self._readers.remove(reader)

    def _append_bulk(self, sent: Sent) -> Appended:
        if sent.topic == "telemetry":
            return Appended(0, 0, self.broker.timeline.now_ms)
        record = self.broker.land(sent, self.who, self.process.name)
        return Appended(record.partition, record.offset, record.time_ms)

    def _overdue(self) -> bool:
        return sum(reader.overdue() for reader in self._readers) > 0  # every one of them is asked


class _Sending:
    """One record on its way, and its answer: the record as it landed, or None where the sender stops waiting."""

    def __init__(self, client: Client, sent: Sent) -> None:
        self._client = client
        self._sent = sent
        self._deadline_ms = client.broker.timeline.now_ms + SEND_TIMEOUT_MS
        self._mute = False
        self._copies = 1
        self.answer: asyncio.Future[Record | None] = client.process.loop.create_future()

    def send(self) -> None:
        """Draw what becomes of it."""
        client, timeline = self._client, self._client.broker.timeline
        link, now_ms = client.link, timeline.now_ms
        fate, luck = client.process.noise.random(), client.process.noise.random()
        timeline.at(self._deadline_ms, lambda: self._tell(None))
        fate -= link.lost
        if fate < 0:
            return
        fate -= link.late
        if fate < 0:
            self._deadline_ms += link.late_ms
            timeline.at(now_ms + SEND_TIMEOUT_MS + int(luck * link.late_ms), self.land)
            return
        fate -= link.unanswered
        self._mute = fate < 0
        self._copies += 0 <= fate < link.doubled
        timeline.at(now_ms + 1 + int(luck * link.delay_ms), self.land)

    def land(self) -> None:
        """Arrive at the broker, if there is a way by now."""
        client = self._client
        timeline, link = client.broker.timeline, client.link
        if timeline.now_ms > self._deadline_ms:
            return  # thrown away with the connection
        if not link.up:
            client.stuck(self)
            return
        record = client.broker.land(self._sent, client.who, client.process.name)
        if self._copies > 1:
            client.broker.land(self._sent, client.who, client.process.name)
        if link.down and not self._mute:
            timeline.at(timeline.now_ms + 1 + link.delay_ms // 2, lambda: self._tell(record))

    def _tell(self, record: Record | None) -> None:
        if not self.answer.done() and not self._client.process.dead:
            self.answer.set_result(record)
            self._client.process.run()


class Reader:
    """``tidegate.ports.LogReader`` of one process."""

    def __init__(self, client: Client, offsets: dict[At, int]) -> None:
        self._client = client
        self.offsets = offsets
        """The next offset of each (topic, partition)."""
        self._news: asyncio.Future[None] | None = None
        self._behind = any(offset < client.broker.ends[at] for at, offset in offsets.items())
        """Whether something may stand in the log that was not taken yet."""
        self._look_ms = 0
        """When the timeline comes to look for news, at the latest it was told of."""
        self._due_ms = 0

    async def read_to_end(self) -> list[Record]:
        """Return every record up to the end captured at this call; waits while there is no way."""
        client = self._client
        await client.process.reach_out()
        await client.reachable()
        ends = {at: client.broker.ends[at] for at in self.offsets}
        await client.process.clock.timer_ms(1 + int(client.process.noise.random() * client.link.delay_ms))
        await client.reachable()
        found: list[Record] = []
        for at, offset in self.offsets.items():
            if offset < ends[at]:
                found += [record for record in client.broker.since(at, offset) if record.offset < ends[at]]
                self.offsets[at] = ends[at]
        return found

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records, at once or within ``timeout_s`` of the clock."""
        client = self._client
        process, timeline = client.process, client.broker.timeline
        await process.reach_out()
        found = self._visible()
        if found:
            return found  # at once: a poll that is cancelled has taken nothing
        if timeout_s <= 0:
            await asyncio.sleep(0)
            return found
        self._news = news = process.loop.create_future()
        self._due_ms = timeline.now_ms + max(1, round(timeout_s * 1000)) if client.lazy else process.clock.due_ms(timeout_s)
        if not client.lazy:
            timeline.at(self._due_ms, lambda: self._end(news))
        if self._behind and client.link.lag_ms:
            timeline.at(timeline.now_ms + client.link.lag_ms, self.look)
        await news
        self._news = None
        return self._visible()

    def positions(self) -> Mapping[At, int]:
        """Return the next offset of each (topic, partition)."""
        return dict(self.offsets)

    async def close(self) -> None:
        """Stop hearing of news."""
        self._client.forget(self)

    @property
    def waits(self) -> bool:
        """Whether somebody waits for news here."""
        return self._news is not None and not self._news.done()

    def hear(self, *, alone: bool) -> None:
        """Hear that a record has landed. ``alone``: nobody wakes for it."""
        self._behind = True
        client = self._client
        link, timeline = client.link, client.broker.timeline
        at_ms = -(-(timeline.now_ms + 1 + link.lag_ms) // link.gather_ms) * link.gather_ms
        if link.down and self.waits and not alone and at_ms != self._look_ms:
            self._look_ms = at_ms
            timeline.at(at_ms, self.look)

    def look(self) -> None:
        """End the wait where there is something to see."""
        if self._news is not None and self.waits and self._seen():
            self._end(self._news)

    def overdue(self) -> bool:
        """End a lazy wait whose time is over, where it may have missed something; return whether it was."""
        if not self._behind or self._due_ms > self._client.broker.timeline.now_ms or self._news is None or self._news.done():
            return False
        self._news.set_result(None)
        return True

    def _end(self, news: "asyncio.Future[None]") -> None:
        if not news.done() and not self._client.process.dead:
            news.set_result(None)
            self._client.process.run()

    def _seen(self) -> bool:
        broker, link = self._client.broker, self._client.link
        if not (self._behind and link.down and link.lag_ms):
            return self._behind and link.down
        latest_ms = broker.timeline.now_ms - link.lag_ms
        return any(found[0].time_ms <= latest_ms for at, offset in self.offsets.items() if (found := broker.since(at, offset)))

    def _visible(self) -> list[Record]:
        broker, link = self._client.broker, self._client.link
        if not self._behind or not link.down:
            return []
        latest_ms, ends = broker.timeline.now_ms - link.lag_ms, broker.ends
        found: list[Record] = []
        for at, offset in self.offsets.items():
            if offset < ends[at]:
                seen = broker.since(at, offset)
                if link.lag_ms:
                    seen = [record for record in seen if record.time_ms <= latest_ms]
                if seen:
                    found += seen
                    self.offsets[at] = seen[-1].offset + 1
        self._behind = link.lag_ms > 0 and any(offset < ends[at] for at, offset in self.offsets.items())
        return found
