"""Publishers: a recorder, a pump that cuts it once a second, a sender. One form for asyncio, one with a thread of its own."""

import asyncio
import concurrent.futures.thread  # noqa: F401 - see below
import contextlib
import encodings.idna  # noqa: F401 - asyncio would import both in the thread; a fork meanwhile leaves half a module to the child
import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from tidegate.runtime.access import Access, access_in
from tidegate.sdk.identity import Identity
from tidegate.sdk.lookups import Lookups
from tidegate.sdk.recorder import Recorder, Refused
from tidegate.sdk.sender import Sender, Stats
from tidegate.sdk.slices import begin, end

CLOSE_WITHIN_S = 3.0
BOOTSTRAP_DEFAULT = "127.0.0.1:9092"

log = logging.getLogger("tidegate.sdk")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _call(method: "weakref.WeakMethod[Callable[[], None]]") -> None:
    found = method()
    if found is not None:
        found()


class _Pump:
    """Cuts a recorder on every whole second and hands the rows to a sender; lives on one event loop."""

    def __init__(self, recorder: Recorder, sender: Sender) -> None:
        self._recorder = recorder
        self._sender = sender
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._sender.start()
        self._task = asyncio.get_running_loop().create_task(self._every_second(), name="tidegate-seconds")

    async def close(self, within_s: float) -> Stats:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self._cut()
            await self._sender.stop(within_s)
        return self._sender.stats()

    def _cut(self) -> None:
        self._sender.put(self._recorder.cut(_now_ms(), self._sender.dropped))

    async def _every_second(self) -> None:
        while True:
            # Rows end on whole seconds, so that the same second of every node falls into the same pane.
            await asyncio.sleep(1.0 - time.time() % 1.0 + 0.001)
            self._cut()


class _Publisher:
    """What both forms share: who speaks, where to, and the calls that a service makes (from any thread, at any time).

    In a child that is forked it is another life, which has sent nothing yet.
    """

    def __init__(
        self,
        service: str | None = None,
        *,
        node: str | None = None,
        version: str | None = None,
        bootstrap: str | None = None,
        prefix: str | None = None,
        access: Access | None = None,
    ) -> None:
        self.identity = Identity.of(service=service, node=node, version=version)
        self._bootstrap = bootstrap or os.environ.get("TIDEGATE_BOOTSTRAP") or BOOTSTRAP_DEFAULT
        self._prefix = prefix or os.environ.get("TIDEGATE_PREFIX") or "tidegate."
        self._access = access or access_in(os.environ)
        self._recorder = Recorder(self.identity, _now_ms())
        self.record = self._recorder.record
        self.gauge = self._recorder.gauge
        self.count = self._recorder.count
        self.ratio = self._recorder.ratio
        # There is no way back from this, so what stays in the process after its publisher must be small.
        forked = weakref.WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: _call(forked))

    @property
    def refused(self) -> Mapping[Refused, int]:
        """How often a name or a value could not travel, by kind; the log says of each kind once what was wrong."""
        return self._recorder.refused

    @contextlib.contextmanager
    def request(self, slices: Iterable[str] = ()) -> Iterator[None]:
        """Time a block as one request; an exception that leaves it counts as an error and goes on its way.

        The request counts for ``slices``, and for the variants of watched flags that served it (``tidegate.sdk.flags``).
        """
        noted, around = begin()
        began, error = time.perf_counter(), True
        try:
            yield
            error = False
        finally:
            took_s = time.perf_counter() - began
            end(noted, around)
            if noted:
                slices = itertools.chain(noted, (slices,) if isinstance(slices, str) else slices)
            self.record(took_s, error=error, slices=slices)

    def _forked(self) -> None:
        self._recorder.renew(_now_ms())

    def _sender(self) -> Sender:
        client_id = f"tidegate-sdk-{self.identity.service}-{self.identity.node}"
        return Sender(self._bootstrap, self._prefix, client_id=client_id, access=self._access)


class AsyncPublisher(_Publisher):
    """Telemetry for a service on asyncio: ``async with AsyncPublisher("shop") as telemetry``.

    Everything left out is taken from the ``TIDEGATE_*`` environment that a node agent sets, then from the machine. Raises
    ValueError where no service is named, where a name cannot travel, or where the variables are no access to a broker; after that
    nothing here raises. A child that is forked has to ``start`` it on a loop of its own.
    """

    _pump: _Pump | None = None

    async def start(self) -> None:
        """Begin; returns at once, whether a broker is there or not."""
        if self._pump is None:
            self._pump = _Pump(self._recorder, self._sender())
            self._pump.start()

    async def close(self, within_s: float = CLOSE_WITHIN_S) -> Stats:
        """Send the last second and what waits, for at most ``within_s``; return the final counts."""
        pump, self._pump = self._pump, None
        return Stats(0, 0, 0, 0) if pump is None else await pump.close(within_s)

    def _forked(self) -> None:
        super()._forked()
        self._pump = None  # it lives on the parent's loop

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class Publisher(_Publisher):
    """Telemetry for any other service: ``with Publisher("shop") as telemetry``. Sends from a daemon thread of its own.

    Everything left out is taken from the ``TIDEGATE_*`` environment that a node agent sets, then from the machine. Raises
    ValueError where no service is named, where a name cannot travel, or where the variables are no access to a broker; after that
    nothing here raises. Where it was started before a fork, each child goes on with the first thing that it records.
    """

    _thread: threading.Thread | None = None
    _resumes = False
    """It was started before the fork that made this process, and has neither been started nor closed here."""

    def start(self) -> None:
        """Begin; returns at once, whether a broker is there or not. A second call does nothing."""
        self._resumes = False
        if self._thread is None:
            self._ending = Future[float]()
            self._final = Stats(0, 0, 0, 0)
            self._thread = threading.Thread(target=self._work, name="tidegate-telemetry", daemon=True)
            self._thread.start()

    def close(self, within_s: float = CLOSE_WITHIN_S) -> Stats:
        """Send the last second and what waits, for at most ``within_s``; return the final counts."""
        self._resumes = False
        thread, self._thread = self._thread, None
        if thread is None:
            return Stats(0, 0, 0, 0)
        self._ending.set_result(within_s)
        thread.join(within_s + 1.0)
        return self._final

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _forked(self) -> None:
        self._resumes = self._resumes or self._thread is not None
        self._thread = None
        # No thread begins here: what other modules do after a fork is not done yet, and a lock of theirs may still be held.
        self._recorder.renew(_now_ms(), self._resume)

    def _resume(self) -> None:
        if self._resumes:
            self.start()

    def _work(self) -> None:
        try:
            # asyncio's own loop, whatever the service has chosen: others ask for names past the executor.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._publish())
        except Exception:
            # The service must go on, whatever is wrong here.
            log.exception("telemetry stopped")

    async def _publish(self) -> None:
        asyncio.get_running_loop().set_default_executor(Lookups())
        pump = _Pump(self._recorder, self._sender())
        pump.start()
        within_s = await asyncio.wrap_future(self._ending)
        self._final = await pump.close(within_s)
