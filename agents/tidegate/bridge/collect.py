"""What collectors write to Kafka (kafkaexporter, ``otlp_proto`` or ``otlp_json``): read, sorted out, passed on to topic ``otlp``.

Any number of bridges share the partitions. Offsets are committed behind what is durable, so a message may be read twice, which
changes nothing. What is no request goes to the dead letters, as it came.
"""

import asyncio
from collections.abc import Mapping

import structlog
from aiokafka import ConsumerRecord

from tidegate.bridge.decode import Encoding, decode
from tidegate.bridge.group import Member, Records
from tidegate.bridge.metrics import Metrics
from tidegate.bridge.sorter import Sorter
from tidegate.broker import Connection
from tidegate.decider.deadletters import letter
from tidegate.ports import Log, Record, SendUnknown
from tidegate.wire.codec import Malformed

POLL_S = 1.0
AT_ONCE_MAX = 16
"""Messages whose records are on their way at the same time."""
AGAIN_AFTER_S = 1.0

log = structlog.get_logger("tidegate.bridge")


class Collected:
    """``topics``: full name to encoding; ``instance``: as of ``Member``."""

    def __init__(
        self,
        connection: Connection,
        topics: Mapping[str, Encoding],
        log: Log,
        sorter: Sorter,
        metrics: Metrics,
        *,
        instance: str = "",
    ) -> None:
        self._topics = topics
        self._log = log
        self._sorter = sorter
        self._metrics = metrics
        self._member = Member(connection, sorted(topics), instance and f"{instance}-collect")

    async def run(self) -> None:
        """Read until cancelled; returns at once where no topic is named."""
        if not self._topics:
            return
        try:
            while True:
                await self._take(await self._member.poll(POLL_S))
        finally:
            await self._member.close()

    async def _take(self, found: Records) -> None:
        records = [record for some in found.values() for record in some]
        for at in range(0, len(records), AT_ONCE_MAX):
            await asyncio.gather(*map(self._pass_on, records[at : at + AT_ONCE_MAX]))
        if records:
            await self._member.commit({tp: some[-1].offset + 1 for tp, some in found.items() if some})

    async def _pass_on(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Pass one message on, however long the broker takes."""
        self._metrics.messages.labels(record.topic).inc()
        body = record.value or b""
        while True:
            try:
                await self._sorter.pass_on(decode(body, self._topics[record.topic]), len(body))
            except Malformed as fault:
                if await self._bury(record, fault):
                    return
            except SendUnknown as unknown:
                log.warning("not passed on; trying again", topic=record.topic, offset=record.offset, problem=str(unknown))
            else:
                return
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _bury(self, record: "ConsumerRecord[bytes, bytes]", fault: Malformed) -> bool:
        value, headers = letter(_record(record), str(fault))
        try:
            await self._log.append("deadletters", record.topic, value, headers=headers)
        except SendUnknown:
            return False
        self._metrics.deadletters.labels(record.topic).inc()
        return True


def _record(record: "ConsumerRecord[bytes, bytes]") -> Record:
    key = None if record.key is None else record.key.decode(errors="replace")
    return Record(record.topic, record.partition, record.offset, record.timestamp, key, record.value, {})


__all__ = ["Collected"]
