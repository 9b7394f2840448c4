"""A server that forks, as a program: ``forking.py sync|async before|after WORKERS``. Worker N serves N requests, from 1 on.

``before``: the publisher begins in the master, as with gunicorn's ``--preload``; ``after``: each worker makes its own.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable

from tidegate.sdk import AsyncPublisher, Publisher


def fork(workers: int, work: Callable[[int], None]) -> None:
    for number in range(1, workers + 1):
        if os.fork() == 0:
            work(number)
            os._exit(0)
    for _ in range(workers):
        assert os.wait()[1] == 0


def sync_main(made: str, workers: int) -> None:
    def serve(telemetry: Publisher, requests: int) -> None:
        for _ in range(requests):
            telemetry.record(0.01)
        telemetry.close(30.0)

    def work(number: int) -> None:
        if made == "before":
            serve(master, number)  # nobody starts it here
        else:
            with Publisher() as telemetry:
                serve(telemetry, number)

    with Publisher() as master:
        master.record(0.01)
        fork(workers, work)
        master.close(30.0)


async def async_serve(telemetry: AsyncPublisher, requests: int) -> None:
    await telemetry.start()
    for _ in range(requests):
        telemetry.record(0.01)
    await telemetry.close(30.0)


def async_main(made: str, workers: int) -> None:
    master = AsyncPublisher()

    def work(number: int) -> None:
        asyncio.run(async_serve(master if made == "before" else AsyncPublisher(), number))

    async def lead() -> None:
        await master.start()
        master.record(0.01)
        fork(workers, lambda number: threaded(work, number))
        await master.close(30.0)

    asyncio.run(lead())


def threaded(work: Callable[[int], None], number: int) -> None:
    """Work beside the parent's loop, on which the fork was."""
    thread = threading.Thread(target=work, args=(number,))
    thread.start()
    thread.join()


if __name__ == "__main__":
    {"sync": sync_main, "async": async_main}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
