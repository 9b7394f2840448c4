"""Reports (F4): what this node really runs, signed, every 30 s and whenever it changes."""

import asyncio
from functools import cache
from importlib import metadata

import structlog

from tidegate.node.config import NodeConfig
from tidegate.ports import Clock, Disk, Log, SendUnknown
from tidegate.reconcile.actions import Seen
from tidegate.reconcile.held import Held, identity
from tidegate.reconcile.ladder import is_proven
from tidegate.reconcile.status import Status
from tidegate.wire.documents import Order, Report, ServiceReport
from tidegate.wire.envelope import Signer, seal
from tidegate.wire.plans import Artifact

EVERY_S = 30.0
GATHER_S = 0.2
RETRY_S = 1.0
ERROR_CHARACTERS_MOST = 4_000

log_of_node = structlog.get_logger("node")


@cache
def agent_version() -> str:
    """Return the version of this program; ``unknown`` where it runs from a source tree. Finding it reads several files."""
    try:
        return metadata.version("tidegate")
    except metadata.PackageNotFoundError:
        return "unknown"


def service_report(service: str, executor: str, held: Held, seen: Seen, status: Status) -> ServiceReport:
    """Return what is said of one service, all but the measured digest.

    The version is the one that the state speaks of: one that failed to start is named although another one runs. Token and
    ``ready_ms`` are those of what runs.
    """
    running, plan = seen.running, held.accepted.plan if held.accepted is not None else None
    rollback = plan.rollback.artifact if plan is not None and plan.rollback is not None else None
    return ServiceReport(
        service=service,
        executor=executor,
        state=status.state,
        version=status.version,
        order=held.accepted.document.order if held.accepted is not None else Order(),
        token=running.token if running is not None else "",
        ready_ms=running.ready_ms if running is not None else 0,
        exits=held.exits,
        changed_ms=held.changed_ms,
        prefetched=tuple(sorted({version for version, _, _ in seen.cached})),
        pinned=rollback.version if rollback is not None and _startable(held, seen, rollback) else "",
        error=status.error[-ERROR_CHARACTERS_MOST:],
    )


def _startable(held: Held, seen: Seen, rollback: Artifact) -> bool:
    return identity(rollback) in seen.cached and is_proven(held, rollback)


class Reporter:
    """Sends reports; one that says what the last one said waits for its 30 s."""

    def __init__(self, log: Log, clock: Clock, disk: Disk, *, config: NodeConfig, signer: Signer, boot: str) -> None:
        self._log = log
        self._clock = clock
        self._disk = disk
        self._config = config
        self._signer = signer
        self._boot = boot
        self.counter = 0
        """Number of the last report of this life."""
        self._last: tuple[tuple[ServiceReport, ...], str] | None = None
        self._sent_s = 0.0
        self.changed = asyncio.Event()
        self.changed.set()  # a new life has something to say at once

    async def due(self, at_rest: asyncio.Event) -> None:
        """Return when something changed.

        What is under way then often ends within a moment, and one report says it all: a whole fleet that changes at once sends a
        fifth of the reports.
        """
        await self.changed.wait()
        if not at_rest.is_set():
            timer = asyncio.ensure_future(self._clock.sleep(GATHER_S))
            rest = asyncio.ensure_future(at_rest.wait())
            try:
                await asyncio.wait([timer, rest], return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
                rest.cancel()
        self.changed.clear()

    async def remind(self) -> None:
        """Have it said again for ever, whenever the last report is 30 s old."""
        while True:
            left_s = self._left_s()
            if left_s <= 0:
                self.changed.set()
            await self._clock.sleep(left_s if left_s > 0 else RETRY_S)

    async def send(self, services: tuple[ServiceReport, ...], frozen: str) -> None:
        """Send a report if it says anything new or the last one is old; one whose fate is unknown is sent again."""
        says = (services, frozen)
        if says == self._last and self._left_s() > 0:
            return
        self.counter += 1
        report = Report(
            fleet=self._config.fleet,
            node=self._config.node,
            boot=self._boot,
            counter=self.counter,
            issued_ms=self._clock.now_ms(),
            agent_version=agent_version(),
            services=services,
            zone=self._config.zone,
            labels=self._config.labels,
            disk_free_bytes=self._disk.free_bytes(),
            frozen=frozen,
        )
        try:
            await self._log.append("reports", self._config.node, seal(report, self._signer))
        except SendUnknown:
            log_of_node.debug("report not confirmed", counter=self.counter, remedy="it is sent again")
            await self._clock.sleep(RETRY_S)
            self.changed.set()
        else:
            self._last, self._sent_s = says, self._clock.monotonic_s()

    def _left_s(self) -> float:
        """Return in how many seconds the last report is old."""
        return self._sent_s + EVERY_S - self._clock.monotonic_s()
