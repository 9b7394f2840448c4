"""What happened this second, added up. Safe to call from any thread; a call costs a few microseconds and cannot fail.

Bounds: names beyond the limits of the wire (64 gauges, counters and ratios, 32 slices) are ignored and counted as ``overflow``.
"""

import threading
from collections.abc import Iterable, Mapping

from tidegate.kpi.buckets import histogram_of, slot_of
from tidegate.sdk.identity import Identity
from tidegate.wire.telemetry import COUNT_MAX, FIELDS_MAX, GAUGE_MAX, HISTOGRAM_SLOTS, SLICES_MAX, Slice, Telemetry

LABEL_LENGTH_MAX = 256


class _Tally:
    """Requests, errors and latency counts of the whole traffic or of one slice."""

    __slots__ = ("counts", "errors", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.counts = [0] * HISTOGRAM_SLOTS

    def add(self, slot: int, error: bool) -> None:  # noqa: FBT001 - one hot path, two callers
        self.requests += 1
        self.errors += error
        self.counts[slot] += 1


class Recorder:
    """Adds up one second after another; ``cut`` ends one and returns its row."""

    def __init__(self, identity: Identity, started_ms: int) -> None:
        self._identity = identity
        self._started_ms = started_ms
        self._lock = threading.Lock()
        self._seq = 0
        self.overflow = 0
        self._clear(started_ms)

    def record(self, seconds: float, *, error: bool = False, slices: Iterable[str] = ()) -> None:
        """Count one request that took ``seconds``. ``slices`` names its parts: ``route=/cart``, ``flag/web/dark=on``."""
        slot = slot_of(seconds) if seconds > 0 else 0
        with self._lock:
            self._all.add(slot, error)
            for name in slices:
                tally = self._slices.get(name)
                if tally is None:
                    if not self._admits(self._slices, name, SLICES_MAX):
                        continue
                    tally = self._slices[name] = _Tally()
                tally.add(slot, error)

    def gauge(self, name: str, value: float) -> None:
        """Say what a quantity is now; the last word of a second counts. Beyond ±1e100, and what is no number, is ignored."""
        if -GAUGE_MAX <= value <= GAUGE_MAX:
            with self._lock:
                if self._admits(self._gauges, name, FIELDS_MAX):
                    self._gauges[name] = value
        else:
            self.overflow += 1

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a custom counter."""
        with self._lock:
            if amount >= 0 and self._admits(self._counters, name, FIELDS_MAX):
                self._counters[name] = min(self._counters.get(name, 0) + amount, COUNT_MAX - 1)

    def ratio(self, name: str, part: int, whole: int = 1) -> None:
        """Add to a custom ratio, such as cache hits of look-ups."""
        with self._lock:
            if 0 <= part <= whole and self._admits(self._ratios, name, FIELDS_MAX):
                before = self._ratios.get(name, (0, 0))
                self._ratios[name] = (before[0] + part, before[1] + whole)

    def cut(self, now_ms: int, dropped: int = 0) -> Telemetry:
        """Return the row from the last cut to now, and begin the next. ``dropped``: rows lost so far by the sender."""
        with self._lock:
            tally, slices = self._all, self._slices
            gauges, counters, ratios = self._gauges, self._counters, self._ratios
            start_ms = self._start_ms
            self._seq += 1
            self._clear(now_ms)
        identity = self._identity
        return Telemetry(
            node=identity.node,
            service=identity.service,
            boot=identity.boot,
            seq=self._seq,
            version=identity.version,
            start_ms=start_ms,
            length_ms=min(max(now_ms - start_ms, 1), 60_000),
            requests=tally.requests,
            errors=tally.errors,
            latency=histogram_of(tally.counts),
            cohort=identity.cohort,
            zone=identity.zone,
            labels=identity.labels,
            uptime_s=max(now_ms - self._started_ms, 0) / 1000,
            gauges=gauges,
            counters=counters,
            ratios=ratios,
            slices={name: Slice(part.requests, part.errors, histogram_of(part.counts)) for name, part in slices.items()},
            dropped=dropped,
        )

    def _clear(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._all = _Tally()
        self._slices: dict[str, _Tally] = {}
        self._gauges: dict[str, float] = {}
        self._counters: dict[str, int] = {}
        self._ratios: dict[str, tuple[int, int]] = {}

    def _admits(self, known: Mapping[str, object], name: str, most: int) -> bool:
        if name in known or (len(known) < most and 0 < len(name) <= LABEL_LENGTH_MAX):
            return True
        self.overflow += 1
        return False
