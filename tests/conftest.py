"""Fixtures that every folder may use: a real broker, once for the whole run, a namespace of topics for each test, and a voice."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import settings

from tidegate.broker import BrokerProblem, Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars

settings.register_profile("suite", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=1_000, deadline=None)
settings.load_profile("suite")
"""How long a generated example takes says more of the machine than of the code. ``--hypothesis-profile long`` finds new ones."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a scenario that repeats itself do so more often than the suite has time for."""
    parser.addoption("--rounds", type=int, default=1, help="how often a guarded flag is switched off (1)")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often to repeat what is timed."""
    return request.config.getoption("--rounds")


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell a figure. It stands at the end of the run, whichever process ran the test, and in build/<name>.json."""
    return lambda figure: request.node.user_properties.append(("said", figure))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests said, below their results."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, figure in report.user_properties:
            if name == "said" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid.partition('::')[0]}: {figure}")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a real broker: the one named by TIDEGATE_BOOTSTRAP, or Kafka from its jars; fails without one."""
    named = os.environ.get("TIDEGATE_BOOTSTRAP")
    if named:
        yield named
        return
    with asyncio.Runner() as runner:
        try:
            broker = KafkaProcess(runner.run(kafka_jars(print)), tmp_path_factory.mktemp("kafka"))
            runner.run(broker.start())
        except BrokerProblem as problem:
            pytest.fail(f"this test needs a real broker: {problem}")
        yield broker.bootstrap
        runner.run(broker.stop())


@pytest.fixture
async def bare_connection(kafka: str) -> AsyncIterator[Connection]:
    """A prefix of this test's own, without topics; what is made under it goes with the test."""
    connection = Connection(kafka, f"t{secrets.token_hex(4)}.")
    yield connection
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    made = [topic for topic in await admin.list_topics() if topic.startswith(connection.prefix)]
    if made:
        await admin.delete_topics(made)
    await admin.close()


@pytest.fixture
async def connection(bare_connection: Connection) -> Connection:
    """All topics of the table under a prefix of this test's own."""
    await create_topics(bare_connection)
    return bare_connection


@pytest.fixture
async def log(connection: Connection) -> AsyncIterator[KafkaLog]:
    """A log on this test's own topics."""
    log = KafkaLog(connection, client_id="test")
    await log.start()
    yield log
    await log.close()


@pytest.fixture
async def private_kafka(tmp_path: Path) -> AsyncIterator[KafkaProcess]:
    """A real broker of this test's own, to be killed and restarted."""
    broker = KafkaProcess(await kafka_jars(print), tmp_path / "kafka")
    await broker.start()
    yield broker
    await broker.stop()
