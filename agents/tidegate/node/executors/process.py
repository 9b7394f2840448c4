"""Executor ``process``: each version is one command. The new one starts beside the old one on the same socket, and the old
one is drained once the new one is ready, so that no request is lost (F2).
"""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from tidegate.node.artifacts import ArtifactCache
from tidegate.node.config import NodeConfig, ServiceConfig
from tidegate.node.executor import Exited, Launch
from tidegate.node.executors.environment import environment_of
from tidegate.node.executors.options import NoOptions, options_of, served_by
from tidegate.node.executors.slot import Blueprint, Slot
from tidegate.ports import Clock, Disk
from tidegate.reconcile.actions import Running
from tidegate.wire.plans import Artifact


class ProcessExecutor:
    """All services of one node whose executor is ``process``. What runs is written to ``disk`` beside the node's state."""

    name = "process"

    def __init__(self, config: NodeConfig, disk: Disk, clock: Clock, environment: Mapping[str, str] | None = None) -> None:
        self._cache = ArtifactCache(Path(config.state).absolute() / "artifacts", config.cache_bytes_max, disk.free_bytes)
        self._slots = {
            name: Slot(_blueprint(name, service, config, environment), self._cache, disk, clock)
            for name, service in served_by(self.name, config).items()
        }

    async def adopt(self, exited: Exited) -> None:
        """Take over what an earlier life of this agent left running; end what that life had not finished starting."""
        for slot in self._slots.values():
            slot.adopt(exited)

    def running(self, service: str) -> Running | None:
        """Return what runs and is ready."""
        return self._slots[service].running

    def holds(self, artifact: Artifact) -> bool:
        """Return whether the artifact lies in the cache, checked."""
        return self._cache.holds(artifact)

    async def measure(self, service: str) -> str:
        """Return the sha256 of the file that the running process was started from, read again."""
        running = self._slots[service].running
        if running is None:
            return ""
        self._slots[service].trim_output()
        return await asyncio.to_thread(self._cache.measure, running.artifact)

    async def fetch(self, artifact: Artifact, keep: Iterable[Artifact]) -> None:
        """Bring an artifact into the cache; FetchFailed."""
        await self._cache.fetch(artifact, [*keep, *(slot.running.artifact for slot in self._slots.values() if slot.running)])

    async def swap(self, launch: Launch) -> None:
        """Start a version beside what runs, wait until it is ready, then drain the old one; StartFailed."""
        await self._slots[launch.service].swap(launch)

    async def probe(self, launch: Launch) -> None:
        """Start a version beside what runs, wait until it is ready, and drain it; StartFailed."""
        await self._slots[launch.service].probe(launch)

    async def stop(self, service: str) -> None:
        """Drain a service, wait until it is gone, and close its port."""
        await self._slots[service].stop()

    async def close(self) -> None:
        """Let go of everything and leave the processes running."""
        for slot in self._slots.values():
            slot.close()


def _blueprint(name: str, service: ServiceConfig, config: NodeConfig, inherited: Mapping[str, str] | None) -> Blueprint:
    options_of(name, service, NoOptions)
    environment = environment_of(config, name, inherited)
    return Blueprint(service=name, config=service, folder=Path(config.state).absolute(), environment=environment)
