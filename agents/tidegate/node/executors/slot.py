"""One service of executor ``process``: the process that serves, those that drain, and the socket they share.

What counts is written to ``process-<service>`` before the old process is told to end. A process that carries our mark and is
not in that file was being started when the agent died: it is ended, so there is never a second copy.
"""

import asyncio
import contextlib
from pathlib import Path
from socket import socket
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from tidegate.node.artifacts import ArtifactCache
from tidegate.node.config import ServiceConfig
from tidegate.node.executor import Exited, Launch, StartFailed
from tidegate.node.executors.children import (
    Child,
    Watch,
    child_of,
    end_leaderless,
    end_unwatched,
    left_running,
    machine_boot,
    spawn,
    started_ticks,
)
from tidegate.node.executors.environment import filled, life_of
from tidegate.node.executors.listener import ListenFailed, open_listener, take_back
from tidegate.node.executors.outputs import bound_outputs, tail_of
from tidegate.node.executors.readiness import NotifySocket, until_ready
from tidegate.ports import Clock, Disk
from tidegate.reconcile.actions import Running
from tidegate.wire.codec import Malformed, decode, encode

log = structlog.get_logger("node.process")


class Blueprint(Struct, frozen=True, kw_only=True):
    """What every version of a service is started with."""

    service: str
    config: ServiceConfig
    folder: Path
    environment: dict[str, str]


class Journal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The processes that count."""

    current: Child | None = None
    retiring: tuple[Child, ...] = ()


class Slot:
    """See the module. One ``swap`` or ``stop`` at a time."""

    def __init__(self, blueprint: Blueprint, cache: ArtifactCache, disk: Disk, clock: Clock) -> None:
        self._blueprint = blueprint
        self._cache = cache
        self._disk = disk
        self._clock = clock
        self._file = f"process-{blueprint.service}"
        self._output = blueprint.folder / "output" / blueprint.service
        self._output.mkdir(parents=True, exist_ok=True)
        self._journal = Journal()
        self._exited: Exited = lambda _service, _how: None
        self._current: Watch | None = None
        self._draining: dict[Watch, asyncio.Task[None]] = {}
        self._listener: socket | None = None
        self._lost = False
        self._starting = False

    @property
    def running(self) -> Running | None:
        """What serves now."""
        if self._current is None or not self._current.alive:
            return None
        child = self._current.child
        shared = self._starting or bool(self._draining)
        return Running(artifact=child.artifact, token=child.token, boot=child.boot, ready_ms=child.ready_ms, shared=shared)

    def adopt(self, exited: Exited) -> None:
        """Find again what runs, tell of what ended unseen, and end what was only half started."""
        self._exited = exited
        self._journal = self._read()
        end_leaderless(self._blueprint.folder, self._blueprint.service)
        for child in self._journal.retiring:
            if (watch := _found(child)) is not None:
                self._drain(watch)
        current = self._journal.current
        watch = None if current is None else _found(current)
        there = Journal(current=None if watch is None else watch.child, retiring=tuple(one.child for one in self._draining))
        if there != self._journal:
            self._note(there)
        if watch is not None:
            self._watch(watch)
            self._listener = self._take_listener(watch.child.pid)
            log.info("adopted", service=self._blueprint.service, version=watch.child.artifact.version, pid=watch.child.pid)
        elif current is not None and current.machine == machine_boot():
            exited(self._blueprint.service, f"process {current.pid} ended while no agent ran")
        self._end_strays()

    async def swap(self, launch: Launch) -> None:
        """Start a version beside what runs; once it is ready, it counts, the old one drains. StartFailed, FetchFailed, Late."""
        self._hand_over(await self._started(launch))

    async def probe(self, launch: Launch) -> None:
        """Start a version beside what runs; once it is ready, drain it. StartFailed, FetchFailed."""
        self._drain(await self._started(launch))

    async def _started(self, launch: Launch) -> Watch:
        """Return a process that is ready and does not count yet: the next life of the agent would end it."""
        try:
            await asyncio.to_thread(self._cache.check, launch.artifact)
            notify = NotifySocket()
        except OSError as error:
            raise StartFailed(f"{launch.artifact.version} could not be started: {error}") from error
        self._starting = True
        try:
            candidate = self._spawn(launch, notify.address)
            try:
                await self._until_ready(candidate, notify)
            except BaseException:
                self._drain(candidate)  # it may have taken requests already
                raise
        finally:
            self._starting = False
            notify.close()
        return candidate

    async def stop(self) -> None:
        """Drain what runs, wait until all of it is gone, close the port."""
        if self._current is not None and self._current.alive:
            old, self._current = self._current, None
            self._note(Journal(retiring=(*self._journal.retiring, old.child)))
            self._drain(old)
        if self._draining:
            await asyncio.wait(self._draining.values())  # cancelled, it leaves them at it: who does not drain is killed still
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Let go; processes go on, and those that drain are looked after by the next life of the agent."""
        for watch, task in list(self._draining.items()):
            task.cancel()
            watch.close()
        self._draining.clear()
        if self._current is not None:
            self._current.close()
            self._current = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def trim_output(self) -> None:
        """Bound what the service has printed, and keep what those still print to that run or drain."""
        living = (self._journal.current, *self._journal.retiring)
        bound_outputs(self._output, {child.boot for child in living if child is not None})

    # starting

    def _spawn(self, launch: Launch, notify: str) -> Watch:
        try:
            child = Child(
                pid=0, started=0, machine=machine_boot(), artifact=launch.artifact, boot=launch.boot, token=launch.token
            )
            told = {"TIDEGATE_LAUNCH": encode(child).decode(), "NOTIFY_SOCKET": notify}
            environment = self._blueprint.environment | life_of(launch, self._blueprint.environment) | told
            if self._blueprint.config.listen is not None:
                self._listener = self._listener or open_listener(self._blueprint.config.listen)
                environment |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": self._blueprint.service}
            fd = self._listener.fileno() if self._listener is not None else None
            self._output.mkdir(parents=True, exist_ok=True)  # a person who frees space may have thrown it away
            self.trim_output()
            if self._lost:  # else the next life would take for what ran what never became ready
                self._write(self._journal)
                self._lost = False
            launch.refuse_late(self._clock.now_ms())  # to read a large artifact again has taken its time
            pid = spawn(self._command(launch), environment, fd, self._output / launch.boot)
            try:
                return Watch(replace(child, pid=pid, started=started_ticks(pid) or 0))
            except BaseException:
                end_unwatched(pid)  # it would serve on the shared socket, and nobody would ever end it
                raise
        except (OSError, ListenFailed) as error:
            raise StartFailed(f"{launch.artifact.version} could not be started: {error}") from error

    def _command(self, launch: Launch) -> list[str]:
        config_path = self._cache.config_path(launch.artifact)
        values = {
            "artifact": str(self._cache.path(launch.artifact)),
            "version": launch.artifact.version,
            "config": str(config_path) if config_path is not None else "",
            "listen": self._blueprint.config.listen or "",
        }
        return filled(self._blueprint.config.command, values)

    async def _until_ready(self, candidate: Watch, notify: NotifySocket) -> None:
        config = self._blueprint.config
        how = config.readiness
        ready = asyncio.ensure_future(notify.ready(candidate.child.pid) if how == "notify" else until_ready(how, self._clock))
        late = asyncio.ensure_future(self._clock.sleep(config.ready_within_s))
        try:
            waited: list[asyncio.Future[Any]] = [ready, late, candidate.exited]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            version = candidate.child.artifact.version
            if candidate.exited.done():
                raise StartFailed(f"{version} {candidate.exited.result()} before it was ready{self._tail(candidate)}")
            if not ready.done():
                raise StartFailed(f"{version} was not ready within {config.ready_within}{self._tail(candidate)}")
            ready.result()
        finally:
            ready.cancel()
            late.cancel()
            await asyncio.gather(ready, late, return_exceptions=True)  # the socket it reads is closed next

    def _hand_over(self, candidate: Watch) -> None:
        """Nothing here waits: either the new process counts and the old one is told to drain, or neither."""
        old = self._current if self._current is not None and self._current.alive else None
        candidate.child = replace(candidate.child, ready_ms=self._clock.now_ms())
        retiring = (*self._journal.retiring, *([old.child] if old is not None else []))
        try:
            self._write(Journal(current=candidate.child, retiring=retiring))
        except OSError as error:
            self._drain(candidate)
            raise StartFailed(f"cannot write {self._file}: {error}") from error
        self._current = None
        self._watch(candidate)
        if old is not None:
            self._drain(old)

    # watching

    def _watch(self, watch: Watch) -> None:
        self._current = watch

        def ended(exited: "asyncio.Future[str]") -> None:
            if self._current is watch and not exited.cancelled():
                self._current = None
                self._note(replace(self._journal, current=None))
                self._exited(self._blueprint.service, exited.result() + self._tail(watch))

        watch.exited.add_done_callback(ended)

    def _drain(self, watch: Watch) -> None:
        watch.terminate()
        task = asyncio.ensure_future(self._drained(watch))
        self._draining[watch] = task

    async def _drained(self, watch: Watch) -> None:
        late = asyncio.ensure_future(self._clock.sleep(self._blueprint.config.drain_s))
        try:
            waited: list[asyncio.Future[Any]] = [watch.exited, late]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            late.cancel()
        if watch.alive:
            log.warning("killed", service=self._blueprint.service, pid=watch.child.pid, problem="did not drain in time")
            watch.kill()
            await watch.exited
        left = tuple(one for one in self._journal.retiring if one.pid != watch.child.pid)
        self._note(replace(self._journal, retiring=left))
        self._draining.pop(watch, None)

    def _end_strays(self) -> None:
        """End what carries our mark and does not count. Where the file is lost, the youngest one found counts."""
        known = {child.pid for child in (self._journal.current, *self._journal.retiring) if child is not None}
        found = left_running(self._blueprint.folder, self._blueprint.service)
        children = [child_of(pid, launch, self._clock.now_ms()) for pid, launch in found if pid not in known]
        strays = [watch for child in children if child is not None and (watch := _found(child)) is not None]
        strays.sort(key=lambda watch: watch.child.started)
        if self._lost and strays:
            youngest = strays.pop()
            self._note(replace(self._journal, current=youngest.child))
            self._watch(youngest)
            self._listener = self._take_listener(youngest.child.pid)
        for stray in strays:
            log.warning("ended", service=self._blueprint.service, pid=stray.child.pid, problem="its start was never finished")
            self._drain(stray)  # it may have become ready meanwhile, and then it serves

    # what is written down

    def _read(self) -> Journal:
        data = self._disk.read(self._file)
        self._lost = data is None
        if data is None:
            return Journal()
        try:
            return decode(data, Journal)
        except Malformed as error:
            log.error("process file damaged", file=self._file, problem=str(error), remedy="processes are found by their marks")  # noqa: TRY400
            self._lost = True
            return Journal()

    def _write(self, journal: Journal) -> None:
        self._disk.write(self._file, encode(journal))
        self._journal = journal

    def _note(self, journal: Journal) -> None:
        """Write what has happened already: it is true whether or not the disk takes it."""
        try:
            self._write(journal)
        except OSError as error:
            self._journal = journal
            log.error("process file not written", file=self._file, problem=str(error))  # noqa: TRY400

    def _take_listener(self, pid: int) -> socket | None:
        address = self._blueprint.config.listen
        if address is None:
            return None
        found = take_back(pid, address)
        if found is None:
            log.warning("socket not taken back", listen=address, problem="the kernel forbids it; the port is shared instead")
            with contextlib.suppress(ListenFailed):
                return open_listener(address, shared=True)
        return found

    def _tail(self, watch: Watch) -> str:
        """Return the last lines that a process wrote to its standard error, ready to be put behind a sentence."""
        text = tail_of(self._output / f"{watch.child.boot}.err")
        return f":\n{text}" if text else ""


def _found(child: Child) -> Watch | None:
    """Return a process under watch; None where it is gone. On another boot of the machine its pid is somebody else's."""
    if child.machine == machine_boot():
        with contextlib.suppress(ProcessLookupError):
            return Watch(child)
    return None
