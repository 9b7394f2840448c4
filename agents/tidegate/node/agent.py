"""The agent's shell: it reads and acts, it reports, and it proves that it lives. Loops around one memory."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace

from tidegate.node.by_hand import ANSWERED, Reverted, asked
from tidegate.node.config import NodeConfig
from tidegate.node.executor import Executor, StopFailed
from tidegate.node.flagfile import FlagFiles
from tidegate.node.hands import Hands
from tidegate.node.liveness import Liveness
from tidegate.node.memory import Memory
from tidegate.node.probe.prober import Prober
from tidegate.node.reading import Reading
from tidegate.node.reports import Reporter, service_report
from tidegate.node.rows import Rows, full_second
from tidegate.node.scrape.scraper import Scraper
from tidegate.ports import Clock, Disk, Log
from tidegate.reconcile.held import Held
from tidegate.reconcile.status import Status
from tidegate.runtime.stopping import Stopped, unless
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.documents import ServiceReport
from tidegate.wire.envelope import Refused, Signer, Trust
from tidegate.wire.keys import trust_of, unseal_root
from tidegate.wire.names import service_subject

LAST_ROWS_WITHIN_S = 2.0

log = structlog.get_logger("node")


class Figures(Struct, frozen=True):
    """What an agent has counted since its start."""

    actions: dict[tuple[str, str], int]
    """By kind and result."""
    refused: dict[str, int]
    """Records that do not count, by reason."""
    reports: int
    rows_made: int
    rows_dropped: int
    author_silent_s: float
    """Since a heartbeat was read, or since the start."""
    scrapes: dict[tuple[str, str], int]
    """By service and what came of it."""
    scraped: dict[str, bool]
    """Service to whether its last page came."""
    scrape_rows_made: int
    scrape_rows_dropped: int
    probes: dict[tuple[str, str], int]
    """Answers by service and what they were."""
    probe_rows_made: int
    probe_rows_dropped: int


class NodeAgent:
    """One node. ``run`` returns after ``stop``; services go on running unless ``stop`` is told otherwise.

    ``executors`` by name, as ``services.<name>.executor`` names them; ``boot`` names this life of the agent.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        disk: Disk,
        executors: Mapping[str, Executor],
        *,
        config: NodeConfig,
        signer: Signer,
        trust: Trust,
        boot: str,
    ) -> None:
        self._config = config
        self._executors = {service: executors[one.executor] for service, one in config.services.items()}
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._reporter = Reporter(log, clock, disk, config=config, signer=signer, boot=boot)
        self._clock = clock
        self._disk = disk
        self._rows, self._scrape_rows, self._probe_rows = (Rows(log, config.node) for _ in range(3))
        self._liveness = Liveness(self._rows, config.node, boot, (config.zone, config.labels))
        self._scraper = Scraper(config, self._executors, clock, self._scrape_rows, boot)
        self._memory = Memory(disk, frozenset(config.services), self._changed)
        self._reading = Reading(log, clock, _newest(trust, self._memory.state.root), config.services, self._wake.set)
        paths = {set_id: Path(file) for set_id, file in config.flag_files.items()}
        self._flag_files = FlagFiles(log, clock, disk, trust, paths)
        self._hands = Hands(config.node, boot, clock, executors=self._executors, memory=self._memory, reading=self._reading)
        self._hands.changed = self._changed
        self._prober = Prober(config, self._executors, clock, self._probe_rows, life=boot, busy=self._hands.busy)

    async def run(self) -> None:
        """Adopt what runs, then follow ``desired`` until ``stop``. A broker that is away delays news, and nothing else."""
        self._ended.clear()
        try:
            await unless(self._stopping, self._adopt())
            self._changed()
            await self._loop()
        except Stopped:
            log.warning("agent stopped", node=self._config.node, problem="what was half done is mended by its next life")
        finally:
            await self._hands.rest()
            self._ended.set()

    async def stop(self, *, stop_services: bool = False) -> None:
        """End ``run``; safe to call twice. ``stop_services``: drain every service and wait until it is gone."""
        self._stopping.set()
        await self._ended.wait()
        if stop_services:
            await asyncio.gather(*(self._drain(service) for service in self._executors))
        for executor in self._distinct():
            await executor.close()

    def status(self) -> dict[str, Status]:
        """Return the status of every service now."""
        return {service: self._hands.status(service) for service in self._executors}

    def held(self, service: str) -> Held:
        """Return what the agent holds of a service."""
        return self._memory.held(service)

    def figures(self) -> Figures:
        """Return what was counted so far."""
        return Figures(
            actions=dict(self._hands.actions),
            refused=dict(self._reading.refused + self._flag_files.refused),
            reports=self._reporter.counter,
            rows_made=self._rows.made,
            rows_dropped=self._rows.dropped,
            author_silent_s=self._reading.pulse.silent_ms / 1_000,
            scrapes=self._scraper.results(),
            scraped=self._scraper.up(),
            scrape_rows_made=self._scrape_rows.made,
            scrape_rows_dropped=self._scrape_rows.dropped,
            probes=dict(self._prober.results),
            probe_rows_made=self._probe_rows.made,
            probe_rows_dropped=self._probe_rows.dropped,
        )

    @property
    def caught_up(self) -> bool:
        """Whether ``desired`` was read to an end since the start."""
        return self._reading.caught_up

    async def _adopt(self) -> None:
        for executor in self._distinct():
            await executor.adopt(self._hands.exited)
        for service, executor in self._executors.items():
            self._memory.settle(service, executor.running(service))

    async def _drain(self, service: str) -> None:
        try:
            await self._executors[service].stop(service)
        except StopFailed as error:
            log.error("service runs on", service=service, problem=str(error))  # noqa: TRY400

    async def _loop(self) -> None:
        loops = [self._reading.follow(), self._act(), self._report(), self._reporter.remind(), self._live()]
        if len(self._scraper):
            loops.append(self._scraper.run())
        if self._config.flag_files:
            loops.append(self._flag_files.run())
        tasks = [asyncio.ensure_future(one) for one in loops]
        stopping = asyncio.ensure_future(self._stopping.wait())
        sending = [asyncio.ensure_future(rows.send()) for rows in self._all_rows()]
        try:
            await asyncio.wait([*tasks, *sending, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._prober.end()
            await self._last_rows(sending)
        for task in (*tasks, *sending):
            if not task.cancelled():
                task.result()

    async def _last_rows(self, sending: list[asyncio.Task[None]]) -> None:
        """Let the rows that wait go out, for a moment; say what became of all of them."""
        for rows in self._all_rows():
            rows.end()
        await asyncio.wait(sending, timeout=LAST_ROWS_WITHIN_S)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        made, dropped = (sum(getattr(rows, name) for rows in self._all_rows()) for name in ("made", "dropped"))
        log.info("agent stopped", node=self._config.node, rows_made=made, rows_dropped=dropped)

    async def _act(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._hands.look()

    async def _report(self) -> None:
        while True:
            await self._reporter.due(self._hands.at_rest)
            found = [await self._service_report(service) for service in self._executors]
            await self._reporter.send(tuple(found), self._frozen())

    async def _live(self) -> None:
        """Once a second say what is, and look whether time alone has changed what should be."""
        while True:
            end_ms = await full_second(self._clock)
            self._obey()
            for service in self._executors:
                held = self._memory.held(service)
                if held.accepted is not None or service_subject(service) in self._reading.heard.candidates:
                    self._liveness.offer(service, self._hands.status(service), held, end_ms)
                plan = held.accepted.plan if held.accepted is not None else None
                self._prober.second(service, plan.probe if plan is not None else None, end_ms)
            self._wake.set()

    def _obey(self) -> None:
        """Do what a person on the node asks for."""
        revert = asked(self._disk)
        if revert is None:
            return
        said = {
            service: self._hands.leave(service, version, revert.why)
            if service in self._executors
            else f"this node has no service {service}"
            for service, version in revert.leave.items()
        }
        log.warning("asked by hand", actor=revert.actor, said=said)
        try:
            self._disk.write(ANSWERED, encode(Reverted(id=revert.id, said=said)))
        except OSError as error:  # asked again in a second, and then it is done already
            log.warning("answer not written", problem=str(error))

    async def _service_report(self, service: str) -> ServiceReport:
        digest = await self._executors[service].measure(service)
        held, seen = self._memory.held(service), self._hands.seen(service)
        executor = self._config.services[service].executor
        return replace(service_report(service, executor, held, seen, self._hands.status(service, seen)), digest=digest)

    def _all_rows(self) -> tuple[Rows, ...]:
        return self._rows, self._scrape_rows, self._probe_rows

    def _changed(self) -> None:
        self._wake.set()
        self._reporter.changed.set()

    def _distinct(self) -> list[Executor]:
        return list({id(one): one for one in self._executors.values()}.values())

    def _frozen(self) -> str:
        whys = {held.freeze.why for held in self._memory.state.services.values() if held.freeze is not None}
        return "; ".join(sorted(whys | {why for why in (self._memory.trouble, self._reading.withheld) if why}))


def _newest(trust: Trust, root: str) -> Trust:
    """Return the newer of the configured trust and the one kept on this node's own disk."""
    if not root:
        return trust
    try:
        kept = trust_of(unseal_root(root.encode(), None))
    except (Malformed, Refused):
        return trust
    return kept if kept.fleet == trust.fleet and kept.root_version > trust.root_version else trust
