import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from msgspec.structs import replace

from tidegate.broker import check_topics, create_topics
from tidegate.broker.topics import Difference
from tidegate.wire.topics import BY_NAME, TOPICS

pytestmark = pytest.mark.kafka


async def test_topics_are_made_once_however_many_make_them_and_are_as_the_table_says(bare_connection):
    made = await asyncio.gather(*(create_topics(bare_connection) for _ in range(3)))
    assert sorted(name for names in made for name in names) == sorted(f"{bare_connection.prefix}{topic.name}" for topic in TOPICS)
    assert await create_topics(bare_connection) == []
    assert await check_topics(bare_connection) == []


async def test_a_missing_topic_is_told_with_the_remedy(bare_connection):
    await create_topics(bare_connection, names=frozenset({"plans"}))
    found = await check_topics(bare_connection)
    assert len(found) == len(TOPICS) - 1
    assert Difference(f"{bare_connection.prefix}desired is missing", "run: tidegate topics create") in found


async def test_a_topic_that_is_otherwise_is_told_and_left_alone(bare_connection):
    table = replace(BY_NAME["reports"], partitions=1, log_append_time=False)
    name = f"{bare_connection.prefix}reports"
    admin = AIOKafkaAdminClient(bootstrap_servers=bare_connection.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, table.partitions, 1, topic_configs=table.config())])
    await admin.close()
    await create_topics(bare_connection)
    assert [str(one) for one in await check_topics(bare_connection)] == [
        f"{name} has 1 partitions instead of 4; the count is fixed when a topic is made: make it anew",
        f"{name}: message.timestamp.type is CreateTime instead of LogAppendTime; set it with kafka-configs",
    ]
