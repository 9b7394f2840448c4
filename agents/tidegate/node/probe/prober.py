"""Every probed service: asked at its interval, a row for each second, nothing while a version is being changed.

A question counts only if one and the same process was ready, alone on its socket, before it was asked and after it was answered.
So no swap and no restart is ever an error of probes (A6); an end that nobody ordered is told by the agent's own rows (C6). A
second without questions has a row too, as long as a version is ready: it says that the node is there.

Light: one connection a service, one question at a time, at a phase of the interval that differs from node to node.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from tidegate.kpi.buckets import histogram_of, slot_of
from tidegate.node.config import NodeConfig
from tidegate.node.executor import Executor
from tidegate.node.probe.ask import Answer, Asker
from tidegate.node.rows import Rows
from tidegate.ports import Clock
from tidegate.reconcile.actions import Running
from tidegate.wire.names import duration_ms
from tidegate.wire.probes import Probe, question_of
from tidegate.wire.telemetry import HISTOGRAM_SLOTS, Source, Telemetry

RIGHT = "right"
WRONG = "wrong"
UNSETTLED = "unsettled"
"""A version was being changed meanwhile: it counts for nothing."""
KEPT_MOST_MS = 4_000
"""Servers let go of a connection that is silent for longer, often after 5 s."""

log = structlog.get_logger("node.probe")


class Prober:
    """All probed services of one node. ``life`` names this life of the agent; ``busy``: whether a service is being changed."""

    def __init__(
        self,
        config: NodeConfig,
        executors: Mapping[str, Executor],
        clock: Clock,
        rows: Rows,
        *,
        life: str,
        busy: Callable[[str], bool],
    ) -> None:
        self._config = config
        self._executors = executors
        self._clock = clock
        self._rows = rows
        self._life = life
        self._busy = busy
        self._services: dict[str, _Service] = {}
        self._mute: set[str] = set()
        self._seq: Counter[str] = Counter()
        self.results: Counter[tuple[str, str]] = Counter()
        """How often each service's answers were what."""

    def second(self, service: str, probe: Probe | None, end_ms: int) -> None:
        """Queue the row of the second that ends at ``end_ms``, and go on as the plan says now. Never waits.

        Raises what ended the asking: whatever a service does is no reason, so it is a fault of this program.
        """
        one = self._services.get(service)
        if one is not None:
            one.raise_fault()
            if one.probe == probe:
                self._cut(one, end_ms)
                return
            one.end()
            del self._services[service]
        address = self._config.services[service].asked_at
        if probe is None:
            return
        if address is None:
            if service not in self._mute:
                self._mute.add(service)
                log.warning("not probed", service=service, remedy=f"say where it answers: services.{service}.address")
            return
        log.info("probed", service=service, question=question_of(probe), every=probe.interval)
        phase = zlib.crc32(f"{self._config.node}/{service}".encode()) / (1 << 32)
        self._services[service] = _Service(self, service, probe, Asker(address, self._clock.monotonic_s), phase)

    def end(self) -> None:
        """Ask nothing any more."""
        for one in self._services.values():
            one.end()
        self._services.clear()

    def ready(self, service: str) -> Running | None:
        """Return what runs and is ready; None where nothing is, or it is being changed."""
        running = self._executors[service].running(service)
        return running if running is not None and running.ready_ms and not self._busy(service) else None

    async def sleep(self, interval_ms: int, phase: float) -> None:
        """Wait for the next moment at which it is time to ask: the same of every interval on this node."""
        since_ms = (self._clock.now_ms() - int(phase * interval_ms)) % interval_ms
        await self._clock.sleep((interval_ms - since_ms) / 1_000)

    def _cut(self, one: "_Service", end_ms: int) -> None:
        running = self.ready(one.name)
        tally = one.cut(running)
        if running is None:
            return
        self._seq[one.name] += 1
        self._rows.put(
            Telemetry(
                node=self._config.node,
                service=one.name,
                boot=f"{self._life}.probe",
                seq=self._seq[one.name],
                version=running.artifact.version,
                start_ms=end_ms - 1_000,
                requests=tally.requests,
                errors=tally.errors,
                latency=histogram_of(tally.counts),
                source=Source.PROBE,
                zone=self._config.zone,
                labels=self._config.labels,
            )
        )


class _Tally:
    """What one process answered in one second."""

    def __init__(self, boot: str = "") -> None:
        self.boot = boot
        self.requests = self.errors = 0
        self.counts = [0] * HISTOGRAM_SLOTS

    def add(self, answer: Answer) -> None:
        self.requests += 1
        self.errors += bool(answer.problem)
        if answer.seconds is not None:
            self.counts[slot_of(answer.seconds)] += 1


class _Service:
    def __init__(self, prober: Prober, name: str, probe: Probe, asker: Asker, phase: float) -> None:
        self.name = name
        self.probe = probe
        self._prober = prober
        self._asker = asker
        self._phase = phase
        self._tally = _Tally()
        self._trouble = ""
        self._work = asyncio.ensure_future(self._run())

    def raise_fault(self) -> None:
        if self._work.done():
            self._work.result()

    def end(self) -> None:
        self._work.cancel()
        self._asker.close()

    def cut(self, running: Running | None) -> _Tally:
        """Return what the process that runs answered since the last cut; let go of one that is on its way out."""
        if running is None or running.shared or running.boot != self._tally.boot:
            self._asker.close()
        tally = self._tally if running is not None and running.boot == self._tally.boot else _Tally()
        self._tally = _Tally(running.boot if running is not None else "")
        return tally

    async def _run(self) -> None:
        interval_ms = duration_ms(self.probe.interval)
        while True:
            await self._prober.sleep(interval_ms, self._phase)
            before = self._prober.ready(self.name)
            if before is None or before.shared:
                continue
            if before.boot != self._tally.boot:
                self._asker.close()
                self._tally = _Tally(before.boot)
            answer = await self._asker.ask(self.probe)
            if interval_ms > KEPT_MOST_MS:
                self._asker.close()
            after = self._prober.ready(self.name)
            if after is None or after.shared or after.boot != before.boot:
                self._asker.close()
                self._prober.results[self.name, UNSETTLED] += 1
                continue
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        self._tally.add(answer)
        self._prober.results[self.name, WRONG if answer.problem else RIGHT] += 1
        if bool(answer.problem) != bool(self._trouble):
            if answer.problem:
                log.warning("wrong answer to a probe", service=self.name, problem=answer.problem)
            else:
                log.info("right answer to a probe again", service=self.name)
        self._trouble = answer.problem
