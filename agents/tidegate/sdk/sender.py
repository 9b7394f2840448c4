"""Rows on their way to the broker: a bounded buffer and one row in flight, in order.

A late row is worth nothing (its pane is closed), so when the buffer is full the oldest goes. Rows are not compressed:
for single rows the compressor
costs more than everything else together.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import Struct

from tidegate.runtime.abandon import abandon
from tidegate.runtime.access import PLAIN_TEXT, Access
from tidegate.runtime.problem import Problem
from tidegate.wire.telemetry import MESSAGE_BYTES_MAX, Telemetry, encode_msgpack

BUFFER_ROWS_MAX = 120
SEND_TIMEOUT_S = 10.0
RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0
"""The judge gives everyone twice as long after an outage (``tidegate.detect.absence``)."""

log = logging.getLogger("tidegate.sdk")


class Stats(Struct, frozen=True):
    """Rows made so far = sent + dropped + waiting. ``sent`` means acknowledged by the broker."""

    made: int
    sent: int
    dropped: int
    waiting: int


class Sender:
    """Sends rows to ``<prefix>telemetry``, key = node. Start and stop it on one event loop; ``put`` belongs to that
    loop.

    Goes on whatever happens: without a broker it tries for ever, a row that cannot be encoded is dropped and counted.
    """

    def __init__(
        self, bootstrap: str, prefix: str = "tidegate.", *, client_id: str = "tidegate-sdk", access: Access = PLAIN_TEXT
    ) -> None:
        self._bootstrap = bootstrap
        self._access = access
        self._topic = f"{prefix}telemetry"
        self._client_id = client_id
        self._rows: deque[Telemetry] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._made = self._sent = self.dropped = 0
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        """The end of the last producer, which nothing may interrupt."""
        self._told: set[str] = set()
        """Kinds of rows that cannot be sent of which it was said."""

    def put(self, row: Telemetry) -> None:
        """Take a row; drops the oldest one when ``BUFFER_ROWS_MAX`` wait already."""
        self._made += 1
        if len(self._rows) >= BUFFER_ROWS_MAX:
            self._rows.popleft()
            self.dropped += 1
        self._rows.append(row)
        self._idle.clear()
        self._news.set()

    def stats(self) -> Stats:
        """Return the counts so far."""
        return Stats(self._made, self._sent, self.dropped, len(self._rows))

    def start(self) -> None:
        """Begin to send, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="tidegate-telemetry")

    async def stop(self, within_s: float) -> None:
        """Send what waits, for at most ``within_s``; what is left then counts as dropped. No task and no connection is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._ending is not None:
            await asyncio.gather(asyncio.shield(self._ending), return_exceptions=True)
        self.dropped += len(self._rows)
        self._rows.clear()

    async def _run(self) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            try:
                async with self._producing() as producer:
                    while True:
                        await self._send_next(producer)
                        delay_s = RETRY_FIRST_S
            except (KafkaError, OSError, TimeoutError, Problem) as error:
                why = str(error) or type(error).__name__
                log.warning("telemetry cannot reach %s (%s); next try in %.1f s", self._bootstrap, why, delay_s)
            except Exception:
                # Whatever this is: a process without telemetry would be taken for dead, and a good release rolled back (C6).
                log.exception("telemetry cannot be sent to %s; next try in %.1f s", self._bootstrap, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MOST_S)

    @contextlib.asynccontextmanager
    async def _producing(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=int(SEND_TIMEOUT_S * 1_000),
            **self._access.arguments(),
        )
        try:
            await producer.start()
            yield producer
        finally:
            # Each row waits for its own answer, so nothing is lost with it that is not sent again.
            self._ending = asyncio.get_running_loop().create_task(abandon(producer), name="tidegate-telemetry-end")
            await asyncio.shield(self._ending)

    async def _send_next(self, producer: AIOKafkaProducer) -> None:
        await self._news.wait()
        if not self._rows:
            self._news.clear()
            self._idle.set()
            return
        row = self._rows[0]
        try:
            key, value = _encoded(row)
        except Exception as error:  # noqa: BLE001 - a row may hold anything
            self._rows.popleft()
            self.dropped += 1
            self._say(error)
            return
        # A timeout leaves the outcome unknown; the row is sent again, and its (boot, seq) makes the repeat harmless.
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await producer.send_and_wait(self._topic, value, key=key)
        self._sent += 1
        if self._rows and self._rows[0] is row:
            self._rows.popleft()
        else:
            self.dropped -= 1  # it was pushed out of the buffer while it was being sent

    def _say(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._told:
            self._told.add(kind)
            log.warning("a row of telemetry cannot be sent and is dropped, as all others like it: %s: %s", kind, error)


def _encoded(row: Telemetry) -> tuple[bytes, bytes]:
    """Return (key, value) of a record. What msgspec raises where a value has no place on the wire; ValueError where the row is
    larger than anybody reads.
    """
    value = encode_msgpack(row)
    if len(value) > MESSAGE_BYTES_MAX:
        raise ValueError(f"{len(value)} bytes; at most {MESSAGE_BYTES_MAX} are read")
    return row.node.encode(), value
