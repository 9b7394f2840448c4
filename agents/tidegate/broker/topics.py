"""Topics as the table says: made, or compared with what is there. Existing topics are never altered."""

import asyncio
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from tidegate.broker.connection import BrokerProblem, Connection, patiently
from tidegate.wire.topics import BY_NAME, TOPICS, Topic

REPLICAS_MOST = 3
VISIBLE_WITHIN_S = 20.0


async def create_topics(connection: Connection, *, names: frozenset[str] = frozenset(BY_NAME)) -> list[str]:
    """Make the topics that are missing; return their full names. Safe to run at the same time elsewhere.

    BrokerProblem where the broker refuses. Returns when every broker's metadata show the topics.
    """
    admin = await _admin(connection)
    try:
        wanted = {f"{connection.prefix}{topic.name}": topic for topic in TOPICS if topic.name in names}
        missing = {name: topic for name, topic in wanted.items() if name not in set(await admin.list_topics())}
        if not missing:
            return []
        replicas = min(REPLICAS_MOST, len((await admin.describe_cluster())["brokers"]))
        new = [
            NewTopic(name, topic.partitions, replicas, topic_configs=_settings(topic, replicas))
            for name, topic in missing.items()
        ]
        response = await admin.create_topics(new)
        created = [name for name, code, *rest in response.topic_errors if _made(name, code, rest)]
        await _visible(admin, set(missing))
        return created
    finally:
        await admin.close()


async def check_topics(connection: Connection) -> list[str]:
    """Return every difference between the table and the cluster as a sentence; empty where there is none."""
    admin = await _admin(connection)
    try:
        there = set(await admin.list_topics())
        found: list[str] = []
        for topic in TOPICS:
            name = f"{connection.prefix}{topic.name}"
            if name in there:
                found += await _differences(admin, name, topic)
            else:
                found.append(f"{name} is missing; run: tidegate topics create")
        return found
    finally:
        await admin.close()


async def _admin(connection: Connection) -> AIOKafkaAdminClient:
    async def attempt() -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap)
        try:
            await admin.start()
        except BaseException:
            await admin.close()
            raise
        return admin

    return await patiently("topics", connection, attempt)


def _settings(topic: Topic, replicas: int) -> dict[str, str]:
    # An answer from "all replicas" promises something only if one replica alone is not all.
    return topic.config() | ({"min.insync.replicas": "2"} if replicas >= REPLICAS_MOST else {})


def _made(name: str, code: int, rest: list[Any]) -> bool:
    if code == 0:
        return True
    error = for_code(code)
    if error is TopicAlreadyExistsError:
        return False
    raise BrokerProblem(
        f"the broker refused to make {name}: {error.__name__} {rest[0] if rest else ''}".strip(), "see its log and rights"
    )


async def _visible(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    try:
        async with asyncio.timeout(VISIBLE_WITHIN_S):
            while not names <= set(await admin.list_topics()):  # noqa: ASYNC110 - another process's state has no event
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise BrokerProblem(f"new topics are not visible after {VISIBLE_WITHIN_S:.0f} s", "see the broker's log") from error


async def _differences(admin: AIOKafkaAdminClient, name: str, topic: Topic) -> list[str]:
    found: list[str] = []
    (described,) = await admin.describe_topics([name])
    partitions = len(described["partitions"])
    if partitions != topic.partitions:
        found.append(
            f"{name} has {partitions} partitions instead of {topic.partitions}; "
            "the count is fixed when a topic is made: make it anew"
        )
    replicas = min((len(partition["replicas"]) for partition in described["partitions"]), default=0)
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((code, message, _type, _name, entries),) = response.resources
    if code:
        return [*found, f"{name}: its settings cannot be read: {for_code(code).__name__} {message or ''}".strip()]
    actual = {entry[0]: entry[1] for entry in entries}
    for key, value in _settings(topic, replicas).items():
        if actual.get(key) != value:
            found.append(f"{name}: {key} is {actual.get(key)} instead of {value}; set it with kafka-configs")
    return found
