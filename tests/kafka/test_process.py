import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tidegate.broker import BrokerProblem, Connection, KafkaLog, KafkaProcess, create_topics, find_broker
from tidegate.broker.jars import kafka_jars
from tidegate.broker.kafka import answers

pytestmark = pytest.mark.kafka

PARENT = """
import asyncio, sys
from pathlib import Path
from tidegate.broker import KafkaProcess
from tidegate.broker.jars import kafka_jars

async def main():
    broker = KafkaProcess(await kafka_jars(print), Path(sys.argv[1]))
    await broker.start()
    print(broker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_stops_starts_again_on_the_same_port_and_keeps_what_it_had(private_kafka):
    address, pid = private_kafka.bootstrap, private_kafka.pid
    connection = Connection(address)
    await create_topics(connection, names=frozenset({"plans"}))
    log = KafkaLog(connection, client_id="test")
    await log.append("plans", "svc/shop", b"kept")
    await private_kafka.stop()
    await private_kafka.stop()
    assert not alive(pid)
    assert not await answers(address)
    with pytest.raises(BrokerProblem, match="not running"):
        _ = private_kafka.pid
    await private_kafka.start()
    assert private_kafka.bootstrap == address
    reader = await log.reader(["plans"])
    assert [record.value for record in await reader.read_to_end()] == [b"kept"]
    await reader.close()
    await log.close()


async def test_a_port_that_another_process_has_taken_is_named_with_the_remedy(private_kafka):
    await private_kafka.stop()
    host, _, port = private_kafka.bootstrap.partition(":")
    thief = await asyncio.start_server(lambda _reader, writer: writer.close(), host, int(port))
    with pytest.raises(BrokerProblem, match=f"port {port}.*in use") as raised:
        await private_kafka.start()
    assert "TIDEGATE_BOOTSTRAP" in raised.value.remedy
    thief.close()
    await thief.wait_closed()
    await private_kafka.start()


async def test_a_second_broker_on_the_same_data_is_refused_with_the_remedy(private_kafka):
    second = KafkaProcess(await kafka_jars(print), private_kafka.log.parent)
    with pytest.raises(BrokerProblem, match="another broker keeps its data in"):
        await second.start()
    assert await answers(private_kafka.bootstrap)
    assert private_kafka.log.exists()


async def test_it_dies_with_a_parent_that_is_killed(tmp_path):
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    async with asyncio.timeout(60):
        line = await parent.stdout.readline()
        while not line.strip().isdigit():  # the fetch is announced there too
            line = await parent.stdout.readline()
        pid = int(line)
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        while alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_without_a_named_cluster_real_kafka_is_started_described_and_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEGATE_BROKER", "kafka")
    broker = await find_broker(bootstrap=None, folder=tmp_path, announce=print)
    assert broker.kind == "kafka"
    assert broker.describe() == f"broker: Apache Kafka 4.3.1 on this machine at {broker.bootstrap}"
    assert await answers(broker.bootstrap)
    await broker.stop()
    await broker.stop()
    assert not await answers(broker.bootstrap)


async def test_a_broker_that_fell_over_starts_again(private_kafka):
    os.kill(private_kafka.pid, signal.SIGKILL)
    while alive(private_kafka.pid):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await private_kafka._process.wait()
    await private_kafka.start()
    assert await answers(private_kafka.bootstrap)
