"""What waits in a worker has a bound that holds in the app as it is built, not only where it is written."""

import pytest

from tidegate.broker import Connection
from tidegate.worker import Role
from tidegate.worker.app import BUFFERED_CHUNKS_MAX, POLL_RECORDS_MAX, build_app
from tidegate.worker.transport import ChunkSchema


@pytest.mark.parametrize("role", Role)
async def test_an_agents_queue_is_bounded(role):
    """Faust loses the size given to a topic where the agent takes its own copy: 4,096 chunks could wait, 900 MiB in a storm."""
    app = build_app(role, Connection("127.0.0.1:1", "x."))
    topic = app.topic("x.y", schema=ChunkSchema())
    assert topic.clone(is_iterator=True).queue.maxsize == BUFFERED_CHUNKS_MAX
    assert app.conf.broker_max_poll_records == POLL_RECORDS_MAX
