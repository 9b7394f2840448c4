"""Five hundred nodes fail at once: one grouped notification within ten seconds, through everything that is real."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.notify.kit import Plant, webhook
from tests.notify.server import Receiver, Server, receiving, until
from tests.worker.fleet import workers

from tidegate.alarms.notices import Policy
from tidegate.broker import Connection, KafkaLog
from tidegate.notify import Notifier, Place, build
from tidegate.ports import SystemClock
from tidegate.wire.envelope import Trust
from tidegate.wire.telemetry import Telemetry, encode_msgpack
from tidegate.world import MemoryDisk

pytestmark = [pytest.mark.kafka, pytest.mark.scenario]

FAIL, STAY = 500, 100
WITHIN_S = 10.0


class Nodes:
    """Rows of one service, a second each, sent just after it."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self.alive = [f"n{number:03}" for number in range(FAIL + STAY)]
        self.failed_s = 0.0

    async def run(self) -> None:
        seq, second = 0, int(time.time())
        while True:
            # A starved machine skips seconds, rather than be late with all of them.
            seq, second = seq + 1, max(second + 1, int(time.time()) - 1)
            await asyncio.sleep(max(0.0, second + 1 - time.time()))
            await asyncio.gather(*(self._send(node, seq, second) for node in self.alive))

    def fail(self) -> None:
        self.alive = self.alive[FAIL:]
        self.failed_s = time.time()

    async def _send(self, node: str, seq: int, second: int) -> None:
        row = Telemetry(node=node, service="shop", boot="b1", version="v1", seq=seq, start_ms=second * 1_000, requests=5)
        await self._log.append("telemetry", node, encode_msgpack(row))


@pytest.fixture
async def nodes(log: KafkaLog) -> AsyncIterator[Nodes]:
    fleet = Nodes(log)
    sending = asyncio.create_task(fleet.run())
    yield fleet
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def kpis(log: KafkaLog) -> None:
    """Wait until all nodes are seen by the judge."""
    reader = await log.reader(["kpis"])
    try:
        async with asyncio.timeout(60):
            while not any(f'"nodes":{FAIL + STAY},'.encode() in (record.value or b"") for record in await reader.poll(1.0)):
                pass
    finally:
        await reader.close()


async def test_five_hundred_nodes_that_fail_at_once_are_one_notification_within_ten_seconds(  # noqa: PLR0917 - fixtures
    connection: Connection,
    log: KafkaLog,
    nodes: Nodes,
    server: Server,
    hook: Receiver,
    tmp_path: Path,
    say: Callable[[str], None],
) -> None:
    Plant(tmp_path)  # writes the secret
    with receiving() as chat:
        targets = build([{"kind": "alertmanager", "url": server.url}, webhook(chat.url)], Policy(), Place(tmp_path))
        notifier = Notifier(log, SystemClock(), MemoryDisk(), Trust("local", 1, {}), targets, registry=CollectorRegistry())
        running = asyncio.create_task(notifier.run())
        async with workers(connection):
            await kpis(log)
            assert (chat.taken, hook.taken) == ([], [])
            nodes.fail()
            await until(lambda: chat.taken and hook.taken, within_s=30)
            told = {"webhook": chat.posts[0][0] - nodes.failed_s, "Alertmanager's receiver": hook.posts[0][0] - nodes.failed_s}
            # Whatever else comes of it within the next seconds belongs to the same group.
            await asyncio.sleep(3)
        await notifier.stop()
        await running
    shown = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in told.items())
    say(f"{FAIL} of {FAIL + STAY} nodes fail: {shown}")
    for receiver in (chat, hook):
        (body,) = receiver.taken
        assert body["groupLabels"] == {"alertname": "coverage_lost", "service": "shop"}
        (one,) = body["alerts"]
        assert one["annotations"]["summary"].startswith(f"{FAIL} of {FAIL + STAY} nodes of rest do not report: n000, n001")
    assert max(told.values()) <= WITHIN_S


async def test_five_hundred_alarms_of_their_own_are_one_notification_too(
    log: KafkaLog, server: Server, hook: Receiver, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """As if each node had an alarm of its own: grouping is what makes one of them, here and in Alertmanager."""
    from tests.alarms.kit import alarm  # noqa: PLC0415 - beside the one test that needs it

    from tidegate.wire.codec import encode  # noqa: PLC0415 - likewise

    Plant(tmp_path)
    with receiving() as chat:
        targets = build([{"kind": "alertmanager", "url": server.url}, webhook(chat.url)], Policy(), Place(tmp_path))
        notifier = Notifier(log, SystemClock(), MemoryDisk(), Trust("local", 1, {}), targets, registry=CollectorRegistry())
        running = asyncio.create_task(notifier.run())
        began_s = time.time()
        alarms = [alarm(which=f"n{number:03}", start_ms=int(began_s * 1_000)) for number in range(FAIL)]
        await asyncio.gather(*(log.append("alarms", one.key, encode(one)) for one in alarms))
        await until(lambda: chat.taken and hook.taken, within_s=30)
        await notifier.stop()
        await running
    say(f"{FAIL} alarms: {chat.posts[0][0] - began_s:.1f} s, {hook.posts[0][0] - began_s:.1f} s")
    assert [len(body["alerts"]) + body["truncatedAlerts"] for body in chat.taken] == [FAIL]
    assert [len(body["alerts"]) for body in hook.taken] == [FAIL]
    assert max(chat.posts[0][0], hook.posts[0][0]) - began_s <= WITHIN_S
