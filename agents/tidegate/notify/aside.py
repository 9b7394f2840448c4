"""What blocks, in threads that nobody has to wait for.

The loop's own executor will not do: it has few threads, six on two cores, which everybody shares, so that one receiver that hangs
would take another of them with each try; and the end of the process waits for them.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tidegate.notify.targets import Undelivered

T = TypeVar("T")


class Aside:
    """The threads of one receiver: at most ``most`` at once, so that what hangs costs nobody else. They end with the process."""

    def __init__(self, name: str, most: int = 1) -> None:
        self._name = name
        self._most = most
        self._under_way: list[Future[Any]] = []

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, raise what it raises. Undelivered, and nothing begins, where ``most`` have not ended.

        A cancellation ends the waiting and not the work: that keeps its place until it has ended.
        """
        self._under_way = [one for one in self._under_way if not one.done()]
        if len(self._under_way) >= self._most:
            raise Undelivered("what was begun before has not ended yet")
        future: Future[T] = Future()
        threading.Thread(target=_do, args=(work, future), name=f"notify-{self._name}", daemon=True).start()
        self._under_way.append(future)
        return await asyncio.wrap_future(future)


def _do(work: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
        future.set_exception(error)
    else:
        future.set_result(result)
