import sys

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tidegate.broker import BrokerProblem, find_broker
from tidegate.broker.mock import MockBroker
from tidegate.wire.topics import TOPICS


@pytest.fixture(autouse=True)
def no_docker(monkeypatch):
    monkeypatch.setitem(sys.modules, "tidegate.broker.container", None)


async def test_the_users_own_cluster_comes_first_and_is_left_alone(tmp_path):
    broker = await find_broker(bootstrap="kafka.example:9092", folder=tmp_path, announce=print)
    assert (broker.kind, broker.bootstrap) == ("user", "kafka.example:9092")
    await broker.stop()


@pytest.mark.parametrize(("there", "missing"), [((), "Java 17"), (("java",), "Maven")])
async def test_what_is_missing_on_this_machine_is_named_with_the_remedy(tmp_path, monkeypatch, there, missing):
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BrokerProblem, match=missing) as raised:
        await find_broker(bootstrap=None, folder=tmp_path / "data", announce=print)
    assert "TIDEGATE_BOOTSTRAP" in raised.value.remedy


async def test_without_java_the_demo_gets_the_mock_and_is_told_what_it_cannot_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    broker = await find_broker(bootstrap=None, folder=tmp_path, allow_mock=True, announce=said.append)
    assert broker.kind == "mock"
    assert "Java" in said[0]
    assert "nothing survives" in broker.describe()
    await broker.stop()


async def test_the_mock_has_every_topic_with_the_partitions_of_the_table():
    mock = MockBroker()
    admin = AIOKafkaAdminClient(bootstrap_servers=mock.bootstrap)
    await admin.start()
    there = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    await admin.close()
    await mock.stop()
    assert there == {f"tidegate.{topic.name}": topic.partitions for topic in TOPICS}


async def test_one_rung_may_be_asked_for_and_none_that_does_not_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEGATE_BROKER", "mock")
    broker = await find_broker(bootstrap=None, folder=tmp_path, announce=print)
    assert broker.kind == "mock"
    await broker.stop()
    monkeypatch.setenv("TIDEGATE_BROKER", "rabbit")
    with pytest.raises(BrokerProblem, match="rabbit") as raised:
        await find_broker(bootstrap=None, folder=tmp_path, announce=print)
    assert "docker, kafka, mock" in raised.value.remedy
