"""What happened this second, added up. Safe to call from any thread; a call costs a few microseconds and cannot fail.

Whatever a service says, the row that leaves is one that readers take. Numbers of other libraries (numpy, Decimal) become plain
ones; what has no place on the wire is refused and counted by kind (``Refused``), and of each kind the log says so once.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import SupportsFloat, SupportsIndex

from tidegate.kpi.buckets import histogram_of, slot_of
from tidegate.sdk.identity import Identity
from tidegate.sdk.plain import number_of, text_of, truth_of, whole_of
from tidegate.wire.telemetry import COUNT_MAX, FIELDS_MAX, GAUGE_MAX, HISTOGRAM_SLOTS, SLICES_MAX, Slice, Telemetry

COUNT_MOST = COUNT_MAX - 1
LENGTH_MOST_MS = 60_000

log = logging.getLogger("tidegate.sdk")


class Refused(StrEnum):
    """Why something does not leave as a service said it."""

    NAME = "name"
    VALUE = "value"
    ROOM = "room"
    CUT = "cut"


_RULES = {
    Refused.NAME: "a name is a text of 1 to 256 characters without lone surrogates",
    Refused.VALUE: f"seconds and gauges are numbers (gauges within ±{GAUGE_MAX:g}), counts and ratios whole ones from 0, "
    "no part is above its whole, slices are names",
    Refused.ROOM: f"one second has room for {FIELDS_MAX} gauges, counters and ratios each and for {SLICES_MAX} slices",
    Refused.CUT: f"what one second adds up to is at most {COUNT_MOST}; a ratio stays what it is and loses weight",
}


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
    """Adds up one second after another; ``cut`` ends one and returns its row.

    Its rows are those of one life of one process (A1): ``boot`` is that of the identity with a suffix of its own. A child that is
    forked must ``renew`` it; publishers do so by themselves.
    """

    def __init__(self, identity: Identity, started_ms: int) -> None:
        self._identity = identity
        self.renew(started_ms)

    def renew(self, now_ms: int, begin: Callable[[], None] | None = None) -> None:
        """Begin another life: a boot of its own, rows from 1 on, nothing of what was said before. Only while no other thread is
        at it, as in a child right after the fork.

        ``begin`` is called once, before the first thing is recorded.
        """
        self._lock = threading.Lock()  # who held the old one at the fork is not in the child
        self._begin = begin
        self.boot = self._identity.life()
        self._started_ms = now_ms
        self._seq = 0
        self._refused: dict[Refused, int] = {}
        self._clear(now_ms)

    @property
    def refused(self) -> Mapping[Refused, int]:
        """How often something was refused in this life, by kind."""
        with self._lock:
            return dict(self._refused)

    def record(self, seconds: SupportsFloat, *, error: bool = False, slices: Iterable[str] = ()) -> None:
        """Count one request that took ``seconds``. ``slices`` names its parts: ``route=/cart``, ``flag/web/dark=on``.

        A request counts whatever is wrong with the rest of it: of unknown length it is a short one, and an ``error`` that is
        neither true nor false is one.
        """
        took_s, failed, (names, whole) = number_of(seconds), truth_of(error), _listed(slices)
        slot = slot_of(took_s) if took_s is not None and took_s > 0 else 0
        refused: list[tuple[Refused, object]] = []
        if took_s is None or failed is None or not whole:
            said = {"seconds": took_s is not None, "error": failed is not None, "slices": whole}
            refused += [(Refused.VALUE, what) for what, good in said.items() if not good]
        self._ready()
        with self._lock:
            self._all.add(slot, failed is not False)
            for name in names:
                text, why = _admitted(self._slices, name, SLICES_MAX)
                if why is not None:
                    refused.append((why, name))
                    continue
                tally = self._slices.get(text)
                if tally is None:
                    tally = self._slices[text] = _Tally()
                tally.add(slot, failed is not False)
        for why, what in refused:
            self._refuse(why, what)

    def gauge(self, name: str, value: SupportsFloat) -> None:
        """Say what a quantity is now; the last word of a second counts. Beyond ±1e100, and what is no number, is refused."""
        number = number_of(value)
        if number is None or not -GAUGE_MAX <= number <= GAUGE_MAX:
            self._refuse(Refused.VALUE, name)
            return
        self._ready()
        with self._lock:
            text, why = _admitted(self._gauges, name, FIELDS_MAX)
            if why is None:
                self._gauges[text] = number
        self._refuse(why, name)

    def count(self, name: str, amount: SupportsIndex = 1) -> None:
        """Add a whole number, 0 or more, to a custom counter."""
        number = whole_of(amount)
        if number is None or number < 0:
            self._refuse(Refused.VALUE, name)
            return
        self._ready()
        with self._lock:
            text, why = _admitted(self._counters, name, FIELDS_MAX)
            if why is None:
                total = self._counters.get(text, 0) + number
                self._counters[text] = min(total, COUNT_MOST)
                why = Refused.CUT if total > COUNT_MOST else None
        self._refuse(why, name)

    def ratio(self, name: str, part: SupportsIndex, whole: SupportsIndex = 1) -> None:
        """Add to a custom ratio, such as cache hits of look-ups: whole numbers, 0 <= ``part`` <= ``whole``."""
        some, every = whole_of(part), whole_of(whole)
        if some is None or every is None or not 0 <= some <= every:
            self._refuse(Refused.VALUE, name)
            return
        self._ready()
        with self._lock:
            text, why = _admitted(self._ratios, name, FIELDS_MAX)
            if why is None:
                before = self._ratios.get(text, (0, 0))
                self._ratios[text] = (before[0] + some, before[1] + every)
        self._refuse(why, name)

    def cut(self, now_ms: int, dropped: int = 0) -> Telemetry:
        """Return the row from the last cut to now, and begin the next. ``dropped``: rows lost so far by the sender."""
        with self._lock:
            tally, slices = self._all, self._slices
            gauges, counters, ratios = self._gauges, self._counters, self._ratios
            start_ms = self._start_ms
            self._seq += 1
            seq = self._seq
            self._clear(now_ms)
        for name, (_, whole) in ratios.items():
            self._refuse(Refused.CUT if whole > COUNT_MOST else None, name)
        identity = self._identity
        # It ends now whatever was before: where nobody cut for long (a child that had nothing to say), or the clock was set back.
        length_ms = min(max(now_ms - start_ms, 1), LENGTH_MOST_MS)
        return Telemetry(
            node=identity.node,
            service=identity.service,
            boot=self.boot,
            seq=seq,
            version=identity.version,
            start_ms=max(now_ms - length_ms, 0),
            length_ms=length_ms,
            requests=tally.requests,
            errors=tally.errors,
            latency=histogram_of(tally.counts),
            cohort=identity.cohort,
            zone=identity.zone,
            labels=identity.labels,
            uptime_s=max(now_ms - self._started_ms, 0) / 1000,
            gauges=gauges,
            counters=counters,
            ratios={name: _fitting(part, whole) for name, (part, whole) in ratios.items()},
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
        """Sums of any size: only at the end of a second is it known by how much they must be less."""

    def _ready(self) -> None:
        if self._begin is None:
            return
        with self._lock:
            begin, self._begin = self._begin, None
        if begin is not None:
            try:
                begin()
            except Exception:
                log.exception("telemetry does not begin in this process")

    def _refuse(self, why: Refused | None, what: object) -> None:
        """Count, and say it of each kind once; nothing to do without a kind. Not under the lock: a handler of the log may count
        lines here.
        """
        if why is None:
            return
        with self._lock:
            first = why not in self._refused
            self._refused[why] = self._refused.get(why, 0) + 1
        if first:
            shown = ascii(what[:80]) if type(what) is str else f"of type {type(what).__name__}"
            log.warning("telemetry refuses %s, and from now on counts what is like it: %s", shown, _RULES[why])


def _listed(names: Iterable[object]) -> tuple[list[object], bool]:
    """Return each of some names once, and whether they could all be read. Of more than have room one too many is enough."""
    found: list[object] = []
    try:
        for name in (names,) if isinstance(names, str) else names:
            if name not in found:
                found.append(name)
            if len(found) > SLICES_MAX:
                break
    except Exception:  # noqa: BLE001 - of whatever class they are
        return found, False
    return found, True


def _admitted(known: Mapping[str, object], name: object, most: int) -> tuple[str, Refused | None]:
    """Return a name as it travels, and why it does not where it has none or no room."""
    if type(name) is str and name in known:
        return name, None
    text = text_of(name)
    if text is None:
        return "", Refused.NAME
    return text, None if text in known or len(known) < most else Refused.ROOM


def _fitting(part: int, whole: int) -> tuple[int, int]:
    """Return a ratio whose whole is at most ``COUNT_MOST``; it is off by less than 5e-10.

    >>> _fitting(1, 4), _fitting(10**9, 4 * 10**9)
    ((1, 4), (536870911, 2147483647))
    """
    return (part, whole) if whole <= COUNT_MOST else (part * COUNT_MOST // whole, COUNT_MOST)
