"""What waits in a worker has a bound that holds in the app as it is built, not only where it is written."""

import pytest
from prometheus_client import CollectorRegistry

from tidegate.broker import Connection
from tidegate.worker import Role, Worker
from tidegate.worker.app import BUFFERED_CHUNKS_MAX, POLL_RECORDS_MAX


@pytest.mark.parametrize("role", Role)
async def test_an_agents_queue_is_bounded(role):
    """Faust loses the size given to a topic where the agent takes its own copy: 4,096 chunks could wait, 900 MiB in a storm."""
    app = Worker(role, Connection("127.0.0.1:1", "x."), registry=CollectorRegistry())._build()
    (agent,) = app.agents.values()
    assert agent.channel.clone(is_iterator=True).queue.maxsize == BUFFERED_CHUNKS_MAX
    assert app.conf.broker_max_poll_records == POLL_RECORDS_MAX
