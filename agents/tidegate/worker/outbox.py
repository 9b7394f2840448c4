"""What a worker sends: in order, without waiting for each answer. A message that is refused ends the process.

It must end it: the floor stays where it was, and a successor reads again what this one could not pass on.
"""

import asyncio
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from tidegate.wire.cloudevents import event_headers

SOURCE = "worker"
"""Who speaks, in the headers of events."""
IN_FLIGHT_MAX = 2_000
"""Messages without an answer; beyond, sending waits, and so does reading."""


class SendFailed(Exception):
    """A message was not taken by the broker; names the topic and the cause."""


class Outbox:
    """The app's producer, with every unanswered message in hand. Topics are named without prefix."""

    def __init__(self, producer: Callable[[], AIOKafkaProducer], prefix: str, failed: Callable[[SendFailed], None]) -> None:
        self._producer = producer
        self._prefix = prefix
        self._failed = failed
        self._in_flight: set[asyncio.Future[RecordMetadata]] = set()
        self._answered = asyncio.Event()

    def __len__(self) -> int:
        return len(self._in_flight)

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: str | None = None,
        partition: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        time_ms: int | None = None,
    ) -> asyncio.Future[RecordMetadata]:
        """Hand one message to the producer; return its answer to come. SendFailed where it is refused at once."""
        while len(self._in_flight) >= IN_FLIGHT_MAX:
            self._answered.clear()
            await self._answered.wait()
        try:
            sent = await self._producer().send(
                self._prefix + topic,
                value,
                key=None if key is None else key.encode(),
                partition=partition,
                headers=[*event_headers(topic, key, value, SOURCE).items(), *headers],
                timestamp_ms=time_ms,
            )
        except (KafkaError, AssertionError) as error:
            raise SendFailed(f"{topic}: {error or type(error).__name__}") from error
        self._in_flight.add(sent)
        sent.add_done_callback(lambda done: self._answer(topic, done))
        return sent

    async def settled(self) -> None:
        """Return when all that was sent before this call is durable. SendFailed where something is not."""
        waiting = tuple(self._in_flight)
        if waiting:
            await asyncio.wait(waiting)
        for done in waiting:
            if done.cancelled() or done.exception() is not None:
                raise SendFailed("a message before it was not taken")

    def _answer(self, topic: str, done: asyncio.Future[RecordMetadata]) -> None:
        self._in_flight.discard(done)
        self._answered.set()
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._failed(SendFailed(f"{topic}: {str(error) or type(error).__name__}"))
