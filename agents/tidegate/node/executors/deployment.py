"""One service that runs from releases: what is done to it, in which order it is made durable, and how a half-done deed is mended.

The journal is written before anything is touched: what ran (``before``), what shall run (``to``), and what the activation needs
to go back (``was``). It is written again when the new version is ready; that moment decides. A life of the agent that finds a
deed begun and not decided undoes it: going back to what ran needs no network and is always allowed (D5), and whether to go
forward again is asked anew (F1).
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import structlog
from msgspec import Struct
from msgspec.structs import replace

from tidegate.node.artifacts import ArtifactCache
from tidegate.node.config import Readiness, ServiceConfig
from tidegate.node.executor import Exited, FetchFailed, Late, Launch, StartFailed, StopFailed
from tidegate.node.executors.children import machine_boot
from tidegate.node.executors.commands import CommandFailed, Commands, Ending, Order, undisturbed, within
from tidegate.node.executors.outputs import bound_outputs, tail_of
from tidegate.node.executors.readiness import until_ready
from tidegate.node.executors.releases import Release, Releases
from tidegate.node.executors.unpack import Unusable
from tidegate.ports import Clock, Disk
from tidegate.reconcile.actions import Running
from tidegate.wire.codec import Malformed, decode, encode
from tidegate.wire.plans import Artifact

STATUS_EVERY_S = 2.0
STATUS_WITHIN_S = 5.0
STATUS_FAILS = 2
"""So many bad answers in a row are an end that nobody ordered: one alone may be a service manager at work."""
TEXT_MOST = 300
"""Characters of an error that nobody foresaw."""

log = structlog.get_logger("node.releases")


class Deployed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One life of a release. ``release`` is the name of its folder."""

    release: str
    launch: Launch
    ready_ms: int = 0


class Deed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change begun. ``was`` is what the activation noted before it; ``undoing``: it is being taken back."""

    to: Deployed
    before: Deployed | None = None
    was: str = ""
    undoing: bool = False


class Journal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known across the agent's own death."""

    machine: str
    current: Deployed | None = None
    deed: Deed | None = None


class Activation(Protocol):
    """How a release comes to run. Raises CommandFailed and OSError. Folders are made and checked by others."""

    def was(self) -> str:
        """Return what there must be noted to go back."""
        ...

    def untouched(self, deed: Deed) -> bool:
        """Return whether a deed that was broken off has not touched anything yet."""
        ...

    def found(self) -> str:
        """Return the release that runs as far as can be seen, where the journal is lost; empty where that cannot be told."""
        ...

    async def forward(self, to: Deployed, before: Deployed | None) -> None:
        """Let a release run in place of another."""
        ...

    async def back(self, deed: Deed, before: Deployed | None) -> None:
        """Take back what ``forward`` did, wholly or in part; ``before`` is a new life of what ran, if anything did."""
        ...

    async def stop(self, current: Deployed) -> None:
        """Let nothing run."""
        ...

    def real(self, current: Deployed) -> str:
        """Return the release that is in place now, read again; empty where what is in place is none."""
        ...


class Place(Struct, frozen=True, kw_only=True):
    """What a deployment works with."""

    service: str
    config: ServiceConfig
    status: tuple[str, ...]
    keep: int
    environment: dict[str, str]
    folder: Path
    output: Path
    releases: Releases
    commands: Commands


def output_of(place: Place, life: Deployed) -> Path:
    """Return where the commands of one life of a version print."""
    return place.output / f"{life.launch.boot or 'adopted'}.out"


class Deployment:
    """See the module. One ``swap`` or ``stop`` at a time."""

    def __init__(self, place: Place, activation: Activation, cache: ArtifactCache, disk: Disk, clock: Clock) -> None:
        self._place = place
        self._activation = activation
        self._cache = cache
        self._disk = disk
        self._clock = clock
        self._file = f"releases-{place.service}"
        self._journal = Journal(machine=machine_boot())
        self._exited: Exited = lambda _service, _how: None
        self._busy = False
        self._watching: asyncio.Task[None] | None = None
        self._needed: tuple[Artifact, ...] = ()

    @property
    def running(self) -> Running | None:
        """What runs and is ready."""
        current = self._journal.current
        if current is None:
            return None
        launch = current.launch
        return Running(artifact=launch.artifact, token=launch.token, boot=launch.boot, ready_ms=current.ready_ms)

    def holds(self, artifact: Artifact) -> bool:
        """Return whether a release of it lies ready."""
        return self._place.releases.find(artifact) is not None

    def need(self, artifacts: Iterable[Artifact]) -> None:
        """Never throw away the releases of these."""
        self._needed = tuple(artifacts)

    async def adopt(self, exited: Exited) -> None:
        """Mend what was half done, look whether what ran still runs, and watch it from now on."""
        self._exited = exited
        await asyncio.to_thread(self._place.releases.load)
        await self._place.commands.end_left_over()
        self._journal = self._read()
        deed = self._journal.deed
        if deed is not None:
            log.warning(
                "undone", service=self._place.service, version=deed.to.launch.artifact.version, problem="it was half done"
            )
            await self._undo(deed)
        else:
            await self._look_after(self._journal)
        if self._place.status:
            self._watching = asyncio.ensure_future(self._watch())

    async def swap(self, launch: Launch) -> None:
        """Let a version run in place of what runs. StartFailed, FetchFailed and cancellation put back what ran, where it may.

        Late leaves it as it is.
        """
        release = await self._release(launch.artifact)
        launch.refuse_late(self._clock.now_ms())
        deed = Deed(to=Deployed(release=release, launch=launch), before=self._journal.current, was=self._activation.was())
        try:
            self._write(Journal(machine=machine_boot(), current=deed.before, deed=deed))
        except OSError as error:
            raise StartFailed(f"cannot write {self._file}: {error}") from error
        self._busy = True
        try:
            await self._activation.forward(deed.to, deed.before)
            await self._settled(deed.to)
            self._write(Journal(machine=machine_boot(), current=replace(deed.to, ready_ms=self._clock.now_ms())))
        except BaseException as error:
            trouble = await undisturbed(self._undo(deed))
            if not isinstance(error, Exception) or isinstance(error, StartFailed | FetchFailed | Late):
                raise
            raise StartFailed(f"{launch.artifact.version} was not started: {_said(error)}{trouble}") from error
        finally:
            self._busy = False
        await asyncio.to_thread(self._tidy, deed)

    async def stop(self) -> None:
        """Let nothing run. Where a command fails, and no status says that nothing runs, StopFailed: it counts as running.

        So it does when cancelled: the next life of the agent stops it.
        """
        current = self._journal.current
        if current is None:
            return
        self._busy = True
        try:
            await self._activation.stop(current)
        except Exception as error:  # whatever a release holds, the agent goes on
            if not await self._seen_to_be_gone():
                raise StopFailed(f"not stopped: {_said(error)}") from error
            log.warning("not stopped cleanly", service=self._place.service, problem=_said(error))
        finally:
            self._busy = False
        self._note(current=None)

    async def measure(self) -> str:
        """Return the artifact's digest of the release that is in place, where that is whole; else nothing."""
        current = self._journal.current
        if current is None:
            return ""
        return await asyncio.to_thread(self._measure, current)

    async def close(self) -> None:
        """Look no more; what runs goes on."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None

    # going forward and back

    async def _release(self, artifact: Artifact) -> str:
        stop = threading.Event()
        making = asyncio.ensure_future(asyncio.to_thread(self._place.releases.make, artifact, self._cache, stop))
        try:
            release = await asyncio.shield(making)
        except asyncio.CancelledError:
            stop.set()  # a thread is not cancelled: wait for it, or it would write into the next one's work
            await undisturbed(_ended(making))
            raise
        except FetchFailed:
            raise
        except Exception as error:  # whatever an artifact holds, the agent goes on
            raise StartFailed(f"{artifact.version} cannot be made a release: {_said(error)}") from error
        assert release is not None  # noqa: S101 - nobody told it to stop
        return release.name

    async def _undo(self, deed: Deed) -> str:
        """Put back what ran, as a new life of it, if it may run; return what went wrong, ready to be put behind a sentence."""
        if not deed.undoing and self._activation.untouched(deed):
            self._note(current=deed.before)
            return ""
        if not deed.to.launch.put_back:
            deed = replace(deed, before=None, was="")
        self._note(current=None, deed=replace(deed, undoing=True))
        before = deed.before
        if before is not None:
            boot = f"{deed.to.launch.boot}-back-{self._clock.now_ms():x}"  # rows of two lives under one name would be duplicates
            before = Deployed(release=before.release, launch=replace(before.launch, boot=boot))
        try:
            await self._activation.back(deed, before)
            if before is not None:
                await self._settled(before)
                before = replace(before, ready_ms=self._clock.now_ms())
        except Exception as error:  # noqa: BLE001 - whatever a release holds, the agent goes on
            said = _said(error)
            self._note(current=None)
            log.warning("what ran did not come back", service=self._place.service, problem=said)
            if before is not None:
                self._exited(self._place.service, f"{before.launch.artifact.version} did not come back: {said}")
            return f"; going back failed too: {said}"
        self._note(current=before)
        return ""

    async def _settled(self, life: Deployed) -> None:
        """Return when the status is good and the probe answers; CommandFailed after ``readyWithin``."""
        within_s = self._place.config.ready_within_s
        try:
            await within(self._clock, within_s, self._until_settled())
        except TimeoutError as error:
            tail = tail_of(output_of(self._place, life))
            raise CommandFailed(None, f"not ready within {self._place.config.ready_within}", tail) from error

    async def _until_settled(self) -> None:
        how = self._place.config.readiness
        if isinstance(how, Readiness):
            await until_ready(how, self._clock)
        while self._place.status and not await self._status_good():
            await self._clock.sleep(0.2)

    def _tidy(self, deed: Deed) -> None:
        needed = {deed.to.release, *([deed.before.release] if deed.before is not None else [])}
        needed |= {release.name for one in self._needed if (release := self._place.releases.find(one)) is not None}
        self._place.releases.prune(self._place.keep, needed)
        bound_outputs(self._place.output, {output_of(self._place, deed.to).stem})

    def _measure(self, current: Deployed) -> str:
        bound_outputs(self._place.output, {output_of(self._place, current).stem})
        release = self._place.releases.named(self._activation.real(current))
        return release.artifact.sha256 if release is not None and self._place.releases.intact(release) else ""

    # watching

    async def _look_after(self, journal: Journal) -> None:
        """After a start of the agent: what the journal says must be seen. A new boot of the machine may still be at it."""
        current = journal.current
        if current is None:
            return
        same_machine_boot = journal.machine == machine_boot()
        try:
            if not same_machine_boot or (self._place.status and not await self._status_good()):
                await self._settled(current)
        except CommandFailed as error:
            self._note(current=None)
            if same_machine_boot:
                self._exited(self._place.service, f"it was not running when the agent came: {error}")
        else:
            log.info("adopted", service=self._place.service, version=current.launch.artifact.version)
            self._note(current=current)

    async def _watch(self) -> None:
        bad = 0
        while True:
            await self._clock.sleep(STATUS_EVERY_S)
            current = self._journal.current
            bad = 0 if self._busy or current is None or await self._status_good() else bad + 1
            if bad >= STATUS_FAILS and not self._busy and current is self._journal.current:
                bad = 0
                self._note(current=None)
                self._exited(self._place.service, f"status is bad: {' '.join(self._place.status)}")

    async def _status_good(self) -> bool:
        with contextlib.suppress(CommandFailed, OSError):
            await self._ask_status()
            return True
        return False

    async def _seen_to_be_gone(self) -> bool:
        """Return whether the status says so. One that cannot be asked, on a full disk say, says nothing."""
        try:
            if self._place.status:
                await self._ask_status()
        except CommandFailed as error:
            return error.ending is Ending.FAILED
        except OSError:
            return False
        return False

    async def _ask_status(self) -> None:
        place = self._place
        order = Order(
            words=place.status,
            environment=place.environment,
            folder=place.folder,
            within_s=STATUS_WITHIN_S,
            output=place.output / "status.out",
            noted=False,
        )
        await place.commands.run(order)

    # what is written down

    def _read(self) -> Journal:
        data = self._disk.read(self._file)
        with contextlib.suppress(Malformed):
            if data is not None:
                return decode(data, Journal)
        release = self._place.releases.named(self._activation.found())
        if release is None:
            return Journal(machine=machine_boot())
        log.warning(
            "journal lost", service=self._place.service, remedy="what runs is told by what is in place", release=release.name
        )
        launch = Launch(service=self._place.service, artifact=release.artifact, boot="")
        return Journal(machine="", current=Deployed(release=release.name, launch=launch, ready_ms=self._clock.now_ms()))

    def _write(self, journal: Journal) -> None:
        self._disk.write(self._file, encode(journal))
        self._journal = journal

    def _note(self, *, current: Deployed | None, deed: Deed | None = None) -> None:
        """Write what has happened already: it is true whether or not the disk takes it."""
        journal = Journal(machine=machine_boot(), current=current, deed=deed)
        try:
            self._write(journal)
        except OSError as error:
            self._journal = journal
            log.error("journal not written", file=self._file, problem=str(error))  # noqa: TRY400


def _said(error: Exception) -> str:
    """Return an error as a sentence. Ours and the system's speak for themselves; of any other the kind is told, and some text."""
    if isinstance(error, Unusable | CommandFailed | OSError):
        return str(error)
    return f"{type(error).__name__}: {str(error)[:TEXT_MOST]}"


async def _ended(work: "asyncio.Task[Release | None]") -> None:
    await asyncio.gather(work, return_exceptions=True)
