"""A broker of one topic in memory, as far as a producer needs one: it keeps what it acknowledges, or is told to stay silent."""

import asyncio
import struct
from io import BytesIO
from typing import Any, Self

from aiokafka.protocol.admin import ApiVersionRequest_v0
from aiokafka.protocol.api import RequestHeader_v1, RequestStruct, ResponseHeader_v0
from aiokafka.protocol.metadata import MetadataRequest_v1
from aiokafka.protocol.produce import ProduceRequest_v3
from aiokafka.protocol.transaction import InitProducerIdRequest_v0
from aiokafka.record.memory_records import MemoryRecords

KNOWN: dict[int, type[RequestStruct]] = {
    one.API_KEY: one for one in (ApiVersionRequest_v0, MetadataRequest_v1, ProduceRequest_v3, InitProducerIdRequest_v0)
}


class Broker:
    """Partition 0 of every topic that is asked for.

    ``silent``: it takes records, and neither keeps nor acknowledges them. ``deaf``: it takes connections and answers nothing.
    """

    def __init__(self) -> None:
        self.silent = self.deaf = False
        self.kept: list[bytes] = []
        self.asked = 0
        """Produce requests so far."""
        self.unheard = 0
        """Requests so far that nobody listened to."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._news = asyncio.Condition()
        self._producers = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        self.bootstrap = f"127.0.0.1:{self._port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await self.until(lambda: not self.connections)

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._writers)

    def hang_up(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.close()

    async def until(self, condition: Any) -> None:
        """Wait until something holds that a request, or the end of a connection, brings about."""
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(condition)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = BytesIO(await reader.readexactly(size))
                if self.deaf:
                    self.unheard += 1
                    await self._tell()
                    continue
                head = RequestHeader_v1.SCHEMA.decode(frame)
                request = KNOWN[head[0]]
                answer = self._answer(request, request.SCHEMA.decode(frame))
                if answer is not None:
                    body = ResponseHeader_v0(head[2]).encode() + request.RESPONSE_TYPE(*answer).encode()
                    writer.write(struct.pack(">i", len(body)) + body)
                await self._tell()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _answer(self, request: type[RequestStruct], said: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if request is ApiVersionRequest_v0:
            return 0, [(known.API_KEY, known.API_VERSION, known.API_VERSION) for known in KNOWN.values()]
        if request is MetadataRequest_v1:
            topics = [(0, name, False, [(0, 0, 1, [1], [1])]) for name in said[0] or ()]
            return [(1, "127.0.0.1", self._port, None)], 1, topics
        if request is InitProducerIdRequest_v0:
            self._producers += 1
            return 0, 0, self._producers, 0
        self.asked += 1
        if self.silent:
            return None
        ((topic, ((partition, records),)),) = said[3]
        first = len(self.kept)
        self._keep(MemoryRecords(records))
        return [(topic, [(partition, 0, first, -1)])], 0

    def _keep(self, records: MemoryRecords) -> None:
        while (batch := records.next_batch()) is not None:
            self.kept += [record.value for record in batch]


def theirs() -> list[str]:
    """Return what runs of aiokafka on this loop."""
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    return [one.__qualname__ for one in coroutines if "aiokafka" in one.cr_code.co_filename]
