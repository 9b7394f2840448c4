"""Labelled faults: what a bad release does, when, and to whom."""

from enum import StrEnum

from msgspec import Struct


class FaultKind(StrEnum):
    """What a fault changes on the canaries that it hits."""

    ERRORS = "errors"
    """``size``: error ratio that a median node rises to."""
    LATENCY = "latency"
    """``size``: all requests are slower by this share (0.5: half again)."""
    TAIL = "tail"
    """``size``: the requests of the tail are slower by this share; p99 moves, the median does not."""
    CRASH = "crash"
    """The process exits by itself ``size`` times, 5 s apart, and is silent for 2 s each time."""
    SILENCE = "silence"
    """No telemetry any more, though the agent says that it runs."""
    GAUGE = "gauge"
    """``size``: the gauge ``saturation`` is higher by this share."""


class Fault(Struct, frozen=True):
    """A fault of the new version."""

    kind: FaultKind
    size: float = 0.0
    onset_s: int | None = None
    """Seconds from the restart; None: from the first second that a restarted node serves."""
    nodes: int | None = None
    """So many of the canaries, the first ones; None: all."""
    zones: tuple[str, ...] = ()
    """Only canaries in these; empty: in all."""
