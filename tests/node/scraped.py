"""A service without an SDK: it knows prometheus_client and nothing of Tidegate. Socket activation, readiness, drain as in
``server.py``; ``/fail`` answers 500, ``/slow`` hangs the page of metrics, ``/metrics`` is the library's own.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.exposition import choose_encoder

TOTAL = Counter("http_requests", "Requests.", ("code",))
SECONDS = Histogram("http_request_duration_seconds", "Latency.", buckets=(0.001, 0.01, 0.1, 1))


async def main(behaviour: dict) -> None:
    stop, hang, busy = asyncio.Event(), asyncio.Event(), set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        busy.add(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, accept = head.split()[1], next((line[7:] for line in head.splitlines() if line.startswith("Accept:")), "")
        code, kind, body = 200, "text/plain", behaviour["version"].encode()
        if path == "/metrics":
            if hang.is_set():
                await stop.wait()
            encoder, kind = choose_encoder(accept)
            body = encoder(REGISTRY)
        elif path == "/slow":
            hang.set()
        else:
            began = time.perf_counter()
            code = 500 if path == "/fail" else 200
            SECONDS.observe(time.perf_counter() - began)
            TOTAL.labels(str(code)).inc()
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (code, kind.encode(), len(body), body)
        )
        await writer.drain()
        writer.close()
        busy.discard(task)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(answer, sock=socket.socket(fileno=3))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    await stop.wait()
    for one in server.sockets:  # as in server.py
        asyncio.get_running_loop().remove_reader(one)
    await asyncio.sleep(0)
    server.close()
    await asyncio.sleep(0.05)
    await asyncio.gather(*busy)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
