"""Liveness rows (A5): one a second for each service that ``desired`` names, whether the service itself speaks or not."""

from tidegate.node.rows import Rows
from tidegate.reconcile.held import Held
from tidegate.reconcile.status import Status
from tidegate.wire.telemetry import Source, Telemetry

NO_VERSION = "none"
"""A row must name a version; this one says that there is none yet."""


class Liveness:
    """Makes the rows."""

    def __init__(self, rows: Rows, node: str, boot: str, place: tuple[str, dict[str, str]]) -> None:
        self._rows = rows
        self._node = node
        self._boot = boot
        self._zone, self._labels = place
        self._seq: dict[str, int] = {}

    def offer(self, service: str, status: Status, held: Held, end_ms: int) -> None:
        """Queue the row of the second that ends at ``end_ms``."""
        self._seq[service] = self._seq.get(service, 0) + 1
        self._rows.put(
            Telemetry(
                node=self._node,
                service=service,
                boot=self._boot,
                seq=self._seq[service],
                version=status.version or NO_VERSION,
                start_ms=end_ms - 1_000,
                source=Source.AGENT,
                zone=self._zone,
                labels=self._labels,
                dropped=self._rows.dropped,
                state=status.state,
                exits=held.exits,
                changed_ms=held.changed_ms,
            )
        )
