"""Executor ``symlink``: ``releases/<id>/``, ``current`` swapped by an atomic rename, then a command like ``systemctl restart``.

The life's environment (version, boot, cohort) lies in ``current/.tidegate/env``, in the form of systemd's ``EnvironmentFile=``,
so that link and environment change in one step.
"""

import os
import shlex
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from tidegate.node.config import NodeConfig
from tidegate.node.executors.commands import CommandFailed, Order
from tidegate.node.executors.deployment import Deed, Deployed, Place, output_of
from tidegate.node.executors.environment import filled, life_of
from tidegate.node.executors.released import Kind, ReleaseOptions, ReleasesExecutor
from tidegate.node.executors.releases import CONFIG, ENVIRONMENT
from tidegate.node.executors.tree import sync
from tidegate.ports import Clock, Disk

STOP_WITHIN_S = 60.0


class SymlinkOptions(ReleaseOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """``restart`` lets what ``current`` points to run, and returns when it does or within ``readyWithin``; ``stop`` ends it.

    Commands may hold {release}, {current}, {version}, {config} and {python}. Without ``stop`` a service is left to its manager.
    """

    restart: Annotated[tuple[str, ...], Meta(min_length=1)]
    stop: tuple[str, ...] = ()


class Link:
    """How a release comes to run by a link. The link is durable before the command runs, and so is its way back."""

    def __init__(self, place: Place, options: SymlinkOptions, disk: Disk) -> None:  # noqa: ARG002 - the link is its own memory
        self._place = place
        self._options = options
        self._link = place.folder / "current"

    def was(self) -> str:
        """Return where ``current`` points; empty where it is not there."""
        return str(self._link.readlink()) if self._link.is_symlink() else ""

    def untouched(self, deed: Deed) -> bool:
        """Return whether the link is as it was. A release that runs anew has the same link, so that tells nothing."""
        return self.was() == deed.was != self._target(deed.to)

    def found(self) -> str:
        """Return the release that ``current`` points to."""
        return self._named(self.was())

    async def forward(self, to: Deployed, before: Deployed | None) -> None:  # noqa: ARG002 - the command knows what it restarts
        """Point to a release, and run the restart command."""
        self._point(to)
        await self._run(self._options.restart, to, self._place.config.ready_within_s)

    async def back(self, deed: Deed, before: Deployed | None) -> None:
        """Point to what was, and run the restart command again; where nothing ran, the stop command and no link."""
        if before is not None:
            await self.forward(before, None)
        elif deed.was and not self._named(deed.was):  # a link of somebody else's making
            self._swap(deed.was)
            await self._run(self._options.restart, deed.to, self._place.config.ready_within_s)
        elif deed.was != self._target(deed.to):  # a release of ours that ended: whether it may run again is asked anew
            await self.stop(deed.to)
            self._link.unlink(missing_ok=True)
            sync(self._place.folder)

    async def stop(self, current: Deployed) -> None:
        """Run the stop command, if there is one."""
        if self._options.stop:
            await self._run(self._options.stop, current, STOP_WITHIN_S)

    def real(self, current: Deployed) -> str:  # noqa: ARG002 - the link says it
        """Return the release that ``current`` points to."""
        return self.found()

    def _point(self, to: Deployed) -> None:
        """Let the link name a release whose environment is there already."""
        if os.path.lexists(self._link) and not self._link.is_symlink():
            raise CommandFailed(None, f"{self._link} is no link; move it away, it is where this executor puts one")
        own = self._place.environment
        told = {key: value for key, value in own.items() if key.startswith("TIDEGATE_")} | self._place.config.env
        told |= life_of(to.launch, own)
        path = self._place.releases.folder / to.release / ENVIRONMENT
        beside = path.with_name("env.new")
        with beside.open("w") as file:
            os.fchmod(file.fileno(), 0o640)  # what a service is told may be secret
            file.writelines(f"{key}={shlex.quote(value)}\n" for key, value in sorted(told.items()))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync(path.parent)
        self._swap(self._target(to))

    def _swap(self, target: str) -> None:
        beside = self._link.with_name(".current.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(self._link)
        sync(self._place.folder)

    async def _run(self, words: tuple[str, ...], life: Deployed, within_s: float) -> None:
        release = self._place.releases.folder / life.release
        config = release / CONFIG
        values = {
            "release": str(release),
            "current": str(self._link),
            "version": life.launch.artifact.version,
            "config": str(config) if config.exists() else "",
        }
        order = Order(
            words=tuple(filled(words, values)),
            environment=self._place.environment
            | life_of(life.launch, self._place.environment)
            | {"TIDEGATE_RELEASE": str(release)},
            folder=self._place.folder,
            within_s=within_s,
            output=output_of(self._place, life),
        )
        await self._place.commands.run(order)

    def _target(self, to: Deployed) -> str:
        return f"{self._place.releases.folder.name}/{to.release}"

    def _named(self, target: str) -> str:
        path = Path(os.path.normpath(self._place.folder / target))  # by hand it may be absolute
        return path.name if path.parent == self._place.releases.folder else ""


def build(config: NodeConfig, disk: Disk, clock: Clock) -> ReleasesExecutor:
    """Return the executor ``symlink`` of a node; ConfigError."""
    kind = Kind(word="symlink", options=SymlinkOptions, prepare=lambda _release: None, activation=Link)
    return ReleasesExecutor(kind, config, disk, clock)
