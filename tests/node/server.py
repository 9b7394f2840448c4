"""A service in forty lines: socket activation, readiness by datagram, drain on SIGTERM. The artifact is JSON that says how it
behaves: version, start_delay_s, crash (before it is ready), silent (never ready), die_after_s, delay_s of each answer, helper
(it starts a program in a session of its own), worker (it starts one that stays in its group and holds the socket).
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path


async def main(behaviour: dict) -> None:
    if behaviour.get("crash"):
        sys.exit("this version cannot start: no such table")
    await asyncio.sleep(behaviour.get("start_delay_s", 0))
    loop, stop, busy = asyncio.get_running_loop(), asyncio.Event(), set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        busy.add(task)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(behaviour.get("delay_s", 0.005))
        body = behaviour["version"].encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()
        busy.discard(task)

    loop.add_signal_handler(signal.SIGTERM, stop.set)  # before the first connection is taken, or its client may be let down
    listener = socket.socket(fileno=3)
    assert os.environ["LISTEN_PID"] == str(os.getpid())
    server = await asyncio.start_server(answer, sock=listener)
    if "die_after_s" in behaviour:
        loop.call_later(behaviour["die_after_s"], os._exit, 3)
    if not behaviour.get("silent"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, contextlib.suppress(OSError):  # the agent may be dead
            told.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    await stop.wait()
    for one in server.sockets:  # as tidegate.sdk's stop_accepting, which would take longer to import than this to start
        loop.remove_reader(one)
    await asyncio.sleep(0)
    server.close()
    for _ in range(10):  # what was accepted a moment ago is not in `busy` before the loop has turned a few times
        await asyncio.sleep(0.005)
    await asyncio.gather(*busy)


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    if told.get("helper"):
        left = {
            name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")
        }  # as sd_listen_fds(1) leaves it
        os.posix_spawnp("sleep", ["sleep", "60"], left, setsid=True)
    if told.get("worker"):
        os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
    asyncio.run(main(told))
