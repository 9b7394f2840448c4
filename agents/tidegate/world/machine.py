"""One simulated server: its disk and what runs on it. It outlives the lives of its agent.

A write may be cut off in the middle when the agent dies in it; a disk may be full, or rot. What a version does is a truth of the
world that only shows when it runs: it starts or not, stays up or not, can be fetched or not.
"""

import errno
from collections.abc import Callable, Iterable

from msgspec import Struct

from tidegate.node.executor import Exited, FetchFailed, Launch, StartFailed
from tidegate.reconcile.actions import Running
from tidegate.reconcile.held import identity
from tidegate.wire.plans import Artifact
from tidegate.world.process import Died, Process

FREE_BYTES = 1 << 40
FETCH_MS = 20


class Truth(Struct, frozen=True, kw_only=True):
    """What a version is like."""

    starts: bool = True
    crashes_after_ms: int = 0
    """0: it stays up."""
    fetched: bool = True


class Machine:
    """What a server holds. ``launched`` is told of every start that is tried, ``wrote`` of every file that was written."""

    def __init__(self, name: str, truth: Callable[[str], Truth]) -> None:
        self.name = name
        self.truth = truth
        self.files: dict[str, bytes] = {}
        self.full = False
        self.start_ms = 0
        """How long a version takes to become ready."""
        self.running: dict[str, Running] = {}
        self.cached: set[tuple[str, str, str]] = set()
        self.lost: list[str] = []
        self.exited: Exited | None = None
        self.launched: Callable[[Launch], None] = lambda _: None
        self.wrote: Callable[[str], None] = lambda _: None

    def crash(self, service: str) -> None:
        """End a service without an order."""
        if self.running.pop(service, None) is None:
            return
        if self.exited is None:
            self.lost.append(service)
        else:
            self.exited(service, "crashed")

    def become(self, other: "Machine") -> None:
        """Take the state of another server."""
        self.files, self.running, self.cached = dict(other.files), dict(other.running), set(other.cached)


class MachineDisk:
    """``tidegate.ports.Disk`` of one life of an agent."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine = machine
        self._process = process

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a name, or None where there are none."""
        return self._machine.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        """Replace the bytes of a name. OSError while the disk is full; an agent that dies here leaves old, new or torn bytes."""
        process, machine = self._process, self._machine
        ends = process.reach()
        if machine.full and not ends:
            raise OSError(errno.ENOSPC, "no space left on device", name)
        luck = process.noise.random() if ends else 1.0
        if luck > 2 / 3:
            machine.files[name] = data
            machine.wrote(name)
        elif luck > 1 / 3:
            machine.files[name] = data[: len(data) // 2]
        if ends:
            process.kill()
            raise Died

    def free_bytes(self) -> int:
        """Return how many bytes are free."""
        return 0 if self._machine.full else FREE_BYTES


class MachineExecutor:
    """``tidegate.node.Executor`` of one life of an agent."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine = machine
        self._process = process

    async def adopt(self, exited: Exited) -> None:
        """Tell of what ended since the last agent, and of what ends from now on."""
        process, machine = self._process, self._machine

        def tell(service: str, how: str) -> None:
            process.loop.call_soon(exited, service, how)
            process.run()

        def gone() -> None:
            machine.exited = None

        process.on_death.append(gone)
        machine.exited = tell
        lost, machine.lost = machine.lost, []
        for service in lost:
            exited(service, "ended while no agent ran")

    def running(self, service: str) -> Running | None:
        """Return what runs."""
        return self._machine.running.get(service)

    def holds(self, artifact: Artifact) -> bool:
        """Return whether it was fetched."""
        return identity(artifact) in self._machine.cached

    async def measure(self, service: str) -> str:
        """Return the digest of what runs."""
        running = self._machine.running.get(service)
        return running.artifact.sha256 if running is not None else ""

    async def fetch(self, artifact: Artifact, keep: Iterable[Artifact]) -> None:  # noqa: ARG002 - there is always room
        """Have it."""
        await self._process.reach_out()
        await self._process.clock.timer_ms(FETCH_MS)
        if not self._machine.truth(artifact.version).fetched:
            raise FetchFailed(f"there is no artifact of version {artifact.version}")
        self._machine.cached.add(identity(artifact))

    async def swap(self, launch: Launch) -> None:
        """Run it, if it starts."""
        process, machine = self._process, self._machine
        await process.reach_out()
        launch.refuse_late(process.clock.now_ms())
        truth = machine.truth(launch.artifact.version)
        machine.launched(launch)
        if machine.start_ms:
            await process.clock.timer_ms(machine.start_ms)
            if process.dead:
                raise Died
        if not truth.starts:
            raise StartFailed(f"version {launch.artifact.version} does not start")
        running = Running(artifact=launch.artifact, token=launch.token, boot=launch.boot, ready_ms=process.clock.now_ms())
        machine.running[launch.service] = running
        if truth.crashes_after_ms:
            process.timeline.at(process.timeline.now_ms + truth.crashes_after_ms, lambda: self._crash(launch.service, running))
        if process.reach():
            process.kill()
            raise Died

    async def probe(self, launch: Launch) -> None:
        """See whether it starts; what runs goes on."""
        process, machine = self._process, self._machine
        await process.reach_out()
        await process.clock.timer_ms(FETCH_MS + machine.start_ms)
        if not machine.truth(launch.artifact.version).starts:
            raise StartFailed(f"version {launch.artifact.version} does not start")

    async def stop(self, service: str) -> None:
        """Run nothing."""
        await self._process.reach_out()
        self._machine.running.pop(service, None)

    async def close(self) -> None:
        """Forget the agent, keep what runs."""
        self._machine.exited = None

    def _crash(self, service: str, running: Running) -> None:
        if self._machine.running.get(service) == running:
            self._machine.crash(service)
