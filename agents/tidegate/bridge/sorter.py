"""Requests on their way to topic ``otlp``: sorted out by process, keyed by node. Any number of bridges may do so.

What is told as received is durable. A request that is received twice changes nothing: its points are old by then.
"""

import asyncio

from tidegate.bridge.metrics import Metrics
from tidegate.otlp.messages import Request
from tidegate.otlp.sorting import Sorted, sort
from tidegate.ports import Log
from tidegate.wire.otlp import encode

TOPIC = "otlp"
LARGE_BYTES = 1 << 18
"""Requests beyond this are sorted out in a thread of their own, so that others need not wait for them."""


class Sorter:
    """``node_from``: attributes that name a node, the first that is there."""

    def __init__(self, log: Log, metrics: Metrics, node_from: tuple[str, ...]) -> None:
        self._log = log
        self._metrics = metrics
        self._node_from = node_from

    async def pass_on(self, request: Request, size_bytes: int) -> Sorted:
        """Write what a request holds and wait until it is durable. SendUnknown where no answer comes in time."""
        if size_bytes > LARGE_BYTES:
            found = await asyncio.to_thread(sort, request, self._node_from)
        else:
            found = sort(request, self._node_from)
        for reason, number in found.rejected.items():
            self._metrics.rejected.labels(reason.kind).inc(number)
        sends = [self._log.append(TOPIC, export.node, encode(export)) for export in found.exports]
        if len(sends) == 1:
            await sends[0]
        else:
            await asyncio.gather(*sends)
        self._metrics.exports.inc(len(sends))
        return found


__all__ = ["TOPIC", "Sorter"]
