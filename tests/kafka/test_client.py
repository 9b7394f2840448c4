"""The client of a process that is one of many: how many connections it makes, and when."""

import asyncio

import pytest
from aiokafka.structs import BrokerMetadata
from tests.kafka.crowd import Connects

from tidegate.broker import Connection, KafkaLog, client, create_topics
from tidegate.ports import SendUnknown

pytestmark = pytest.mark.kafka


def port_of(bootstrap: str) -> int:
    return int(bootstrap.rpartition(":")[2])


async def until(condition, within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.fixture
async def broker(private_kafka):
    """A broker of which nobody else is a client, with topics."""
    await create_topics(Connection(private_kafka.bootstrap), names=frozenset({"keys", "desired", "reports"}))
    return private_kafka


@pytest.fixture
async def node(broker):
    """What a node agent has: a reader of two topics, and something to send."""
    log = KafkaLog(Connection(broker.bootstrap), client_id="node-n1", one_of_many=True)
    yield log
    await log.close()


async def test_all_that_a_node_reads_and_sends_goes_over_one_connection_until_fetches_get_their_own(broker, node, monkeypatch):
    with Connects(port_of(broker.bootstrap)) as connects:
        before = connects.now()
        reader = await node.reader(["keys", "desired"])
        await node.append("reports", "n1", b"1")
        assert await reader.read_to_end() == []
        assert connects.now() == before + 1
        monkeypatch.setattr(client, "APART_AFTER_S", (0.0, 0.0))
        await node._client.cut()
        await until(lambda: connects.now() == before + 2)
        await node.append("desired", "svc/shop", b"1")
        assert [record.value for record in await reader.poll(10)] == [b"1"]
        assert connects.now() == before + 2
        await reader.close()


async def test_a_record_is_there_at_once_although_a_fetch_may_wait_for_seconds(node, monkeypatch):
    monkeypatch.setattr(client, "APART_AFTER_S", (0.0, 0.0))
    monkeypatch.setattr(client, "FETCH_WAIT_MS", 20_000)
    reader = await node.reader(["keys", "desired"])
    async with asyncio.timeout(15):
        for number in range(20):
            topic = ("keys", "desired")[number % 2]
            await node.append(topic, "n1", b"%d" % number)
            found = []
            while not found:
                found = await reader.poll(1)
            assert [int(record.value) for record in found] == [number]
    await reader.close()


async def test_after_an_outage_it_comes_back_with_one_connection_and_reads_and_sends(broker, node):
    reader = await node.reader(["keys", "desired"])
    await node.append("reports", "n1", b"1")
    await broker.kill()
    with pytest.raises(SendUnknown):
        await node.append("reports", "n1", b"2")
    with Connects(port_of(broker.bootstrap)) as connects:
        await broker.start()
        await until(lambda: connects.made_s)
        at = await _sent(node)
        ours = [conn for conn in node._client._conns.values() if conn.connected()]
        assert len(ours) == 1
        other = KafkaLog(Connection(broker.bootstrap), client_id="other")
        await other.append("desired", "svc/shop", b"news")
        found = []
        async with asyncio.timeout(10):
            while not found:
                found = await reader.poll(1)
    assert [record.value for record in found] == [b"news"]
    assert at.offset >= 1
    await reader.close()
    await other.close()


async def test_a_connection_that_is_lost_again_and_again_is_tried_again_after_longer_and_longer_waits(node, monkeypatch):
    """A broker too slow for its fleet got no rest: each node gave up its connection every ten seconds, and was back at once."""
    monkeypatch.setattr(client, "RETRY_FIRST_S", 0.01)
    await node.append("reports", "n1", b"1")
    (at,) = [at for at, conn in node._client._conns.items() if conn.connected()]
    for waits in range(1, 5):
        await node._client.cut()
        await _sent(node)
        assert node._client._backoffs[at]._next_s == pytest.approx(0.01 * 2**waits)
    monkeypatch.setattr(client, "RETRY_MOST_S", 0.0)  # it has lasted
    await node._client.cut()
    await _sent(node)
    assert node._client._backoffs[at]._next_s == pytest.approx(0.02)


async def test_brokers_that_are_others_by_now_are_found_by_the_addresses_of_the_configuration(node):
    reader = await node.reader(["keys", "desired"])
    await node.append("reports", "n1", b"1")
    (broker,) = node._client.cluster.brokers()
    node._client.cluster._brokers = {broker.nodeId: BrokerMetadata(broker.nodeId, "127.0.0.1", 1, None)}
    await node._client.cut()
    await _sent(node)
    await node.append("desired", "svc/shop", b"news")
    found = []
    async with asyncio.timeout(10):
        while not found:
            found = await reader.poll(1)
    assert [record.value for record in found] == [b"news"]
    await reader.close()


async def _sent(log: KafkaLog):
    """Send until it is acknowledged."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await log.append("reports", "n1", b"3")
            except SendUnknown:
                continue
