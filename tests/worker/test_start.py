"""A worker is asked whether it is ready from its first moment, by a thread that has no loop."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from tidegate.broker import Connection
from tidegate.worker import Role, Worker


@pytest.mark.parametrize("role", Role)
async def test_a_question_from_another_thread_makes_no_part_of_the_app_on_another_loop(role):
    """Faust makes its parts when they are first looked at, on the loop of whoever looks. A probe that came between building and
    starting got the recovery service one that never runs, and the worker waited for its partitions for ever.
    """
    worker = Worker(role, Connection("127.0.0.1:1"), registry=CollectorRegistry())
    app = worker._app = worker._build()
    await asyncio.to_thread(worker.not_ready)
    here = asyncio.get_running_loop()
    app.consumer._thread.thread_loop.close()
    assert {app.loop, app.consumer.loop, app.tables.loop, app.tables.recovery.loop} == {here}
