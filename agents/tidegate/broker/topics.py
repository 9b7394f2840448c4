"""Topics as the table says: made, or compared with what is there. Existing topics are altered by a restore alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from msgspec import Struct

from tidegate.broker.admin import open_admin
from tidegate.broker.connection import BrokerProblem, Connection
from tidegate.broker.patience import patiently
from tidegate.wire.topics import BY_NAME, TOPICS, Topic

REPLICAS_MOST = 3
VISIBLE_WITHIN_S = 20.0
STAMP = "message.timestamp.type"
KEPT = {STAMP: "CreateTime"}


async def create_topics(
    connection: Connection, *, names: frozenset[str] = frozenset(BY_NAME), times_kept: bool = False
) -> list[str]:
    """Make the topics that are missing; return their full names. Safe to run at the same time elsewhere.

    ``times_kept``: records keep the times that they are written with, until ``settle_topics``. BrokerProblem where the broker
    refuses, or a restore has not come to its end. Returns when every broker's metadata show the topics.
    """
    admin = await _admin(connection)
    try:
        wanted = {f"{connection.prefix}{topic.name}": topic for topic in TOPICS if topic.name in names}
        there = set(await admin.list_topics())
        missing = {name: topic for name, topic in wanted.items() if name not in there}
        if not missing:
            return []
        if not times_kept and f"{connection.prefix}desired" in missing and f"{connection.prefix}decisions" in there:
            await _refuse_half(admin, f"{connection.prefix}decisions")
        replicas = min(REPLICAS_MOST, len((await admin.describe_cluster())["brokers"]))
        new = [
            NewTopic(name, topic.partitions, replicas, topic_configs=_settings(topic, replicas) | (KEPT if times_kept else {}))
            for name, topic in missing.items()
        ]
        response = await admin.create_topics(new)
        created = [name for name, code, *rest in response.topic_errors if _made(name, code, rest)]
        await _seen(admin, set(missing), there=True)
        return created
    finally:
        await admin.close()


async def list_topics(connection: Connection) -> frozenset[str]:
    """Return the topics that are there under the prefix, without it."""
    admin = await _admin(connection)
    try:
        there = await admin.list_topics()
    finally:
        await admin.close()
    return frozenset(name.removeprefix(connection.prefix) for name in there if name.startswith(connection.prefix))


async def delete_topics(connection: Connection, names: Sequence[str]) -> None:
    """Delete topics, where they are there, in this order. Returns when they are seen no more; BrokerProblem where they stay."""
    admin = await _admin(connection)
    try:
        for name in [f"{connection.prefix}{name}" for name in names]:
            if name in await admin.list_topics():
                response = await admin.delete_topics([name])
                for topic, code in response.topic_error_codes:
                    if code:
                        raise BrokerProblem(
                            f"the broker refused to delete {topic}: {for_code(code).__name__}", "see its log and rights"
                        )
                await _seen(admin, {name}, there=False)
    finally:
        await admin.close()


async def settle_topics(connection: Connection, names: Sequence[str]) -> None:
    """Give topics that were made with ``times_kept`` the settings of the table. BrokerProblem where the broker refuses."""
    admin = await _admin(connection)
    try:
        for name in names:
            (described,) = await admin.describe_topics([f"{connection.prefix}{name}"])
            replicas = min(len(partition["replicas"]) for partition in described["partitions"])
            settings = _settings(BY_NAME[name], replicas)
            resource = ConfigResource(ConfigResourceType.TOPIC, f"{connection.prefix}{name}", settings)
            (response,) = await admin.alter_configs([resource])
            for code, message, *_ in response.resources:
                if code:
                    raise BrokerProblem(
                        f"the broker refused to set up {name}: {for_code(code).__name__} {message or ''}".strip(),
                        "see its log and rights",
                    )
    finally:
        await admin.close()


class Difference(Struct, frozen=True):
    """One thing in which a cluster is not as the table says, and what to do."""

    what: str
    remedy: str

    def __str__(self) -> str:
        """Return both in a sentence."""
        return f"{self.what}; {self.remedy}"


async def check_topics(connection: Connection) -> list[Difference]:
    """Return every difference between the table and the cluster; empty where there is none."""
    admin = await _admin(connection)
    try:
        there = set(await admin.list_topics())
        found: list[Difference] = []
        for topic in TOPICS:
            name = f"{connection.prefix}{topic.name}"
            if name in there:
                found += await _differences(admin, name, topic)
            else:
                found.append(Difference(f"{name} is missing", "run: tidegate topics create"))
        return found
    finally:
        await admin.close()


async def _admin(connection: Connection) -> AIOKafkaAdminClient:
    return await patiently("topics", connection, lambda: open_admin(connection))


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


async def _refuse_half(admin: AIOKafkaAdminClient, decisions: str) -> None:
    """Refuse to open a fleet to its agents in the middle of a restore: ``desired`` comes last, and until then ``decisions`` keeps
    the times that are written to it.
    """
    actual, _ = await _actual(admin, decisions)
    if actual.get(STAMP) == KEPT[STAMP]:
        raise BrokerProblem(
            f"{decisions} is of a restore that has not come to its end", "run again: tidegate restore FILE --replace"
        )


async def _seen(admin: AIOKafkaAdminClient, names: set[str], *, there: bool) -> None:
    """Wait until all of some topics are seen, or none of them."""
    wanted = names if there else set()
    try:
        async with asyncio.timeout(VISIBLE_WITHIN_S):
            while names & set(await admin.list_topics()) != wanted:  # noqa: ASYNC110 - another process's state has no event
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        what = "new topics are not visible" if there else f"{', '.join(sorted(names))}: still there"
        raise BrokerProblem(f"{what} after {VISIBLE_WITHIN_S:.0f} s", "see the broker's log") from error


async def _actual(admin: AIOKafkaAdminClient, name: str) -> tuple[dict[str, str], str]:
    """Return a topic's settings, or why they cannot be read."""
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((code, message, _type, _name, entries),) = response.resources
    return {entry[0]: entry[1] for entry in entries}, f"{for_code(code).__name__} {message or ''}".strip() if code else ""


async def _differences(admin: AIOKafkaAdminClient, name: str, topic: Topic) -> list[Difference]:
    found: list[Difference] = []
    (described,) = await admin.describe_topics([name])
    partitions = len(described["partitions"])
    if partitions != topic.partitions:
        found.append(
            Difference(
                f"{name} has {partitions} partitions instead of {topic.partitions}",
                "the count is fixed when a topic is made: make it anew",
            )
        )
    replicas = min((len(partition["replicas"]) for partition in described["partitions"]), default=0)
    actual, trouble = await _actual(admin, name)
    if trouble:
        return [*found, Difference(f"{name}: its settings cannot be read: {trouble}", "ask as the role admin")]
    return found + [
        Difference(f"{name}: {key} is {actual.get(key)} instead of {value}", "set it with kafka-configs")
        for key, value in _settings(topic, replicas).items()
        if actual.get(key) != value
    ]
