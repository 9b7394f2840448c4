"""Where a publisher's thread asks for the broker's address, so that no fork falls into the question.

The resolver of the C library holds locks meanwhile. A child that is forked then has them held by nobody, and whoever asks for a
name in it waits for ever: a worker whose telemetry never begins. ``os.fork`` therefore waits until the question is answered.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

FORK_WAITS_MOST_S = 1.0
"""A name server that does not answer must not keep a service from forking: one fork waits for each question, for so long."""


class Lookups(ThreadPoolExecutor):
    """The default executor of an event loop that asks for names and nothing else; one question at a time in the process."""

    asking: ClassVar = threading.RLock()
    hangs: ClassVar = False
    """Whether a fork has waited in vain for the question under way."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="tidegate-lookup")

    def submit(self, ask: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Ask in the executor's thread, outside of forks."""
        return super().submit(_ask, ask, *args, **named)


def _ask(ask: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    with Lookups.asking:
        Lookups.hangs = False
        return ask(*args, **named)


def _before_fork() -> None:
    Lookups.hangs = not Lookups.asking.acquire(timeout=0.0 if Lookups.hangs else FORK_WAITS_MOST_S)


def _after_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # it did not wait longer than it may
        Lookups.asking.release()


def _after_in_child() -> None:
    Lookups.asking = threading.RLock()  # who asks is not in the child


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
