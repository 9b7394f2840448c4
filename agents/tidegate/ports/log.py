"""The log: append and read in order. Kafka in ``tidegate.broker``, a simulated one in ``tidegate.world``.

Topics are named as in ``tidegate.wire.topics``, without the prefix of the installation.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

RECENT_RECORDS = 4_000
"""Where ``recent`` begins: minutes of panes for pictures, of topics that hold days."""


class Record(NamedTuple):
    """One record as read."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    """Append time where the topic is LogAppendTime, else the producer's."""
    key: str | None
    value: bytes | None
    headers: Mapping[str, bytes]


class Appended(NamedTuple):
    """Where a record landed."""

    partition: int
    offset: int
    time_ms: int


class SendUnknown(Exception):
    """No answer came to a send: the record may stand in the log, or not. Read back before you draw a conclusion."""


class SendRefused(SendUnknown):
    """The broker said no: this client has no right to write there. Nothing was written; to try again helps when it has one."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class LogReader(Protocol):
    """Reads whole partitions in offset order, without a consumer group: "to the end offsets captured now, then follow"."""

    async def read_to_end(self) -> list[Record]:
        """Return every record up to the end offsets captured at this call, and move there."""
        ...

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records, at once if there are some, otherwise when some come or the time is over (empty).

        A poll that is cancelled has taken nothing: what came meanwhile is returned by the next one.
        """
        ...

    def positions(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of each (topic, partition) read here."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Log(Protocol):
    """A broker as the shells see it."""

    async def append(
        self,
        topic: str,
        key: str | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> Appended:
        """Append one record and wait until it is durable. SendUnknown where no answer comes in time."""
        ...

    async def reader(
        self, topics: Sequence[str], *, start: str = "earliest", partitions: Sequence[int] | None = None
    ) -> LogReader:
        """Return a reader of all (or the given) partitions of some topics, from ``earliest``, ``latest`` or ``recent``: so many
        offsets before the end of each partition.
        """
        ...

    async def close(self) -> None:
        """Flush and let go of connections; safe to call twice."""
        ...
