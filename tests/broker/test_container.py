"""The Docker rung, on the daemon of this machine where one answers, and on a daemon with behaviour elsewhere."""

import asyncio
import gc
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound
from testcontainers.core.config import testcontainers_config
from tests.broker.daemon import Daemon, Faults

from tidegate.broker import BrokerProblem, Connection, KafkaLog, create_topics, find_broker
from tidegate.broker.connection import DockerMissing
from tidegate.broker.container import IMAGE, KafkaContainer, _probe
from tidegate.broker.jars import VERSION, kafka_jars
from tidegate.broker.kafka import answers
from tidegate.broker.local import hold

PARENT = """
import asyncio, sys
from pathlib import Path
from tidegate.broker.container import KafkaContainer

async def main():
    broker = KafkaContainer(Path(sys.argv[1]), lambda line: None)
    await broker.start()
    print(broker.bootstrap, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


Start = Callable[..., Daemon]


pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def tidy(monkeypatch) -> Iterator[None]:
    """Docker's client leaves connections open where a call fails, and testcontainers one where it looks for the socket."""
    monkeypatch.setattr(testcontainers_config, "_ryuk_docker_socket", "")
    yield
    gc.collect()


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Iterator[Start]:
    """Start a daemon with faults, on a machine that has no Java: the next rung is the mock."""
    started: list[Daemon] = []

    def start(faults: Faults | None = None) -> Daemon:
        started.append(Daemon(tmp_path, faults=faults))
        monkeypatch.setenv("DOCKER_HOST", started[0].host)
        monkeypatch.setattr("shutil.which", lambda _name: None)
        return started[0]

    yield start
    for daemon in started:
        daemon.close()


@pytest.fixture
async def any_docker(tmp_path, monkeypatch) -> AsyncIterator[None]:
    """The daemon of this machine, or one that runs apache/kafka from its jars."""
    try:
        _probe()
    except DockerMissing:
        daemon = Daemon(tmp_path, (await kafka_jars(print)).class_path)
        monkeypatch.setenv("DOCKER_HOST", daemon.host)
        yield
        daemon.close()
    else:
        yield


async def climb(tmp_path: Path) -> tuple[str, list[str]]:
    """Return which broker is found and what is said."""
    said: list[str] = []
    broker = await find_broker(bootstrap=None, folder=tmp_path / "data", allow_mock=True, announce=said.append)
    await broker.stop()
    return broker.kind, said


def there(name: str) -> bool:
    client = docker.from_env()
    try:
        return bool(client.containers.get(name))
    except NotFound:
        return False
    finally:
        client.close()


@pytest.mark.parametrize("silent", [True, False])
async def test_a_daemon_that_does_not_answer_is_passed_over_without_a_word(tmp_path, monkeypatch, silent):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        if silent:
            listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'docker.sock'}")
        kind, said = await climb(tmp_path)
    assert kind == "mock"
    assert "Docker" not in " ".join(said)


async def test_without_the_client_the_next_rung_is_taken_and_asked_for_alone_it_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setitem(sys.modules, "tidegate.broker.container", None)
    assert (await climb(tmp_path))[0] == "mock"
    monkeypatch.setenv("TIDEGATE_BROKER", "docker")
    with pytest.raises(DockerMissing, match="client is missing") as raised:
        await climb(tmp_path)
    assert "tidegate[quickstart]" in raised.value.remedy


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (Faults(pull="toomanyrequests: slow down"), "cannot run apache/kafka.*toomanyrequests: slow down"),
        (Faults(create="no space left on device"), "cannot run apache/kafka.*no space left on device"),
        (Faults(start="ERROR the disk is full"), "ended while it started.*ERROR the disk is full"),
    ],
)
async def test_a_daemon_that_cannot_run_it_is_passed_over_with_the_reason_and_keeps_nothing(fake, tmp_path, faults, reason):
    daemon = fake(faults)
    kind, said = await climb(tmp_path)
    assert kind == "mock"
    assert [line for line in said if re.search(f"no Kafka in Docker: .*{reason}", line)], said
    assert daemon.containers == {}


async def test_asked_for_alone_no_other_rung_is_taken(fake, tmp_path, monkeypatch):
    fake(Faults(pull="denied"))
    monkeypatch.setenv("TIDEGATE_BROKER", "docker")
    with pytest.raises(BrokerProblem, match="denied") as raised:
        await climb(tmp_path)
    assert "TIDEGATE_BOOTSTRAP" in raised.value.remedy


async def test_a_start_that_is_given_up_ends_a_slow_pull_and_leaves_nothing(fake, tmp_path):
    daemon = fake(Faults(slow_pull=threading.Event()))
    said = asyncio.Event()
    loop = asyncio.get_running_loop()
    broker = KafkaContainer(tmp_path / "data", lambda _line: loop.call_soon_threadsafe(said.set))
    starting = asyncio.create_task(broker.start())
    async with asyncio.timeout(10):
        await said.wait()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    assert daemon.containers == {}
    hold(tmp_path / "data").close()


async def test_what_an_earlier_life_left_of_the_same_folder_is_removed_first(fake, tmp_path):
    daemon = fake(Faults(start="ERROR over"))
    broker = KafkaContainer(tmp_path / "data", print)
    daemon.images.add(IMAGE)
    client = docker.from_env()
    client.containers.create(IMAGE, name=broker.name)
    client.close()
    with pytest.raises(BrokerProblem, match="ended while it started"):
        await broker.start()
    assert [body["Image"] for body in daemon.created].count(IMAGE) == 2
    assert daemon.containers == {}


@pytest.mark.kafka
async def test_in_docker_it_takes_and_gives_is_reached_from_here_alone_and_its_data_outlive_it(any_docker, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    said: list[str] = []
    broker = await find_broker(bootstrap=None, folder=folder, announce=said.append)
    name = KafkaContainer(folder, print).name
    assert (broker.kind, there(name)) == ("docker", True)
    assert broker.describe() == f"broker: Apache Kafka {VERSION} in Docker at {broker.bootstrap}"
    await create_topics(Connection(broker.bootstrap), names=frozenset({"plans"}))
    log = KafkaLog(Connection(broker.bootstrap), client_id="test")
    await log.append("plans", "svc/shop", b"kept")
    await log.close()
    client = docker.from_env()
    [[published]] = client.containers.get(name).attrs["NetworkSettings"]["Ports"].values()
    client.close()
    assert published["HostIp"] == "127.0.0.1"
    with pytest.raises(BrokerProblem, match="another broker keeps its data in"):
        await KafkaContainer(folder, print).start()
    await broker.stop()
    await broker.stop()
    assert not there(name)
    assert not await answers(broker.bootstrap)

    monkeypatch.setenv("TIDEGATE_BROKER", "kafka")
    broker = await find_broker(bootstrap=None, folder=folder, announce=said.append)
    log = KafkaLog(Connection(broker.bootstrap), client_id="test")
    reader = await log.reader(["plans"])
    assert [record.value for record in await reader.read_to_end()] == [b"kept"]
    await reader.close()
    await log.close()
    await broker.stop()


@pytest.mark.kafka
async def test_in_docker_it_goes_with_a_parent_that_is_killed(any_docker, tmp_path):
    folder = tmp_path / "data"
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(folder), stdout=asyncio.subprocess.PIPE, env=environment
    )
    async with asyncio.timeout(90):
        bootstrap = (await parent.stdout.readline()).decode().strip()
        name = KafkaContainer(folder, print).name
        assert await answers(bootstrap)
        assert there(name)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        while there(name):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert not await answers(bootstrap)
