"""Publishers: a recorder, a pump that cuts it once a second, a sender. One form for asyncio, one with a thread of its own."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from tidegate.runtime.access import Access, access_in
from tidegate.sdk.identity import Identity
from tidegate.sdk.recorder import Recorder
from tidegate.sdk.sender import Sender, Stats
from tidegate.sdk.slices import begin, end

CLOSE_WITHIN_S = 3.0
BOOTSTRAP_DEFAULT = "127.0.0.1:9092"

log = logging.getLogger("tidegate.sdk")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
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
    """What both forms share: who speaks, where to, and the calls that a service makes (from any thread, at any time)."""

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
            self.record(took_s, error=error, slices=noted.union(slices) if noted else slices)

    def _sender(self) -> Sender:
        client_id = f"tidegate-sdk-{self.identity.service}-{self.identity.node}"
        return Sender(self._bootstrap, self._prefix, client_id=client_id, access=self._access)


class AsyncPublisher(_Publisher):
    """Telemetry for a service on asyncio: ``async with AsyncPublisher("shop") as telemetry``.

    Everything left out is taken from the ``TIDEGATE_*`` environment that a node agent sets, then from the machine. Raises
    ValueError where no service is named, or where the variables are no access to a broker; after that nothing here raises.
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

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class Publisher(_Publisher):
    """Telemetry for any other service: ``with Publisher("shop") as telemetry``. Sends from a daemon thread of its own.

    Everything left out is taken from the ``TIDEGATE_*`` environment that a node agent sets, then from the machine. Raises
    ValueError where no service is named, or where the variables are no access to a broker; after that nothing here raises.
    """

    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; returns at once, whether a broker is there or not. A second call does nothing."""
        if self._thread is None:
            self._ending = threading.Event()
            self._final = Stats(0, 0, 0, 0)
            self._thread = threading.Thread(target=self._work, name="tidegate-telemetry", daemon=True)
            self._thread.start()

    def close(self, within_s: float = CLOSE_WITHIN_S) -> Stats:
        """Send the last second and what waits, for at most ``within_s``; return the final counts."""
        thread, self._thread = self._thread, None
        if thread is None:
            return Stats(0, 0, 0, 0)
        self._within_s = within_s
        self._ending.set()
        thread.join(within_s + 1.0)
        return self._final

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _work(self) -> None:
        try:
            asyncio.run(self._publish())
        except Exception:
            # The service must go on, whatever is wrong here.
            log.exception("telemetry stopped")

    async def _publish(self) -> None:
        pump = _Pump(self._recorder, self._sender())
        pump.start()
        await asyncio.to_thread(self._ending.wait)
        self._final = await pump.close(self._within_s)
