"""Role by topic by operation, tried on the broker: what the topic table allows works, all else is refused."""

import asyncio
import secrets
from collections.abc import Awaitable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupAuthorizationFailedError, MemberIdRequired, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.group import JoinGroupRequest
from tests.kafka.secured.kit import MARKS, Installation

from tidegate.broker import Connection
from tidegate.broker.permits import permits
from tidegate.wire.acls import GROUPS, PRINCIPALS
from tidegate.wire.topics import TOPICS

pytestmark = MARKS

ANSWER_WITHIN_S = 30

Deed = tuple[str, str, str]
"""Role, operation, full name of a topic or group."""


async def succeeds(work: Awaitable[object]) -> bool:
    """Whether the broker lets a client do something; only its refusal is an answer, any other failure is one of the test."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await work
    except TopicAuthorizationFailedError:
        return False
    return True


async def written(role: str, where: Connection) -> set[Deed]:
    """The topics that a role can write to, by writing a record to each, as an idempotent producer."""
    done = set()
    producer = AIOKafkaProducer(**where.arguments(), enable_idempotence=True, acks="all")
    await producer.start()
    for topic in TOPICS:
        name = f"{where.prefix}{topic.name}"
        if await succeeds(producer.send_and_wait(name, b"{}", key=b"matrix", partition=0)):
            done.add((role, "write", name))
    await producer.stop()
    return done


async def read(role: str, where: Connection) -> set[Deed]:
    """The topics of which a role gets the record that stands in each."""
    done = set()
    consumer = AIOKafkaConsumer(**where.arguments(), enable_auto_commit=False, fetch_max_wait_ms=50)
    await consumer.start()

    async def first(at: TopicPartition) -> None:
        await consumer._client._wait_on_metadata(at.topic)
        consumer.assign([at])
        consumer.seek(at, 0)
        await consumer.getone(at)

    for topic in TOPICS:
        name = f"{where.prefix}{topic.name}"
        if await succeeds(first(TopicPartition(name, 0))):
            done.add((role, "read", name))
    await consumer.stop()
    return done


async def joined(role: str, where: Connection) -> set[Deed]:
    """The consumer groups that would take a role as a member, if it came again with the name that they give it."""
    done = set()
    admin = AIOKafkaAdminClient(**where.arguments())
    await admin.start()
    for group in GROUPS:
        name = f"{where.prefix}{group}"
        code = (
            await admin._send_request(JoinGroupRequest(name, 6_000, 6_000, "", None, "consumer", [("range", b"")]))
        ).error_code
        assert for_code(code) in (MemberIdRequired, GroupAuthorizationFailedError), (role, name, for_code(code))
        if for_code(code) is MemberIdRequired:
            done.add((role, "read", name))
    await admin.close()
    return done


async def administered(role: str, where: Connection) -> set[Deed]:
    """What a role can do to topics themselves: make one here, make one elsewhere, change one's settings, delete one."""
    admin = AIOKafkaAdminClient(**where.arguments())
    await admin.start()
    name, alien = f"{where.prefix}made-by-{role}", f"elsewhere-{secrets.token_hex(4)}"
    codes = {}
    for verb, topic in (("create", name), ("create elsewhere", alien)):
        response = await admin.create_topics([NewTopic(topic, 1, 1)])
        codes[verb] = response.topic_errors[0][1]
    resource = ConfigResource(ConfigResourceType.TOPIC, f"{where.prefix}kpis", {"retention.ms": "1000"})
    (response,) = await admin.alter_configs([resource])
    codes["alter_configs"] = response.resources[0][0]
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, f"{where.prefix}kpis")])
    codes["describe_configs"] = response.resources[0][0]
    response = await admin.delete_topics([name if role == "admin" else f"{where.prefix}otlp"])
    codes["delete"] = response.topic_error_codes[0][1]
    await admin.close()
    refused = {verb for verb, code in codes.items() if code}
    assert {for_code(codes[verb]).__name__ for verb in refused} <= {"TopicAuthorizationFailedError"}
    return {(role, verb, "topics") for verb in codes.keys() - refused}


def table(prefix: str) -> set[Deed]:
    """What should work, from the topic table."""
    deeds: set[Deed] = {(role, "read", f"{prefix}{role}") for role in GROUPS}
    for topic in TOPICS:
        deeds |= {(role, "write", f"{prefix}{topic.name}") for role in (*topic.writers, "admin")}
        deeds |= {(role, "read", f"{prefix}{topic.name}") for role in (*topic.readers, "admin")}
    return deeds | {("admin", verb, "topics") for verb in ("create", "delete", "alter_configs", "describe_configs")}


async def test_what_the_table_allows_works_and_all_else_is_refused(opened: Installation, say) -> None:
    found = await written("admin", opened.connection("admin"))  # what others then try to read
    await permits(opened.connection("judge"), [], [f"{opened.prefix}judge"])  # which makes the topic of all groups
    for deeds in await asyncio.gather(
        *(
            attempt(role, opened.connection(role))
            for role in PRINCIPALS
            for attempt in (written, read, joined, administered)
            if (role, attempt) != ("admin", written)
        )
    ):
        found |= deeds
    expected = table(opened.prefix)
    say(
        f"{len(PRINCIPALS)} principals x ({len(TOPICS)} topics x read, write; {len(GROUPS)} groups; 5 deeds of an admin): "
        f"{len(PRINCIPALS) * (2 * len(TOPICS) + len(GROUPS) + 5)} tried, {len(found)} work, all others are refused"
    )
    assert (sorted(found - expected), sorted(expected - found)) == ([], [])
