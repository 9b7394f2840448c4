"""One worker: a Faust app built from settings, run until it is asked to stop. Nothing happens at import."""

import asyncio
import gc
import os
import socket
import time
from collections.abc import Coroutine, Mapping
from enum import StrEnum
from typing import Any, Protocol, assert_never

import faust
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP
from prometheus_client import REGISTRY, CollectorRegistry

from tidegate.broker import Connection, knock
from tidegate.broker.client import renew
from tidegate.broker.connection import BrokerRefused, TopicsMissing, denied
from tidegate.broker.patience import patiently
from tidegate.broker.permits import permits
from tidegate.runtime.access import PLAIN_TEXT
from tidegate.wire.acls import Resource, rights
from tidegate.wire.topics import TOPICS
from tidegate.worker.outbox import Outbox, SendFailed
from tidegate.worker.transport import Chunk, ChunkConsumer, ChunkSchema, Host, NoTables, broker_url, credentials
from tidegate.worker.watch import Stalled, Watch

SESSION_TIMEOUT_S = 6.0
HEARTBEAT_S = 0.5
COMMIT_EVERY_S = 1.0
LINGER_S = 0.005
SEND_WITHIN_S = 30.0
REQUEST_BYTES_MAX = 16 << 20
BUFFERED_CHUNKS_MAX = 16
POLL_RECORDS_MAX = 20_000
"""Unpacked at once. Without a bound all that was fetched is: a storm of rows that compress well took 600 MiB."""
LOOK_EVERY_S = 0.1
WATCH_EVERY_S = 5.0
STOP_WITHIN_S = 15.0

log = structlog.get_logger("tidegate.worker")


class Role(StrEnum):
    """What a worker does."""

    INTAKE = "intake"
    JUDGE = "judge"
    EXPERIMENT = "experiment"


class WorkerFailed(Exception):
    """A worker ended that was not asked to; start another, nothing is lost."""


class Part(Host, Protocol):
    """What plays a role: handles chunks, and does what time asks for."""

    topic: str
    consumer: ChunkConsumer

    async def take(self, chunk: Chunk) -> None:
        """Handle one chunk."""
        ...

    async def run(self) -> None:
        """Run for ever beside."""
        ...

    def positions(self) -> Mapping[TP, int]:
        """Return the next offset of each partition in hand."""
        ...


class WorkerApp(faust.App):
    """A Faust app without files on disk."""

    host: "Part"

    def _create_directories(self) -> None:
        """Nothing: there are no tables to keep."""


class Worker:
    """One process of one role. Many of them, with one prefix and different ``instance`` names, share the partitions.

    ``instance`` is the static member id of the consumer group: a restart within 6 s under the same name disturbs nobody.
    Empty: a dynamic member. Metrics go to ``registry``.
    """

    def __init__(self, role: Role, connection: Connection, *, instance: str = "", registry: CollectorRegistry = REGISTRY) -> None:
        self.role = role
        self.connection = connection
        self._instance = instance
        self._registry = registry
        self._app: WorkerApp | None = None
        self._leaving = False
        self._failure: SendFailed | None = None
        self._told = ""
        """What was said last of a broker that refuses."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then hand over cleanly. Waits for a broker that is away. WorkerFailed after a crash."""
        if not await _unless(stop, self._wait_for_topics()):
            return
        # Telemetry makes many small objects that live long: the default threshold spends a sixth of the time on them.
        gc.set_threshold(200_000, 20, 100)
        app = self._app = self._build()
        try:
            await _unless(stop, self._work(app))
        except Stalled as stalled:
            raise WorkerFailed(f"{self.role} ended: {stalled}") from stalled
        finally:
            if self._leaving:
                app.consumer.leave_at_stop()
            crash = self._failure or app.crash_reason
            await self._stop(app)
        if crash is not None:
            raise WorkerFailed(f"{self.role} ended: {type(crash).__name__}: {crash}") from crash

    def leave(self) -> None:
        """Give partitions back at once on stopping, also as a static member: for scale-in, not for a restart."""
        self._leaving = True

    def not_ready(self) -> str | None:
        """Return why this worker is not ready yet, or None. May be called from any thread."""
        app = self._app
        if app is None:
            return "waiting for the broker"
        if app.crashed:
            return "crashed"
        if app.rebalancing or not app.consumer.flow_active or not app.tables.recovery.completed.is_set():
            return "waiting for partitions"
        return None

    # parts

    async def _work(self, app: WorkerApp) -> None:
        await app.start()
        gc.freeze()
        watch, looked_s = Watch(time.monotonic()), time.monotonic()
        # Looked at, not awaited: Faust's other thread sets this flag, and that wakes nobody here.
        while not app.should_stop:
            await asyncio.sleep(LOOK_EVERY_S)
            if time.monotonic() - looked_s >= WATCH_EVERY_S:
                await self._look(app, watch)
                looked_s = time.monotonic()

    async def _look(self, app: WorkerApp, watch: Watch) -> None:
        for client in (*app.consumer.clients(), *app.producer.clients()):
            renew(client, self.connection.access)
        if not app.consumer.flow_active:
            watch.stopped(time.monotonic())
            return
        positions = dict(app.host.positions())
        try:
            async with asyncio.timeout(WATCH_EVERY_S):
                ends = await app.consumer.highwaters(*positions) if positions else {}
        except (KafkaError, TimeoutError):
            # A broker that is away says nothing about this worker; one that refuses it says so.
            ends = {}
            await self._tell()
        watch.flowing(positions, ends, app.consumer.committed(), time.monotonic())

    async def _tell(self) -> None:
        """Say once why the broker refuses this worker, if it does: Faust tries again and is silent."""
        refused = await knock(self.connection)
        if isinstance(refused, BrokerRefused) and refused.what != self._told:
            self._told = refused.what
            log.error(refused.what, remedy=refused.remedy)

    def _build(self) -> WorkerApp:
        app = build_app(self.role, self.connection, self._instance)

        def producer() -> AIOKafkaProducer:
            return app.producer._ensure_producer()  # noqa: SLF001 - Faust's own send costs five times as much

        def failed(failure: SendFailed) -> None:
            if self._failure is None:
                self._failure = failure
                log.error("a message was not taken; this process ends and its successor reads again", cause=str(failure))
                app.add_future(app.crash(failure))

        outbox = Outbox(producer, self.connection.prefix, failed)
        role = app.host = _part(self.role, self.connection, outbox, self._registry)
        role.consumer = app.consumer
        # Faust makes its parts on the loop of whoever looks first: not that of a probe's thread, which never runs.
        app.tables.recovery  # noqa: B018 - looked at
        source = app.topic(f"{self.connection.prefix}{role.topic}", schema=ChunkSchema())

        async def take(chunks: Any) -> None:
            async for chunk in chunks:
                await role.take(chunk)
                # Faust's event lies in a cycle and lives until the collector comes by; its records must not.
                chunk.records.clear()

        app.agent(source, name=f"{self.role}")(take)
        app.task(role.run)
        return app

    async def _wait_for_topics(self) -> None:
        named = [topic.name for topic in TOPICS if self.role in topic.readers or self.role in topic.writers]

        async def attempt() -> None:
            client = AIOKafkaConsumer(**self.connection.arguments(), client_id=f"tidegate-{self.role}")
            try:
                await client.start()
                present = await client.topics()
            finally:
                await client.stop()
            missing = {f"{self.connection.prefix}{name}" for name in named} - present
            if missing:
                raise TopicsMissing(missing)
            if self.connection.access != PLAIN_TEXT:
                await self._insist()

        await patiently("starting", self.connection, attempt)

    async def _insist(self) -> None:
        """Raise BrokerRefused where the broker does not let this role do its work: Faust itself would try for ever."""
        needs = rights(self.role.value, self.connection.prefix)
        topics = {right.name for right in needs if right.resource is Resource.TOPIC}
        may = await permits(self.connection, topics, {right.name for right in needs} - topics)
        lacking = {right.name for right in needs if right.operation not in (may[right.name] or ())}
        if lacking:
            raise denied(self.connection, "use", *sorted(lacking))

    async def _stop(self, app: WorkerApp) -> None:
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await app.stop()
        except TimeoutError:
            log.warning("the broker did not answer in time; what was not committed is read again", role=str(self.role))


def build_app(role: Role, connection: Connection, instance: str = "") -> WorkerApp:
    """Return the Faust app of a role, unstarted: settings only (DESIGN 6)."""
    name = f"{connection.prefix}{role}"
    app = WorkerApp(
        name,
        broker=broker_url(connection.bootstrap),
        broker_credentials=credentials(connection),
        broker_client_id=f"{name}-{instance or f'{socket.gethostname()}-{os.getpid()}'}",
        autodiscover=False,
        # A dead worker stalls every service whose marks or rows it holds: the session is as short as 12 missed heartbeats.
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_rebalance_timeout=3 * SESSION_TIMEOUT_S,
        broker_commit_interval=COMMIT_EVERY_S,
        broker_max_poll_records=POLL_RECORDS_MAX,
        consumer_group_instance_id=instance or None,
        consumer_auto_offset_reset="earliest",
        producer_compression_type="zstd",
        producer_linger=LINGER_S,
        producer_max_request_size=REQUEST_BYTES_MAX,
        producer_request_timeout=SEND_WITHIN_S,
        # An exception in an agent acknowledges its event and goes on; here the process ends and the floor holds.
        agent_supervisor="mode.CrashingSupervisor",
        stream_recovery_delay=0.0,
        # Of every queue: the size given to a topic is lost where an agent takes its own copy of it.
        stream_buffer_maxsize=BUFFERED_CHUNKS_MAX,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        TableManager=NoTables,
    )
    app.finalize()
    return app


def _part(role: Role, connection: Connection, outbox: Outbox, registry: CollectorRegistry) -> Part:
    # Imported here: intake needs none of the judge's libraries, and a process that starts late is late for its rows.
    match role:
        case Role.INTAKE:
            from tidegate.worker.intake import Intake  # noqa: PLC0415
            from tidegate.worker.metrics import IntakeMetrics  # noqa: PLC0415

            return Intake(outbox, IntakeMetrics(registry))
        case Role.JUDGE:
            from tidegate.worker.judge import Judge  # noqa: PLC0415
            from tidegate.worker.metrics import JudgeMetrics  # noqa: PLC0415

            return Judge(connection, outbox, JudgeMetrics(registry))
        case Role.EXPERIMENT:
            from tidegate.worker.experiment import Experiment  # noqa: PLC0415
            from tidegate.worker.metrics import ExperimentMetrics  # noqa: PLC0415

            return Experiment(connection, outbox, ExperimentMetrics(registry))
        case _:
            assert_never(role)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Return True when ``work`` has ended, False when ``stop`` was set first: work is cancelled then. Raises what work raised."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
