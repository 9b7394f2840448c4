"""The secured broker, once for these tests, and a home whose one section of settings serves every role."""

import asyncio
import gc
import os
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kafka.secured.broker import SecuredKafka
from tests.kafka.secured.kit import Installation

from tidegate.broker import BrokerProblem
from tidegate.broker.jars import kafka_jars
from tidegate.wire.acls import PRINCIPALS


@pytest.fixture(scope="package")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker that knows a user for each role, and lets none of them do anything yet."""
    with asyncio.Runner() as runner:
        try:
            jars = runner.run(kafka_jars(print))
            broker = SecuredKafka(jars, tmp_path_factory.mktemp("secured"), [f"tidegate-{role}" for role in PRINCIPALS])
            runner.run(broker.start())
        except BrokerProblem as problem:
            pytest.fail(f"this test needs a real broker: {problem}")
        yield broker
        runner.run(broker.stop())


@pytest.fixture(autouse=True)
def unclosed() -> Iterator[None]:
    """Let no later test hear of connections that are closed and have not said goodbye (see ``MARKS``)."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person has set for other fleets is not of this one."""
    for name in [name for name in os.environ if name.startswith("TIDEGATE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def installation(secured: SecuredKafka, tmp_path: Path) -> Installation:
    """A home at the secured broker with a prefix of its own; nothing is made there yet."""
    return Installation(secured, tmp_path / "home", f"t{secrets.token_hex(4)}.")


@pytest.fixture(scope="package")
def opened(secured: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One with the rights of every role, made as the super user, and topics, made as the admin: for tests that leave it so."""
    found = Installation(secured, tmp_path_factory.mktemp("opened") / "home", f"t{secrets.token_hex(4)}.")
    found.grant()
    found.type("topics", "create")
    return found
