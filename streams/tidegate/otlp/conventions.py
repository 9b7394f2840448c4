"""Which metrics are requests: OpenTelemetry's semantic conventions 1.44, and what came before them.

| metric | before it | what it counts | failed: ``error.type``, or |
|---|---|---|---|
| ``http.server.request.duration`` | ``http.server.duration`` | requests answered | status 500 and above |
| ``rpc.server.call.duration`` | ``rpc.server.duration`` | calls answered | a status of gRPC that blames the server |
| ``messaging.process.duration`` | | messages worked on | |

What a service does itself counts, from all three together; what it asks of others (``http.client...``, ``db.client...``) does
not. Of a metric and the one before it, where a service writes both (``OTEL_SEMCONV_STABILITY_OPT_IN=http/dup``), the newer one
counts.
"""

from collections.abc import Mapping

from msgspec import Struct

ERROR_TYPE = "error.type"
HTTP_STATUS = ("http.response.status_code", "http.status_code")
GRPC_STATUS = ("rpc.response.status_code", "rpc.grpc.status_code")
SERVER_ERROR_MIN = 500
GRPC_BLAMES_SERVER = frozenset(
    {"2", "4", "12", "13", "14", "15"} | {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""As the conventions for gRPC say of servers; the others blame who asked."""

UNITS_S: Mapping[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Convention(Struct, frozen=True):
    """A metric of durations. ``newer``: the metric that counts instead where both are there. ``unit_s``: where it names none."""

    newer: str = ""
    unit_s: float = 1.0


REQUESTS: Mapping[str, Convention] = {
    "http.server.request.duration": Convention(),
    "http.server.duration": Convention(newer="http.server.request.duration", unit_s=1e-3),
    "rpc.server.call.duration": Convention(),
    "rpc.server.duration": Convention(newer="rpc.server.call.duration", unit_s=1e-3),
    "messaging.process.duration": Convention(),
}

LEVELS = frozenset({"http.server.active_requests", "process.cpu.utilization", "process.memory.usage"})
"""Numbers that are shown as gauges: how full a process is."""


def failed(attributes: Mapping[str, str]) -> bool:
    """Return whether requests with these attributes failed by the server's fault.

    >>> failed({"http.response.status_code": "503"}), failed({"http.response.status_code": "404"}), failed({"error.type": "x"})
    (True, False, True)
    """
    if attributes.get(ERROR_TYPE):
        return True
    status = next((attributes[name] for name in HTTP_STATUS if name in attributes), "")
    if status.isascii() and status.isdigit() and len(status) <= 9:
        return int(status) >= SERVER_ERROR_MIN
    return next((attributes[name] for name in GRPC_STATUS if name in attributes), "") in GRPC_BLAMES_SERVER
