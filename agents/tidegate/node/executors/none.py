"""Executor ``none``: runs a version by saying so. For simulated fleets, and for trying a plan without touching a machine."""

from collections.abc import Iterable

from tidegate.node.config import NodeConfig
from tidegate.node.executor import Exited, FetchFailed, Launch, StartFailed
from tidegate.node.executors.options import NoOptions, options_of, served_by
from tidegate.ports import Clock, Disk
from tidegate.reconcile.actions import Running
from tidegate.reconcile.held import identity
from tidegate.wire.plans import Artifact


class NoneExecutor:
    """Everything is there at once. Versions in ``broken`` do not start, those in ``missing`` cannot be fetched.

    The object is the machine: hand the same one to the next life of an agent and it finds what runs.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._exited: Exited | None = None
        self._lost: list[str] = []
        self._held: set[tuple[str, str, str]] = set()
        self._running: dict[str, Running] = {}
        self.broken: set[str] = set()
        self.missing: set[str] = set()
        self.launches: list[Launch] = []
        """Every start that was tried, in order."""
        self.probes: list[Launch] = []

    async def adopt(self, exited: Exited) -> None:
        """Tell of what ended since the last agent closed."""
        self._exited = exited
        lost, self._lost = self._lost, []
        for service in lost:
            exited(service, "ended while no agent ran")

    def running(self, service: str) -> Running | None:
        """Return what runs."""
        return self._running.get(service)

    def holds(self, artifact: Artifact) -> bool:
        """Return whether it was fetched."""
        return identity(artifact) in self._held

    async def measure(self, service: str) -> str:
        """Return the digest of what runs."""
        running = self._running.get(service)
        return running.artifact.sha256 if running is not None else ""

    async def fetch(self, artifact: Artifact, keep: Iterable[Artifact]) -> None:  # noqa: ARG002 - there is always room
        """Have it."""
        if artifact.version in self.missing:
            raise FetchFailed(f"there is no artifact of version {artifact.version}")
        self._held.add(identity(artifact))

    async def swap(self, launch: Launch) -> None:
        """Run it."""
        launch.refuse_late(self._clock.now_ms())
        self.launches.append(launch)
        self._refuse_broken(launch)
        self._running[launch.service] = Running(
            artifact=launch.artifact, token=launch.token, boot=launch.boot, ready_ms=self._clock.now_ms()
        )

    async def probe(self, launch: Launch) -> None:
        """See whether it starts."""
        self.probes.append(launch)
        self._refuse_broken(launch)

    async def stop(self, service: str) -> None:
        """Run nothing."""
        self._running.pop(service, None)

    async def close(self) -> None:
        """Forget the agent, keep what runs."""
        self._exited = None

    def crash(self, service: str) -> None:
        """End a service without an order."""
        if self._running.pop(service, None) is None:
            return
        if self._exited is None:
            self._lost.append(service)
        else:
            self._exited(service, "crashed")

    def _refuse_broken(self, launch: Launch) -> None:
        if launch.artifact.version in self.broken:
            raise StartFailed(f"version {launch.artifact.version} does not start")


def build(config: NodeConfig, disk: Disk, clock: Clock) -> NoneExecutor:  # noqa: ARG001 - it keeps nothing
    """Return the executor ``none`` of a node; ConfigError where a service of it has options."""
    for name, service in served_by("none", config).items():
        options_of(name, service, NoOptions)
    return NoneExecutor(clock)
