"""What a send that gives up does to the connection of a node agent; without a broker, on connections that come when told to."""

import asyncio

import pytest
from aiokafka.client import AIOKafkaClient, ConnectionGroup

from tidegate.broker import Connection
from tidegate.broker.client import Client


class Conn:
    """A connection that is there until it is closed."""

    def __init__(self) -> None:
        self.there = True

    def connected(self) -> bool:
        return self.there

    def close(self, **_: object) -> None:
        self.there = False


class Port:
    """Connections come while it is open; who tries before waits for that."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.tries = 0

    async def connect(self, client: Client, node_id: int, *, group: ConnectionGroup) -> Conn:
        self.tries += 1
        await self.open.wait()
        conn = client._conns[node_id, group] = Conn()
        return conn


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> Port:
    port = Port()

    async def connect(client: Client, node_id: int, *, group: ConnectionGroup) -> Conn:
        return await port.connect(client, node_id, group=group)

    monkeypatch.setattr(AIOKafkaClient, "_get_conn", connect)
    return port


@pytest.fixture
async def client() -> Client:
    return Client(Connection("127.0.0.1:1"), "node-n1")


async def test_who_waits_for_a_connection_is_told_of_a_cut_and_the_try_goes_on(port: Port, client: Client) -> None:
    asking = asyncio.create_task(client._get_conn(1))
    await asyncio.sleep(0)
    await client.cut(asyncio.get_running_loop().time())
    assert await asking is None
    port.open.set()
    conn = await client._get_conn(1)
    assert conn is not None
    assert conn.connected()
    assert port.tries == 1


async def test_a_connection_that_came_while_a_send_waited_for_it_is_not_closed_when_the_send_gives_up(
    port: Port, client: Client
) -> None:
    """One node in twenty lost the connection that it had just got back, and waited a second time: the last of 500 after 38 s."""
    port.open.set()
    before_s = asyncio.get_running_loop().time()
    conn = await client._get_conn(1)
    assert conn is not None
    await client.cut(before_s)
    assert conn.connected()
    await client.cut()
    assert not conn.connected()
