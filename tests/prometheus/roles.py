"""Every metric of every role, taken from the collectors that the roles register; and docs/metrics.md, made of them:
``PYTHONPATH=. .venv/bin/python -m tests.prometheus.roles`` writes it.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from tests.cli.kit import NODES, World

from tidegate.api import Board, Control, Mirror
from tidegate.api import Metrics as ApiMetrics
from tidegate.api.metrics_kpis import KpiMetrics
from tidegate.api.metrics_rollouts import RolloutMetrics
from tidegate.bridge import Metrics as BridgeMetrics
from tidegate.decider.metrics import Metrics as DecideMetrics
from tidegate.node.metrics import NodeMetrics
from tidegate.notify import Gatekeeper
from tidegate.notify.metrics import Metrics as NotifyMetrics
from tidegate.wire.documents import KeyRole
from tidegate.worker.metrics import ExperimentMetrics, IntakeMetrics, JudgeMetrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN, END = "python -m tests.prometheus.roles` -->\n", "<!-- end -->"


class Metric(NamedTuple):
    """One metric as a scrape names it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def _api(registry: CollectorRegistry, world: World) -> None:
    mirror = Mirror(world.log, world.clock, world.home.trust)
    Control(mirror, world.log, world.clock, world.home.signer(KeyRole.API), registry)
    ApiMetrics(registry, Board(world.log, world.clock, world.home.trust))
    registry.register(KpiMetrics(mirror.measured, world.clock.now_ms))
    registry.register(RolloutMetrics(mirror))


def _notify(registry: CollectorRegistry, world: World) -> None:
    NotifyMetrics(registry)
    Gatekeeper(world.log, world.clock, world.home.signer(KeyRole.GATE), [], registry=registry)


ROLES: dict[str, Callable[[CollectorRegistry, World], object]] = {
    "intake": lambda registry, _: IntakeMetrics(registry),
    "judge": lambda registry, _: JudgeMetrics(registry),
    "experiment": lambda registry, _: ExperimentMetrics(registry),
    "bridge": lambda registry, _: BridgeMetrics(registry),
    "decide": lambda registry, _: DecideMetrics(registry),
    "node": lambda registry, world: registry.register(NodeMetrics(world._agent(NODES[0]))),
    "notify": _notify,
    "api": _api,
}


@cache
def metrics() -> dict[str, list[Metric]]:
    """Every metric of each role, by name."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        assert world.type("init", *(f"--node={node}" for node in NODES)).code == 0
        found = {}
        for role, make in ROLES.items():
            registry = CollectorRegistry()
            make(registry, world)
            found[role] = sorted(metric for collector in registry._collector_to_names for metric in _of(collector))
    return found


def table() -> str:
    """The page's tables."""
    parts = []
    for role, found in metrics().items():
        rows = "".join(f"| `{one.name}` | {one.kind} | {', '.join(one.labels)} | {one.text} |\n" for one in found)
        parts.append(f"### {role}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{rows}")
    return "\n".join(parts)


def page(text: str) -> str:
    """The page with the tables as they are in the code."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def _of(collector: Collector) -> Iterator[Metric]:
    if hasattr(collector, "_labelnames"):  # a Counter or Gauge of its own
        yield _metric(collector, collector._type, collector._labelnames, collector._documentation)
        return
    for family in collector.collect():
        yield _metric(family, family.type, family._labelnames, family.documentation)


def _metric(one: Any, kind: str, labels: tuple[str, ...], text: str) -> Metric:
    name = one.name if isinstance(one, Family) else one._name
    return Metric(f"{name}_total" if kind == "counter" else name, kind, tuple(labels), text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
