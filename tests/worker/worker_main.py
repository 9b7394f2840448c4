"""A worker as a process of its own, to be killed: ``worker_main.py ROLE BOOTSTRAP PREFIX``."""

import asyncio
import signal
import sys

import uvloop

from tidegate.broker import Connection
from tidegate.worker import Role, Worker


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    role, bootstrap, prefix = sys.argv[1:]
    await Worker(Role(role), Connection(bootstrap, prefix), instance=f"{role}-0").run(stop)


if __name__ == "__main__":
    uvloop.run(main())
