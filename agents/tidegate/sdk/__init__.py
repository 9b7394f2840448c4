"""What a service uses: telemetry, and the three things that let a node agent swap it. A whole first service (with an asyncio
server: ``listener``, ``ready``, and ``stop_accepting`` at SIGTERM):

    from http.server import BaseHTTPRequestHandler
    from tidegate.sdk import Publisher, serve_http

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self):
            with telemetry.request():
                ...

    with Publisher() as telemetry:
        serve_http(Shop)

Light by rule: nothing here needs more than aiokafka and msgspec. Recording never blocks, never raises into the service, and
memory is bounded: rows that cannot be sent are dropped, the oldest first, and counted. What cannot travel, such as a name with
half a character in it, is left out and counted (``Publisher.refused``); the rest of its second leaves.

Servers that fork: every process is a life of its own, and its rows add up with those of the others. A ``Publisher`` may be
started before the fork or after it. Better after it, in each worker: that of the master reports on when no worker is left.
"""

from tidegate.sdk.identity import Identity
from tidegate.sdk.publisher import AsyncPublisher, Publisher
from tidegate.sdk.recorder import Recorder, Refused
from tidegate.sdk.sender import Stats
from tidegate.sdk.service import listener, ready, serve_http, stop_accepting

__all__ = [
    "AsyncPublisher",
    "Identity",
    "Publisher",
    "Recorder",
    "Refused",
    "Stats",
    "listener",
    "ready",
    "serve_http",
    "stop_accepting",
]
