"""What the executors have in common that run a service from releases: the options, the cache, one deployment a service."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from tidegate.node.artifacts import ArtifactCache
from tidegate.node.config import ConfigError, NodeConfig, ServiceConfig
from tidegate.node.executor import Exited, Launch
from tidegate.node.executors.commands import Commands
from tidegate.node.executors.deployment import Activation, Deployment, Place
from tidegate.node.executors.environment import environment_of
from tidegate.node.executors.options import options_of, served_by
from tidegate.node.executors.releases import Releases
from tidegate.ports import Clock, Disk
from tidegate.reconcile.actions import Running
from tidegate.wire.plans import Artifact


class ReleaseOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Options of every executor that runs a service from releases.

    ``folder`` holds ``releases``; empty: in the agent's state folder. ``status`` is a command that succeeds while the service
    runs; without it an end that nobody ordered is not seen. ``keep`` releases stay beside what runs and what it came from.
    """

    folder: str = ""
    status: tuple[str, ...] = ()
    keep: Annotated[int, Meta(ge=0, le=1_000)] = 5
    unpacked_bytes_max: Annotated[int, Meta(ge=1)] = 4 << 30


O = TypeVar("O", bound=ReleaseOptions)  # noqa: E741 - options


class Kind(Struct, Generic[O], frozen=True, kw_only=True):
    """One such executor: its word, its options, how a release is prepared and how it comes to run."""

    word: str
    options: type[O]
    prepare: Callable[[Path], None]
    activation: Callable[[Place, O, Disk], Activation]


class ReleasesExecutor:
    """All services of one node that one kind of executor runs. ConfigError where their configuration cannot be used."""

    def __init__(self, kind: Kind[O], config: NodeConfig, disk: Disk, clock: Clock) -> None:
        self._cache = ArtifactCache(Path(config.state).absolute() / "artifacts", config.cache_bytes_max, disk.free_bytes)
        self._deployments: dict[str, Deployment] = {}
        folders: dict[Path, str] = {}
        for name, service in served_by(kind.word, config).items():
            options = options_of(name, service, kind.options)
            place = _place(name, service, options, (config, kind, disk, clock))
            if (other := folders.setdefault(place.folder, name)) != name:
                raise ConfigError(
                    f"services.{name}.options.folder: {place.folder} is service {other}'s already; give each its own"
                )
            self._deployments[name] = Deployment(place, kind.activation(place, options, disk), self._cache, disk, clock)

    async def adopt(self, exited: Exited) -> None:
        """Mend what an earlier life left half done, and look after what runs."""
        await asyncio.gather(*(one.adopt(exited) for one in self._deployments.values()))

    def running(self, service: str) -> Running | None:
        """Return what runs and is ready."""
        return self._deployments[service].running

    def holds(self, artifact: Artifact) -> bool:
        """Return whether the artifact lies in the cache, or unpacked for each of the services."""
        return self._cache.holds(artifact) or all(one.holds(artifact) for one in self._deployments.values())

    async def measure(self, service: str) -> str:
        """Return the artifact's sha256 of the release that is in place, if it is as it was unpacked."""
        return await self._deployments[service].measure()

    async def fetch(self, artifact: Artifact, keep: Iterable[Artifact]) -> None:
        """Bring an artifact into the cache; FetchFailed."""
        kept = (artifact, *keep)
        for one in self._deployments.values():
            one.need(kept)
        if not self.holds(artifact):
            await self._cache.fetch(artifact, kept)

    async def swap(self, launch: Launch) -> None:
        """Let a version run in place of what runs; StartFailed, and what ran runs again."""
        await self._deployments[launch.service].swap(launch)

    async def stop(self, service: str) -> None:
        """Let a service run no more."""
        await self._deployments[service].stop()

    async def close(self) -> None:
        """Let go, and leave services running."""
        for one in self._deployments.values():
            await one.close()


def _place(name: str, service: ServiceConfig, options: ReleaseOptions, hands: tuple[NodeConfig, Kind[O], Disk, Clock]) -> Place:
    config, kind, disk, clock = hands
    for word in ("command", "listen"):
        if getattr(service, word):
            raise ConfigError(
                f"services.{name}.{word}: is of executor process; what executor {kind.word} runs stands in `options`"
            )
    folder = Path(options.folder) if options.folder else Path(config.state).absolute() / "services" / name
    if not folder.is_absolute():
        raise ConfigError(f"services.{name}.options.folder: {folder} is relative; write an absolute path, such as /srv/{name}")
    return Place(
        service=name,
        config=service,
        status=options.status,
        keep=options.keep,
        environment=environment_of(config, name),
        folder=folder,
        output=Path(config.state).absolute() / "output" / name,
        releases=Releases(folder / "releases", options.unpacked_bytes_max, disk.free_bytes, kind.prepare),
        commands=Commands(name, disk, clock),
    )
