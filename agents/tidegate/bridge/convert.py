"""Topic ``otlp`` to rows in ``telemetry``: each partition folded by one bridge, a row for each process and second.

No state is kept anywhere: who takes over a partition reads again what was appended lately, and folds it. The rows that this makes
are those of the predecessor, under the same names, so that repeats are known. Rows of seconds that have passed before anyone took
over are late for their panes and not made; that, and nothing else, is what a restart costs.

A second's rows go out just after its end, by the broker's clock: that of this machine only paces, and may be set.
"""

import asyncio
from collections.abc import Iterable

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition

from tidegate.bridge.brokertime import BrokerTime
from tidegate.bridge.group import Member, Records
from tidegate.bridge.metrics import Metrics
from tidegate.bridge.sorter import TOPIC
from tidegate.broker import Connection
from tidegate.broker.connection import UNANSWERED
from tidegate.otlp.fold import WINDOW_MOST_S, State, rows, skip, take
from tidegate.ports import Clock, Log, SendUnknown
from tidegate.wire.codec import Malformed
from tidegate.wire.otlp import decode
from tidegate.wire.telemetry import Telemetry, encode_msgpack

AFTER_MS = 150
"""Behind the end of a second: what was appended in it has been read by then. Its pane stays open for a second."""
READ_AGAIN_MS = (WINDOW_MOST_S + 5) * 1_000
"""Long enough for every series to have been exported once before."""
LATE_S = 2
"""Seconds that ended longer ago are closed for the judge."""
POLL_S = 0.1
SENDS_AT_ONCE_MAX = 5_000
BEGIN_WITHIN_S = 10.0

log = structlog.get_logger("tidegate.bridge")


class Converter(ConsumerRebalanceListener):
    """One member of the group that shares the partitions of ``otlp``; ``instance``: as of ``Member``."""

    def __init__(self, connection: Connection, log: Log, clock: Clock, metrics: Metrics, *, instance: str = "") -> None:
        self._log = log
        self._time = BrokerTime(clock)
        self._metrics = metrics
        self._member = Member(
            connection, [f"{connection.prefix}{TOPIC}"], instance and f"{instance}-convert", wait=True, listener=self
        )
        self._states: dict[TopicPartition, State] = {}
        self._next: dict[TopicPartition, int] = {}
        self._behind: dict[TopicPartition, tuple[int, int]] = {}
        """Partitions that are read again: up to which offset, and the last second of which no rows are made."""
        self._mine: set[TopicPartition] = set()
        self._begun = False
        """Whether all that is ours has a state, and is read from where it goes on. None may be ours, where bridges are many."""
        self._joined = False

    def not_ready(self) -> str | None:
        """Return why nothing is converted yet, or None; from any thread."""
        return None if self._begun else "waiting for partitions"

    async def run(self) -> None:
        """Convert until cancelled."""
        try:
            while True:
                found = await self._member.poll(POLL_S)
                if self._begun:
                    self._fold(found)
                elif self._joined and self._member.connected:
                    # What came with a new assignment is read again, from where each partition goes on.
                    await self._begin()
                await self._emit((self._time.now_ms() - AFTER_MS) // 1_000 - 1)
        finally:
            await self._member.close()

    # reading

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing: what comes back in the same round goes on."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note what is ours; what begins with it can fail, and is done again then, outside of the client's callback."""
        self._mine, self._begun, self._joined = set(assigned), False, True

    async def _begin(self) -> None:
        """Forget partitions that are others' now; begin to read new ones early enough to know what stood there before."""
        mine = self._mine
        self._states = {tp: state for tp, state in self._states.items() if tp in mine}
        self._behind = {tp: behind for tp, behind in self._behind.items() if tp in mine}
        new = [tp for tp in mine if tp not in self._states]
        consumer = self._member.consumer
        try:
            now_ms = await self._ask_now_ms()
            since_ms = now_ms - READ_AGAIN_MS
            async with asyncio.timeout(BEGIN_WITHIN_S):
                found = await consumer.offsets_for_times(dict.fromkeys(new, since_ms)) if new else {}
                ends = await consumer.end_offsets(new) if new else {}
            for tp in new:
                self._next[tp] = found[tp].offset if found.get(tp) is not None else ends[tp]
            for tp in mine:
                consumer.seek(tp, self._next[tp])
        except (SendUnknown, *UNANSWERED) as error:
            log.warning("partitions not begun; trying again", error=str(error) or type(error).__name__)
            return
        for tp in new:
            self._states[tp] = State(since_ms=since_ms, done_s=since_ms // 1_000 - 1)
            self._behind[tp] = (ends[tp], now_ms // 1_000 - LATE_S)
        self._begun = self._mine is mine  # there may have been another assignment meanwhile
        self._metrics.partitions.set(len(mine))
        log.info("converting", partitions=sorted(tp.partition for tp in mine), read_again_s=READ_AGAIN_MS // 1_000)

    def _fold(self, found: Records) -> None:
        for tp, records in found.items():
            state = self._states.get(tp)
            if state is None:
                continue  # it is no longer ours
            for record in records:
                self._next[tp] = record.offset + 1
                self._time.appended(record.timestamp)
                if not record.value:
                    continue  # asked for the time alone
                try:
                    export = decode(record.value)
                except Malformed as fault:
                    log.warning("left aside", topic=tp.topic, partition=tp.partition, offset=record.offset, problem=str(fault))
                    continue
                take(state, export, record.timestamp)
            self._metrics.points_became(state.results)
            state.results.clear()

    # rows

    async def _emit(self, until_s: int) -> None:
        for tp, (end, skipped_s) in [*self._behind.items()]:
            if self._next[tp] >= end:
                skip(self._states[tp], skipped_s)
                del self._behind[tp]
        ready = [state for tp, state in self._states.items() if tp not in self._behind and state.done_s < until_s]
        made = [row for state in ready for row in rows(state, until_s)]
        self._metrics.processes.set(sum(len(state.processes) for state in self._states.values()))
        for at in range(0, len(made), SENDS_AT_ONCE_MAX):
            answers = await asyncio.gather(*map(self._send, made[at : at + SENDS_AT_ONCE_MAX]))
            self._time.answered(answer for answer in answers if isinstance(answer, int))
            unsent = [answer for answer in answers if isinstance(answer, SendUnknown)]
            if unsent:
                self._metrics.rows_dropped.inc(len(unsent))
                log.warning("rows not sent", rows=len(unsent), problem=str(unsent[0]))

    async def _send(self, row: Telemetry) -> int | SendUnknown:
        """Send one row; return how far the broker's clock is ahead. A row that gets no answer is worth no second try."""
        try:
            sent = await self._log.append("telemetry", row.node, encode_msgpack(row))
        except SendUnknown as error:
            return error
        self._metrics.rows.inc()
        return self._time.ahead_ms(sent.time_ms)

    async def _ask_now_ms(self) -> int:
        """Return the broker's time: that at which it appends something. SendUnknown where it does not answer."""
        appended = await self._log.append(TOPIC, None, b"")
        self._time.answered([self._time.ahead_ms(appended.time_ms)])
        return appended.time_ms


__all__ = ["Converter"]
