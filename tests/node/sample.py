"""An executor of a third party, as it could lie in a package of its own: what runs is a file that says so."""

from tidegate.node import FetchFailed, StartFailed
from tidegate.reconcile.actions import Running
from tidegate.wire.codec import decode, encode


class Sample:
    def __init__(self, disk, clock, services) -> None:
        self._disk, self._clock, self._services = disk, clock, services
        self._running: dict[str, Running] = {}
        self._held = set()
        self.exited = None

    async def adopt(self, exited) -> None:
        self.exited = exited
        for service in self._services:
            data = self._disk.read(f"sample-{service}")
            if data:
                self._running[service] = decode(data, Running)

    def running(self, service):
        return self._running.get(service)

    def holds(self, artifact) -> bool:
        return artifact.sha256 in self._held

    async def measure(self, service) -> str:
        running = self._running.get(service)
        return running.artifact.sha256 if running else ""

    async def fetch(self, artifact, keep) -> None:
        if "missing" in artifact.uri:
            raise FetchFailed("there is no such artifact")
        self._held.add(artifact.sha256)

    async def swap(self, launch) -> None:
        launch.refuse_late(self._clock.now_ms())
        if "broken" in launch.artifact.version:
            raise StartFailed("this version cannot start: no such table")
        running = Running(artifact=launch.artifact, token=launch.token, boot=launch.boot, ready_ms=self._clock.now_ms())
        self._disk.write(f"sample-{launch.service}", encode(running))
        self._running[launch.service] = running

    async def stop(self, service) -> None:
        self._disk.write(f"sample-{service}", b"")
        self._running.pop(service, None)

    async def close(self) -> None: ...

    def crash(self, service) -> None:
        self._running.pop(service, None)
        self.exited(service, "crashed")


def factory(config, disk, clock) -> Sample:
    services = [name for name, service in config.services.items() if service.executor == "sample"]
    for name in services:
        unknown = set(config.services[name].options) - {"colour"}
        if unknown:
            raise ValueError(f"services.{name}.options.{unknown.pop()}: there is only colour")
    return Sample(disk, clock, services)
