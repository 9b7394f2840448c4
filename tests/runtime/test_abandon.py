"""A producer that gave no answer ends with all that it holds: those of the log, and one that is in the middle of anything."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from tests.sdk.broker import Broker, theirs

from tidegate.broker import Connection, KafkaLog
from tidegate.ports import SendUnknown
from tidegate.runtime import abandon

FAILURES = 5


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abandon, "WITHIN_S", 0.3)


def producer_of(broker: Broker) -> AIOKafkaProducer:
    return AIOKafkaProducer(bootstrap_servers=broker.bootstrap, enable_idempotence=True, request_timeout_ms=1_000)


async def test_one_that_never_started_ends():
    await abandon.abandon(AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True))
    assert not theirs()


async def test_one_that_waits_for_an_answer_ends_and_so_does_who_waits_for_it():
    async with Broker() as broker:
        broker.silent = True
        producer = producer_of(broker)
        await producer.start()
        waiting = await producer.send("plans", b"")
        await broker.until(lambda: broker.asked)
        await abandon.abandon(producer)
        assert not theirs()
        with pytest.raises(ProducerClosed):
            await waiting
        await broker.until(lambda: not broker.connections)


async def test_one_that_waits_for_a_connection_ends():
    """Of a broker that was lost nobody answers. The client asks for as long as a request may take, for news of the cluster first,
    then for the record.
    """
    async with Broker() as broker:
        broker.silent = True
        producer = producer_of(broker)
        await producer.start()
        waiting = await producer.send("plans", b"")
        await broker.until(lambda: broker.asked)
        broker.deaf = True
        broker.hang_up()
        await broker.until(lambda: broker.unheard == 2)
        await abandon.abandon(producer)
        assert not theirs()
        with pytest.raises(ProducerClosed):
            await waiting
        await broker.until(lambda: not broker.connections)


@pytest.mark.parametrize("one_of_many", [False, True])
async def test_appends_to_the_log_without_an_answer_leave_no_producer_behind(one_of_many):
    async with Broker() as broker:
        log = KafkaLog(Connection(broker.bootstrap), client_id="test", send_timeout_s=0.05, one_of_many=one_of_many)
        await log.start()
        broker.silent = True
        for _ in range(FAILURES):
            with pytest.raises(SendUnknown):
                await log.append("plans", None, b"")
        assert theirs().count("Sender._sender_routine") <= 1
        await log.close()
        assert not theirs()
        await broker.until(lambda: not broker.connections)
    assert asyncio.all_tasks() == {asyncio.current_task()}
