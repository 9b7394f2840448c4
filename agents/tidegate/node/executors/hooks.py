"""Executor ``hooks``: the lifecycle of the CodeDeploy agent, by the scripts that a release brings in its own ``appspec.yml``.

The events' names and order, whose scripts they run (those that stop are the last successful revision's), the environment and the
kinds of error are CodeDeploy's. A failing hook deploys the revision before again, by its own hooks.
"""

import asyncio

import structlog

from tidegate.node.config import NodeConfig
from tidegate.node.executors.appspec import OF_THE_LAST, AppSpec, Event, Script, inside, prepare, read_appspec
from tidegate.node.executors.commands import CommandFailed, Ending, Order
from tidegate.node.executors.deployment import Deed, Deployed, Place, output_of
from tidegate.node.executors.environment import life_of
from tidegate.node.executors.install import Installed
from tidegate.node.executors.released import Kind, ReleaseOptions, ReleasesExecutor
from tidegate.node.executors.unpack import Unusable
from tidegate.ports import Clock, Disk

log = structlog.get_logger("node.hooks")


class HooksOptions(ReleaseOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """``ignoreApplicationStopFailures``: a broken stop script of the revision that runs does not stop a deployment."""

    ignore_application_stop_failures: bool = False


class Lifecycle:
    """How a release comes to run by its hooks."""

    def __init__(self, place: Place, options: HooksOptions, disk: Disk) -> None:
        self._place = place
        self._options = options
        self._installed = Installed(place.service, disk)

    def was(self) -> str:
        """Nothing needs to be noted: the revision before is deployed again."""
        return ""

    def untouched(self, deed: Deed) -> bool:  # noqa: ARG002 - a first hook leaves no trace that could be looked for
        """Return False: it is not known."""
        return False

    def found(self) -> str:
        """Return nothing: without the journal nobody knows what the hooks of which revision have done."""
        return ""

    async def forward(self, to: Deployed, before: Deployed | None) -> None:
        """Run the lifecycle from the revision before to this one."""
        await self._deploy(to, before, lenient=self._options.ignore_application_stop_failures)

    async def back(self, deed: Deed, before: Deployed | None) -> None:
        """Deploy again what ran. Where nothing did, let what was tried stop."""
        if before is not None:
            await self._deploy(before, before, lenient=True)
        else:
            await self._stop(deed.to, deed.to, lenient=True)

    async def stop(self, current: Deployed) -> None:
        """Run the events that stop a revision."""
        await self._stop(current, current, lenient=False)

    def real(self, current: Deployed) -> str:
        """Return the release whose files lie where it said."""
        path = self._place.releases.folder / current.release
        try:
            return current.release if self._installed.intact(read_appspec(path), path) else ""
        except Unusable:
            return ""

    async def _deploy(self, to: Deployed, before: Deployed | None, *, lenient: bool) -> None:
        if before is not None:
            await self._stop(before, to, lenient=lenient)
        spec = self._spec(to)
        for event in Event:
            if event is Event.INSTALL:
                self._installed.forget()
                await asyncio.to_thread(self._installed.install, spec, self._place.releases.folder / to.release)
            elif event not in OF_THE_LAST:
                await self._run(event, spec.scripts(event), to, to)

    async def _stop(self, last: Deployed, to: Deployed, *, lenient: bool) -> None:
        """Run the scripts of the last successful revision, for the deployment ``to``."""
        try:
            spec = self._spec(last)
            for event in OF_THE_LAST:
                await self._run(event, spec.scripts(event), last, to)
        except CommandFailed as error:
            if not lenient:
                raise
            log.warning("stop scripts failed", service=self._place.service, release=last.release, problem=str(error))

    def _spec(self, life: Deployed) -> AppSpec:
        try:
            return read_appspec(self._place.releases.folder / life.release)
        except Unusable as error:
            raise CommandFailed(Ending.UNKNOWN, str(error)) from error

    async def _run(self, event: Event, scripts: tuple[Script, ...], of: Deployed, to: Deployed) -> None:
        release = self._place.releases.folder / of.release
        told = {
            "LIFECYCLE_EVENT": event.value,
            "DEPLOYMENT_ID": to.launch.boot,
            "APPLICATION_NAME": self._place.service,
            "DEPLOYMENT_GROUP_NAME": self._place.environment["TIDEGATE_FLEET"],
            "TIDEGATE_RELEASE": str(release),
        }
        for script in scripts:
            try:
                order = Order(
                    words=(str(inside(release, script.location)),),
                    environment=self._place.environment | life_of(to.launch, self._place.environment) | told,
                    folder=release,
                    within_s=script.timeout,
                    output=output_of(self._place, to),
                    user=script.runas,
                    closes_output=True,
                )
                await self._place.commands.run(order)
            except Unusable as error:  # it was in order when it was unpacked
                raise CommandFailed(Ending.UNKNOWN, f"{event.value}: {error}") from error
            except CommandFailed as error:
                raise error.during(event.value) from error


def build(config: NodeConfig, disk: Disk, clock: Clock) -> ReleasesExecutor:
    """Return the executor ``hooks`` of a node; ConfigError."""
    kind = Kind(word="hooks", options=HooksOptions, prepare=prepare, activation=Lifecycle)
    return ReleasesExecutor(kind, config, disk, clock)
