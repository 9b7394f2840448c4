"""The client of a process that is one of many, as a node agent is: few connections, few requests, and no storm after an outage.

A client of its own for each reader and for the producer, as others have, makes seven connections in the seconds after a restart
of the broker, with nothing between its tries. Here all share one, and what was lost is tried again by one task, after waits that
spread a fleet: 500 nodes come back within 22 s, at about 25 a second (protocol.md P19, row 72). Who asks for something meanwhile
waits for that task, so that waits of its own between its attempts need not spread anything.

A broker answers one request of a connection at a time, so that a send waits for the fetch before it. Fetches therefore get a
connection of their own, but later, when everyone is back; until then they are short.
"""

import asyncio
import contextlib
import math
import random
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest

from tidegate.broker.connection import Backoff, Connection
from tidegate.runtime.access import Access
from tidegate.runtime.problem import Problem

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 22.0
"""``tidegate.detect.absence.RECONNECT_MS`` is a little more: who is slow to come back is not taken for dead."""
FETCH_WAIT_MS = 5_000
"""On a connection of its own: something to read, such as a heartbeat, ends it at once."""
FETCH_WAIT_SHARED_MS = 250
APART = ConnectionGroup.COORDINATION
"""The second connection. Consumer groups would use it; there are none here."""
APART_AFTER_S = (25.0, 85.0)
"""When it is made, after the first: anything between. Nobody comes back as late as that."""
REQUEST_WITHIN_S = 20.0
"""A connection that leaves a request unanswered for so long is given up."""

ConnectionId = tuple[Any, ConnectionGroup]


class Client(AIOKafkaClient):
    """Shared by the producer and the readers of one log. They come and go; ``end`` is for the last of them."""

    def __init__(self, connection: Connection, client_id: str) -> None:
        super().__init__(**connection.arguments(), client_id=client_id, request_timeout_ms=int(REQUEST_WITHIN_S * 1000))
        self._access = connection.access
        self._bootstrapping = asyncio.Lock()
        self._knocks: dict[ConnectionId, asyncio.Task[AIOKafkaConnection | None]] = {}
        self._backoffs: dict[ConnectionId, Backoff] = {}
        self._made_s: dict[ConnectionId, float] = {}
        self._apart_at_s: dict[Any, float] = {}
        """Broker to when the second connection to it may be made."""
        self._cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def bootstrap(self) -> None:
        """Find the cluster, once."""
        async with self._bootstrapping:
            if self._sync_task is None:
                await super().bootstrap()

    def set_topics(self, topics: Any) -> Any:
        """Know these topics too: each reader names its own, and the producer its."""
        return super().set_topics(self._topics | set(topics))

    async def close(self) -> None:
        """Nothing: a reader or producer that closes is not the last user of the connection."""

    async def send(self, node_id: Any, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        """Send a request, a fetch where it is in nobody's way."""
        if isinstance(request, FetchRequest):
            if self._apart(node_id):
                group = APART
            else:
                request._max_wait_ms = min(request._max_wait_ms, FETCH_WAIT_SHARED_MS)  # noqa: SLF001
        return await super().send(node_id, request, group=group)

    async def cut(self, before_s: float = math.inf) -> None:
        """Close what was connected before a moment of the loop's clock: who waits for an answer there, or anywhere for a
        connection, gets an error now. The client stays of use, and a try under way goes on.

        A send that gives up has waited for a connection for most of its time, where it has just come: to close that one too made
        one node in twenty wait twice after an outage.
        """
        self._cut.set_result(None)
        self._cut = asyncio.get_running_loop().create_future()
        for at, conn in list(self._conns.items()):
            closed = conn.close() if self._made_s.get(at, -math.inf) < before_s else None
            if closed is not None:
                await closed

    async def end(self) -> None:
        """Let go of everything."""
        for knock in self._knocks.values():
            knock.cancel()
        await self.cut()
        await super().close()

    async def _get_conn(
        self,
        node_id: Any,
        *,
        group: ConnectionGroup = ConnectionGroup.DEFAULT,
        no_hint: bool = False,  # noqa: ARG002 - theirs
    ) -> AIOKafkaConnection | None:
        """Return the connection to a broker; None where the next try fails or ``cut`` ends the wait. All wait for one try."""
        at = (node_id, group)
        conn = self._conns.get(at)
        if conn is not None and conn.connected():
            return conn
        knock = self._knocks.get(at)
        if knock is None or knock.done():
            knock = self._knocks[at] = asyncio.create_task(self._knock(at))
        await asyncio.wait([knock, self._cut], return_when=asyncio.FIRST_COMPLETED)
        return knock.result() if knock.done() and not knock.cancelled() else None

    async def _knock(self, at: ConnectionId) -> AIOKafkaConnection | None:
        """Try once, when it is time to. The first try of all is made at once."""
        now_s = asyncio.get_running_loop().time()
        if at in self._backoffs:
            # Reconnects do not help a broker that is too slow for its clients: only what lasted begins with short waits again.
            if now_s - self._made_s.pop(at, now_s) > RETRY_MOST_S:
                self._backoffs[at].reset()
            await asyncio.sleep(self._backoffs[at].grow())
            renew(self, self._access)
        self._backoffs.setdefault(at, Backoff(RETRY_FIRST_S, RETRY_MOST_S))
        conn: AIOKafkaConnection | None = await super()._get_conn(at[0], group=at[1])
        if conn is not None:
            self._made_s[at] = asyncio.get_running_loop().time()
            self._apart_at_s[at[0]] = self._made_s[at] + _later_s()
        elif not any(other.connected() for other in self._conns.values()):
            await self._find_again(at[0])
        return conn

    def _apart(self, node_id: Any) -> bool:
        """Return whether there is a connection for fetches; begin to make it when it is time to."""
        conn, first = self._conns.get((node_id, APART)), self._conns.get((node_id, ConnectionGroup.DEFAULT))
        if conn is not None and conn.connected():
            return True
        now_s = asyncio.get_running_loop().time()
        if first is not None and first.connected() and now_s >= self._apart_at_s[node_id]:
            self._apart_at_s[node_id] = now_s + _later_s()
            self._knocks[node_id, APART] = asyncio.create_task(super()._get_conn(node_id, group=APART))
        return False

    async def _find_again(self, node_id: Any) -> None:
        """Ask the addresses that are configured, where the brokers of the last answer are gone: they may be others by now."""
        broker = self.cluster.broker_metadata(node_id)
        if broker is None or (broker.host, broker.port) not in [(host, port) for host, port, _ in self.hosts]:
            with contextlib.suppress(KafkaError):
                await super().bootstrap()


def renew(client: AIOKafkaClient, access: Access) -> None:
    """Let a client take a password or certificate that was replaced since, for its next connection. Where it cannot be read, the
    last one is tried.
    """
    with contextlib.suppress(Problem):
        for name, value in access.arguments().items():
            setattr(client, f"_{name}", value)  # there is no public way


def _later_s() -> float:
    return random.uniform(*APART_AFTER_S)  # noqa: S311 - no secret
