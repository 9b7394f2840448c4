"""The last KPIs and scores of each service, as bytes until somebody asks. Bounded by services and by panes of each."""

from collections import OrderedDict, deque
from collections.abc import Iterable

from tidegate.ports import Record
from tidegate.wire.codec import Malformed, convert, decode
from tidegate.wire.judgement import Kpi, Score

TOPICS = ("kpis", "scores")
SERVICES_KEPT = 500
PANES_KEPT = {"kpis": 1_200, "scores": 2_400}
"""Of each service: some minutes of every cohort."""

_KPI_FIELDS = frozenset(Kpi.__struct_fields__)


class Recent:
    """``see`` takes records as they come; what cannot be read is left out when it is asked for."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[str, deque[bytes]]] = {topic: OrderedDict() for topic in TOPICS}

    def see(self, records: Iterable[Record]) -> None:
        """Keep records; the service that was silent longest goes where there are too many."""
        for record in records:
            if record.value is None or record.key is None or record.topic not in self._kept:
                continue
            services = self._kept[record.topic]
            if record.key not in services:
                services[record.key] = deque(maxlen=PANES_KEPT[record.topic])
                if len(services) > SERVICES_KEPT:
                    services.popitem(last=False)
            services.move_to_end(record.key)
            services[record.key].append(record.value)

    def kpis(self, service: str) -> list[Kpi]:
        """Return panes of a service, the newest first."""
        return [one for raw in reversed(self._kept["kpis"].get(service, ())) if (one := _kpi(raw)) is not None]

    def scores(self, service: str) -> list[Score]:
        """Return scores of a service, the newest first."""
        return [one for raw in reversed(self._kept["scores"].get(service, ())) if (one := _score(raw)) is not None]


def _kpi(raw: bytes) -> Kpi | None:
    """Return the KPI that a flat record holds: what is no field of it is one of its values."""
    try:
        flat = decode(raw, dict[str, str | float | int])
        values = {name: value for name, value in flat.items() if name not in _KPI_FIELDS and isinstance(value, int | float)}
        return convert({name: flat[name] for name in _KPI_FIELDS & flat.keys()} | {"values": values}, Kpi)
    except Malformed:
        return None


def _score(raw: bytes) -> Score | None:
    try:
        return decode(raw, Score)
    except Malformed:
        return None


__all__ = ["Recent"]
