"""What a node agent needs from whatever starts and stops services: the seam between a target and a machine."""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from msgspec import Struct

from tidegate.reconcile.actions import Running
from tidegate.reconcile.target import CohortName
from tidegate.wire.plans import Artifact

Exited = Callable[[str, str], None]
"""Called with the service and how it ended, when what runs ends without an order."""


class FetchFailed(Exception):
    """An artifact could not be brought here whole, or is not what its digest says. Says why and what to do."""


class StartFailed(Exception):
    """A version did not become ready. What ran before still runs. Carries the last lines of its standard error."""


class StopFailed(Exception):
    """A version was not seen to end, and counts as running still. Says why."""


class Late(Exception):
    """The time in which a start might begin was over before it did. What ran before still runs, nothing was touched."""


class Launch(Struct, frozen=True, kw_only=True):
    """One start of one version. ``boot`` names this life of the service process, ``rollout`` what asked for it; empty: what is
    settled.

    ``put_back`` is false where what runs, or ran last, must not run again: a start that fails then leaves it running if it never
    stopped, and nothing running otherwise.
    """

    service: str
    artifact: Artifact
    boot: str
    token: str = ""
    cohort: CohortName = CohortName.REST
    rollout: str = ""
    put_back: bool = True
    before_ms: int = 0
    """An advance begins before this time of the machine's clock or not at all (F1); 0: whenever."""

    def refuse_late(self, now_ms: int) -> None:
        """Raise Late where the time is over. Asked by an executor when nothing but the start itself is left to do."""
        if 0 < self.before_ms <= now_ms:
            raise Late(f"{self.artifact.version} was to begin {now_ms - self.before_ms} ms ago")


class Executor(Protocol):
    """Runs services. One action at a time is asked of it, except ``running``, ``holds`` and ``measure``."""

    async def adopt(self, exited: Exited) -> None:
        """Find again what an earlier life of the agent left running, and undo what that life did not finish.

        What ended while nobody looked is told to ``exited``, as is every later end without an order. Cancelled, it leaves the
        rest to the next life.
        """
        ...

    def running(self, service: str) -> Running | None:
        """Return what runs and is ready; None where nothing is."""
        ...

    def holds(self, artifact: Artifact) -> bool:
        """Return whether an artifact was fetched and checked, so that a start needs no network."""
        ...

    async def measure(self, service: str) -> str:
        """Return the sha256 of what the running version was started from, read again; empty where nothing runs."""
        ...

    async def fetch(self, artifact: Artifact, keep: Iterable[Artifact]) -> None:
        """Bring an artifact here and check it; FetchFailed. What is in ``keep`` is never thrown away to make room.

        Cancelled, it is not held, and a later fetch should not bring again what has come: others' work cuts downloads off.
        """
        ...

    async def swap(self, launch: Launch) -> None:
        """Start a version, beside what runs, and take that out of service once the new one is ready.

        StartFailed, Late, and cancellation before it is ready, leave what ran before as it was, or put it back (see ``Launch``).
        """
        ...

    async def stop(self, service: str) -> None:
        """Drain a service and wait until it is gone; StopFailed."""
        ...

    async def close(self) -> None:
        """Let go, and leave services running."""
        ...


@runtime_checkable
class Probing(Protocol):
    """An executor that can try a start without replacing what runs. Others are only asked whether what runs is still whole."""

    async def probe(self, launch: Launch) -> None:
        """Start a version beside what runs, wait until it is ready, and let it end; StartFailed, FetchFailed.

        Whatever comes of it, cancellation too, what runs goes on.
        """
        ...
