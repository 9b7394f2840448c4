"""What a decision agent read, read again from a recorded log: the same records in the same order, under the same keys (D1)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tidegate.decider.glass import glass_event
from tidegate.decider.inbox import place
from tidegate.decider.intake import ASKING_TOPICS, VIEW_TOPICS, asking_event, view_event
from tidegate.ports import Record
from tidegate.rollout.events import Event, NodesEnrolled
from tidegate.rollout.ledger import Ledger
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import GLASS_PREFIX
from tidegate.wire.envelope import Refused, Trust
from tidegate.wire.keys import trust_after

KEYS = "keys/0"
TOPICS = ("keys", *VIEW_TOPICS, *ASKING_TOPICS, "desired")


class Recorded:
    """``tidegate.replay.decisions.Inputs`` over records of the control topics. ``trust``: the local one, before any key read."""

    def __init__(self, records: Iterable[Record], trust: Trust) -> None:
        self._trust = trust
        self._enrolled = trust.nodes()
        self._places: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record.topic in TOPICS:
                self._places[place(record)].append(record)
        self._next: dict[str, int] = defaultdict(int)
        """Place to the next offset that has not been returned."""
        self._at: dict[str, int] = defaultdict(int)
        self.whole = True

    def news(self, decided: Mapping[str, int], now_ms: int) -> Iterator[Event]:
        """Yield what the world said before a decision, keys first and who is enrolled last, as the agent takes a batch."""
        keys_end = decided.get(KEYS)
        for record in self._take(KEYS, keys_end) if keys_end is not None else self._take_until(KEYS, now_ms):
            try:
                self._trust = trust_after(self._trust, record.key or "", record.value or b"", record.time_ms)
            except (Malformed, Refused):
                continue
        for at in sorted(decided):
            if at.partition("/")[0] not in VIEW_TOPICS:
                continue
            for record in self._take(at, decided[at]):
                if record.value is None and record.topic != "alarms":
                    continue
                try:
                    yield view_event(record, self._trust)
                except (Malformed, Refused):
                    continue
        if self._trust.nodes() != self._enrolled:
            self._enrolled = self._trust.nodes()
            yield NodesEnrolled(self._enrolled)

    def asked(self, before: Mapping[str, int], decided: Mapping[str, int], ledger: Ledger) -> Iterator[Event]:
        """Yield the question that stands right before what a decision has read, in each place where it read further."""
        for at, end in sorted(decided.items()):
            if end <= before.get(at, 0):
                continue
            for record in self._places.get(at, ()):
                if record.offset == end - 1 and _asks(record):
                    yield self._question(record, ledger)

    def later(self, decided: Mapping[str, int], ledger: Ledger) -> Iterator[Event]:
        """Yield the questions that came after those that decisions cover."""
        for at, records in sorted(self._places.items()):
            yield from (self._question(one, ledger) for one in records if _asks(one) and one.offset >= decided.get(at, 0))

    def _question(self, record: Record, ledger: Ledger) -> Event:
        return glass_event(record, self._trust, ledger) if record.topic == "desired" else asking_event(record, self._trust)

    def _take(self, at: str, end: int) -> Iterator[Record]:
        records = self._places.get(at, [])
        while self._next[at] < end:
            index = self._at[at]
            if index >= len(records) or records[index].offset > self._next[at]:
                # Compaction or retention took it.
                self.whole = False
                self._next[at] = min(end, records[index].offset) if index < len(records) else end
                continue
            self._at[at] += 1
            self._next[at] = records[index].offset + 1
            yield records[index]

    def _take_until(self, at: str, now_ms: int) -> Iterator[Record]:
        """Yield what was appended by a time: decisions of older versions do not say which keys they had read."""
        records = self._places.get(at, [])
        while self._at[at] < len(records) and records[self._at[at]].time_ms <= now_ms:
            record = records[self._at[at]]
            self._at[at] += 1
            self._next[at] = record.offset + 1
            yield record


def _asks(record: Record) -> bool:
    asks = record.topic in ASKING_TOPICS or (record.topic == "desired" and (record.key or "").startswith(GLASS_PREFIX))
    return asks and record.value is not None
