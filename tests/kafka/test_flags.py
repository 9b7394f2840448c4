"""A service's flags on real Kafka: read to the end, followed, kept while the broker is gone, and taken from disk at a start
without it; exposures on their topic.
"""

import asyncio
import queue
from collections.abc import Callable
from pathlib import Path

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.provider import ProviderStatus
from tests.flagfeed.kit import Author, flag, root_file

from tidegate.broker import Connection, KafkaLog, create_topics
from tidegate.ports import SendUnknown
from tidegate.sdk.flags import FlagSettings, Status, TidegateProvider
from tidegate.wire.exposures import WATCHED, Exposure, exposure_of, user_hash

pytestmark = pytest.mark.kafka
KIM = EvaluationContext("kim")
WITHIN_S = 60.0


def settings(connection: Connection, folder: Path, **fields) -> FlagSettings:
    known = {"snapshot": folder / "snapshot", "service": "shop", "node": "n1", "wait_s": WITHIN_S}
    return FlagSettings(
        flag_set="web",
        root=root_file(folder),
        bootstrap=connection.bootstrap,
        prefix=connection.prefix,
        **(known | fields),
    )


class Services:
    """Providers under OpenFeature's own interface, each under a domain, and the changes that their clients have heard of."""

    def __init__(self) -> None:
        self.changed: queue.Queue[list[str]] = queue.Queue()

    async def begin(self, domain: str, told: FlagSettings):
        client = api.get_client(domain)
        client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, lambda details: self.changed.put(details.flags_changed))
        await asyncio.to_thread(api.set_provider_and_wait, TidegateProvider(told), domain)
        return client

    async def end(self) -> None:
        await asyncio.to_thread(api.clear_providers)


@pytest.fixture
async def services():
    services = Services()
    yield services
    await services.end()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def published(author: Author, key: str, value: bytes) -> int:
    """Publish, as decide does: what got no answer is sent again. Return the generation that landed."""
    while True:
        try:
            await author.put(key, value)
        except SendUnknown:
            continue
        return author.generation


async def test_flags_are_read_followed_and_told_of_on_a_real_broker(connection, log, services, tmp_path):
    author = Author(log)
    on = await published(author, "web/dark", flag("on", metadata={WATCHED: True}))
    client = await services.begin("one", settings(connection, tmp_path))
    assert client.get_provider_status() is ProviderStatus.READY
    assert client.get_boolean_value("dark", False, KIM) is True
    off = await published(author, "web/dark", flag("off", metadata={WATCHED: True}))
    assert await asyncio.to_thread(services.changed.get, timeout=WITHIN_S) == ["dark"]
    assert client.get_boolean_value("dark", True, KIM) is False
    provider = client.provider
    await until(lambda: provider.stats().sent == 2)
    reader = await log.reader(["exposures"])
    records = await reader.read_to_end()
    await reader.close()
    events = dict.fromkeys(exposure_of(record.value) for record in records)  # the same once more, where an answer was lost
    assert {record.key for record in records} == {user_hash("web", "kim")}
    assert [(type(one), one.flag, one.variant) for one in events] == [(Exposure, "dark", "on"), (Exposure, "dark", "off")]
    first, second = (one.generation for one in events)
    assert first <= on < second <= off


async def test_a_broker_that_goes_and_comes_costs_no_flag_and_one_that_never_came_only_the_age(private_kafka, services, tmp_path):
    connection = Connection(private_kafka.bootstrap)
    await create_topics(connection, names=frozenset({"keys", "flags"}))
    log = KafkaLog(connection, client_id="test")
    author = Author(log)
    try:
        await published(author, "web/dark", flag("on"))
        told = settings(connection, tmp_path)
        client = await services.begin("one", told)
        await until((tmp_path / "snapshot" / "web" / "flags.snapshot").exists)
        await private_kafka.kill()
        assert client.get_boolean_value("dark", False, KIM) is True

        cold = await services.begin("cold", settings(connection, tmp_path, wait_s=0.5))
        await until(lambda: cold.get_provider_status() is ProviderStatus.STALE)
        assert cold.get_boolean_value("dark", False, KIM) is True
        assert cold.provider.age_s > 0

        await private_kafka.start()
        await published(author, "web/dark", flag("off"))
        await until(lambda: not client.get_boolean_value("dark", True, KIM) and not cold.get_boolean_value("dark", True, KIM))
        await until(lambda: {client.provider.status, cold.provider.status} == {Status.READY})
        assert cold.get_provider_status() is ProviderStatus.READY
    finally:
        await log.close()
