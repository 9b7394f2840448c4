"""The last KPIs of one service by cohort, for pictures. Bounded: so many panes of each cohort."""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from tidegate.ports import Record
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.names import service_of

PANES_KEPT = 60


class Pane(Struct, frozen=True):
    """One closed second of one cohort, as ``kpis`` tells it; ratios and milliseconds below 0 mean: no requests."""

    service: str
    subject: str
    cohort: str
    version: str
    window_s: int
    end_ms: int
    nodes: int
    rate: float
    error_ratio: float
    p95_ms: float


class Panes:
    """Keeps the newest panes by cohort; a pane that comes again replaces itself."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.by_cohort: dict[str, deque[Pane]] = {}

    def see(self, records: Iterable[Record]) -> None:
        """Fold records of ``kpis``; other services, variants of flags, other windows and what cannot be read are passed over."""
        for record in records:
            if record.value is None or record.key != self._service:
                continue
            try:
                pane = decode(record.value, Pane)
            except Malformed:
                continue
            if pane.window_s == 1 and service_of(pane.subject) is not None:
                kept = self.by_cohort.setdefault(pane.cohort, deque(maxlen=PANES_KEPT))
                if not kept or pane.end_ms > kept[-1].end_ms:
                    kept.append(pane)
