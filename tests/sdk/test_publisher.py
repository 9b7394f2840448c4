import asyncio
import socket
import time

import pytest
from aiokafka import AIOKafkaConsumer

from tidegate.sdk import AsyncPublisher, Publisher
from tidegate.sdk.recorder import Recorder
from tidegate.sdk.sender import BUFFER_ROWS_MAX, Sender
from tidegate.wire.telemetry import decode


def nowhere() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_without_a_broker_the_buffer_stays_bounded_and_the_oldest_rows_go_first():
    publisher = AsyncPublisher("shop", node="n1", bootstrap=nowhere())
    sender = Sender(nowhere())
    recorder = Recorder(publisher.identity, 0)
    for second in range(BUFFER_ROWS_MAX + 7):
        sender.put(recorder.cut(second * 1000 + 1000))
    stats = sender.stats()
    assert (stats.made, stats.sent, stats.dropped, stats.waiting) == (BUFFER_ROWS_MAX + 7, 0, 7, BUFFER_ROWS_MAX)


async def test_without_a_broker_a_service_starts_serves_and_ends_as_if_nothing_were_wrong():
    publisher = AsyncPublisher("shop", node="n1", bootstrap=nowhere())
    await publisher.start()
    publisher.record(0.01)
    began = time.monotonic()
    stats = await publisher.close(within_s=0.3)
    assert time.monotonic() - began < 5
    assert (stats.made, stats.sent, stats.dropped, stats.waiting) == (1, 0, 1, 0)


def test_a_publisher_may_be_closed_twice_and_used_after():
    publisher = Publisher("shop", node="n1", bootstrap=nowhere())
    publisher.start()
    with pytest.raises(ZeroDivisionError), publisher.request():
        _ = 1 // 0
    assert publisher.close(within_s=0.1).made == 1
    assert publisher.close().made == 0
    publisher.record(0.01)


@pytest.mark.kafka
async def test_rows_of_both_publishers_arrive_once_each(connection):
    topic = f"{connection.prefix}telemetry"
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=connection.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        with Publisher("sync", node="n1", bootstrap=connection.bootstrap, prefix=connection.prefix) as one:
            async with AsyncPublisher("async", node="n2", bootstrap=connection.bootstrap, prefix=connection.prefix) as two:
                for publisher in (one, two):
                    for _ in range(10):
                        publisher.record(0.01)
                await asyncio.sleep(1.5)  # the length of what is recorded, not a wait for something
        rows = []
        while sum(row.requests for row in rows) < 20:
            rows += [decode(record.value) for record in [await asyncio.wait_for(consumer.getone(), 10)]]
    finally:
        await consumer.stop()
    assert {(row.service, row.node) for row in rows} == {("sync", "n1"), ("async", "n2")}
    assert sum(row.requests for row in rows) == 20
