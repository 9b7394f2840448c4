"""What one side of a comparison adds up to over some panes: plain data, for windows, baselines and checkpoints."""

from operator import add
from typing import TypeVar

from msgspec import Struct

Number = TypeVar("Number", int, float)


class Sums(Struct, frozen=True):
    """Requests, errors, latency counts (160, or none), gauges as (sum, rows), ratios as (part, whole), counters."""

    panes: int = 0
    requests: int = 0
    errors: int = 0
    counts: list[int] = []
    gauges: dict[str, tuple[float, int]] = {}
    ratios: dict[str, tuple[int, int]] = {}
    counters: dict[str, int] = {}

    @property
    def error_ratio(self) -> float:
        """Share of requests that failed; 0.0 where there were none."""
        return self.errors / self.requests if self.requests else 0.0


def plus(one: Sums, other: Sums) -> Sums:
    """Return both together. Associative and commutative, but for the last bits of gauges."""
    counts = [*map(add, one.counts, other.counts)] if one.counts and other.counts else one.counts or other.counts
    return Sums(
        one.panes + other.panes,
        one.requests + other.requests,
        one.errors + other.errors,
        counts,
        _pairs(one.gauges, other.gauges),
        _pairs(one.ratios, other.ratios),
        _numbers(one.counters, other.counters),
    )


def _pairs(one: dict[str, tuple[Number, int]], other: dict[str, tuple[Number, int]]) -> dict[str, tuple[Number, int]]:
    if not one or not other:
        return one or other
    both = dict(one)
    for name, (part, whole) in other.items():
        before = both.get(name)
        both[name] = (part, whole) if before is None else (before[0] + part, before[1] + whole)
    return both


def _numbers(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
