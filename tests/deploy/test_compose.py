"""docker-compose.yml does what its head says, on processes instead of containers."""

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.deploy.composition import Composition
from tests.describe.records import why_none

from tidegate.broker.jars import VERSION, kafka_jars
from tidegate.wire.topics import TOPICS

FLEET = Path(__file__).parents[2] / "deploy" / "compose"
ROLES = ("kafka", "intake", "judge", "experiment", "decide", "decide-2", "notify", "api", "bridge", "n1", "n2", "n3", "n4")
LOOKED_AT = 3
SIGTERM_OF_JAVA = 128 + signal.SIGTERM

pytestmark = [pytest.mark.kafka, pytest.mark.scenario]


@pytest.fixture
async def composition() -> AsyncIterator[Composition]:
    # The name of a socket has at most 107 bytes: no folder deep below others.
    with tempfile.TemporaryDirectory(prefix="compose-") as folder:
        composition = Composition(Path(folder), (await kafka_jars(print)).class_path)
        try:
            yield composition
        finally:
            await composition.stop()


async def test_the_compose_file_installs_a_release_and_takes_a_bad_one_back(composition, say):
    assert composition.services["kafka"]["image"] == f"apache/kafka:{VERSION}"
    began_s = time.monotonic()
    await composition.up("init")
    first, second, *tokens = composition.typed
    # Before the api: without a token it serves this machine alone, and its container is a machine of its own.
    made = [await composition.run("operator", *token.split()) for token in tokens]
    await composition.up()
    healthy = await composition.healthy()
    up_s = time.monotonic() - began_s
    again = await composition.run("init", *composition.services["init"]["command"])
    first, second = [await composition.run("operator", *line.split()) for line in (first, second)]
    seen = [await ask(composition, path, made[0][1].split()[-1]) for path in ("/api/v1/rollouts/shop", "/")]
    scraped = await scrapes(composition)
    unlike = await unpublished(f"{composition.address('kafka')}:9092")
    codes = await composition.stop()

    assert [code for code, _ in (*made, again)] == [0, 0, 0], (made, again)
    assert first[0] == 0, first[1]
    assert (second[0], "(exit code 3: rolled back)" in (FLEET / "v2.yaml").read_text()) == (3, True), second[1]
    assert "rolled" in seen[0]
    assert "<html" in seen[1]
    assert {job for job, up in scraped.items() if not up} == set()
    assert set(scraped) >= {"intake", "judge", "decide", "notify", "api", "bridge", "node"}
    assert unlike == []
    assert set(ROLES) <= set(healthy)
    assert codes == {**dict.fromkeys(codes, 0), "kafka": SIGTERM_OF_JAVA}
    assert [name for name in codes if any(composition.working_folder(name).iterdir())] == []
    say(f"up after {up_s:.0f} s, a bad release back after {time.monotonic() - began_s:.0f} s")


async def scrapes(composition: Composition) -> dict[str, bool]:
    """Whether Prometheus finds every process of a role."""
    url = f"http://{composition.address('prometheus')}:9090/api/v1/targets"
    told = json.loads(await asyncio.to_thread(lambda: urlopen(url, timeout=10).read()))["data"]["activeTargets"]
    roles: dict[str, bool] = {}
    for target in told:
        role = target["labels"].get("role", target["labels"]["job"])
        roles[role] = roles.get(role, True) and target["health"] == "up"
    return roles


async def ask(composition: Composition, path: str, token: str) -> str:
    """What a browser on the machine gets at the published port."""
    port = next(one.split(":")[1] for one in composition.services["api"]["ports"] if one.endswith(":8016"))
    request = Request(f"http://{composition.address('api')}:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        return await asyncio.to_thread(lambda: urlopen(request, timeout=10).read().decode())  # noqa: S310 - http
    except OSError as error:
        raise AssertionError(composition.said("api")) from error


async def unpublished(bootstrap: str) -> list[tuple[str, dict[str, str]]]:
    """What is on the topics and unlike docs/asyncapi.yaml, of the newest records of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(f"tidegate.{topic.name}", n) for topic in TOPICS for n in range(topic.partitions)]
        consumer.assign(partitions)
        begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, max(begin[partition], end[partition] - LOOKED_AT))
        seen: dict[str, int] = {}
        found = []
        while [one for one in partitions if await consumer.position(one) < end[one]]:
            for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                topic = partition.topic.removeprefix("tidegate.")
                seen[topic] = seen.get(topic, 0) + len(records)
                values = [record.value for record in records if record.value]
                found += [(topic, why) for value in values if (why := why_none(topic, value))]
    finally:
        await consumer.stop()
    assert set(seen) >= {"telemetry", "nodeseconds", "kpis", "verdicts", "decisions", "desired", "reports", "alarms"}
    return found
