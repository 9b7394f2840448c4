"""Names of gauges, counters and ratios of each service: how many are kept, and under which the rest is summed (``caps``)."""

from collections.abc import Collection, Iterable
from operator import add
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tidegate.kpi.caps import METRICS_PER_NODE_MAX, METRICS_PER_SERVICE_MAX, OTHER, Cap, Refusal
from tidegate.wire.nodeseconds import Extra

FORGET_AFTER_MS = 600_000
"""As long as a baseline: a name that has not been said for so long makes room for another."""

Part = TypeVar("Part", bound="int | tuple[int, int]")


class Said(Struct, array_like=True):
    """Who brought a name, and when it was last in a closed pane."""

    node: str
    last_ms: int


class Metrics(Struct):
    """Names by service, as ``<kind>.<name>``. Plain data; changed in place."""

    services: dict[str, dict[str, Said]] = {}

    def bounded(
        self, service: str, node: str, extra: Extra, guarded: Collection[str], now_ms: int
    ) -> tuple[Extra, list[Refusal]]:
        """Return what a row carries with the names that have room, and who had none. ``guarded``: metrics of guardrails."""
        known = self.services.setdefault(service, {})
        beyond = [name for name in names_of(extra) if name not in known]
        if not beyond:
            return extra, []
        refusals: list[Refusal] = []
        mine = sum(said.node == node for said in known.values())
        for name in beyond:
            cap = None
            if name not in guarded:
                cap = Cap.METRICS_PER_NODE if mine >= METRICS_PER_NODE_MAX else cap
                cap = Cap.METRICS_PER_SERVICE if len(known) >= METRICS_PER_SERVICE_MAX else cap
            if cap is None:
                known[name] = Said(node, now_ms)
                mine += 1
            else:
                refusals.append((cap, service, name))
        if not refusals:
            return extra, []
        gone = {name for _, _, name in refusals}
        kept = replace(
            extra,
            gauges={name: value for name, value in extra.gauges.items() if f"gauge.{name}" not in gone},
            counters=_folded(extra.counters, "counter", gone),
            ratios=_folded(extra.ratios, "ratio", gone),
        )
        return kept, refusals

    def said(self, service: str, names: Iterable[str], end_ms: int) -> None:
        """Note that names stood in a closed pane."""
        known = self.services.get(service)
        for name in names if known else ():
            one = known.get(name) if known else None
            if one is not None:
                one.last_ms = end_ms

    def forget(self, now_ms: int) -> None:
        """Drop what has not been said for ten minutes."""
        for service, known in [*self.services.items()]:
            for name in [name for name, said in known.items() if now_ms - said.last_ms > FORGET_AFTER_MS]:
                del known[name]
            if not known:
                del self.services[service]


def names_of(extra: Extra) -> list[str]:
    """Return the names that a row carries, as its KPIs name them."""
    names = [f"gauge.{name}" for name in extra.gauges] if extra.gauges else []
    names += [f"counter.{name}" for name in extra.counters] if extra.counters else []
    names += [f"ratio.{name}" for name in extra.ratios] if extra.ratios else []
    return names


def _folded(values: dict[str, Part], kind: str, gone: Collection[str]) -> dict[str, Part]:
    """Return counters or ratios with those that have no room summed under one name."""
    kept: dict[str, Part] = {}
    for name, value in values.items():
        under = OTHER if f"{kind}.{name}" in gone else name
        kept[under] = _sum(kept[under], value) if under in kept else value
    return kept


def _sum(one: Any, other: Any) -> Any:
    """Return the sum of two counters, or of two ratios part by part."""
    return tuple(map(add, one, other)) if isinstance(one, tuple) else one + other
