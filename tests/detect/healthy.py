"""A fleet that behaves as told, second by second, for tests of judgement: a simulated world with a generator passed in."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge
from tidegate.kpi.pane import CohortPane, NodePane, ServicePane
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import Action
from tidegate.wire.telemetry import HISTOGRAM_SLOTS, ServiceState

START_MS = 1_700_000_000_000
OLD, NEW = "v1", "v2"


class World(Struct, frozen=True, kw_only=True):
    """What all nodes have in common."""

    rate: float = 50.0
    errors: float = 0.001
    median_s: float = 0.040
    sigma: float = 0.4
    tail: float = 0.02


def row(
    node: str,
    version: str = OLD,
    *,
    requests: int = 0,
    errors: int = 0,
    counts: np.ndarray | None = None,
    telemetry: bool = True,
    agent: bool = True,
    state: ServiceState | None = ServiceState.READY,
    exits: int = 0,
    changed_ms: int = 1,
    gauges: dict[str, float] | None = None,
    ratios: dict[str, tuple[int, int]] | None = None,
) -> NodePane:
    return NodePane(
        node=node,
        version=version,
        requests=requests,
        errors=errors,
        counts=counts,
        gauges=gauges or {},
        ratios=ratios or {},
        counters={},
        zone="",
        labels={},
        telemetry=telemetry,
        state=state if agent else None,
        exits=exits,
        changed_ms=changed_ms if agent else 0,
        agent=agent,
    )


def latencies(rng: np.random.Generator, world: World, requests: int, slower: float) -> np.ndarray:
    """Log-normal, with a tail of slow ones, as buckets of the wire."""
    seconds = rng.lognormal(math.log(world.median_s * slower), world.sigma, requests)
    seconds[rng.random(requests) < world.tail] *= 5
    slots = np.clip(np.ceil(8 * np.log2(np.maximum(seconds, 1e-9))) - 1 + 80, 0, HISTOGRAM_SLOTS - 1)
    return np.bincount(slots.astype(np.int64), minlength=HISTOGRAM_SLOTS)


def busy(
    rng: np.random.Generator, world: World, node: str, version: str = OLD, *, errors: float | None = None, slower: float = 1.0
) -> NodePane:
    requests = int(rng.poisson(world.rate))
    ratio = world.errors if errors is None else errors
    failed = int(rng.binomial(requests, min(1.0, ratio)))
    return row(node, version, requests=requests, errors=failed, counts=latencies(rng, world, requests, slower))


def pane(
    second: int,
    canary: Sequence[NodePane] = (),
    control: Sequence[NodePane] = (),
    rest: Sequence[NodePane] = (),
    *,
    expected: dict[str, tuple[str, ...]] | None = None,
    rest_version: str = OLD,
    late: dict[str, int] | None = None,
    skewed: Sequence[str] = (),
) -> ServicePane:
    """A closed pane; ``expected`` names members of a cohort that have no row."""
    cohorts = {}
    for name, version, nodes in (("canary", NEW, canary), ("control", OLD, control), ("rest", rest_version, rest)):
        members = (expected or {}).get(name, tuple(node.node for node in nodes))
        cohorts[name] = CohortPane(name=name, version=version, expected=members, nodes={node.node: node for node in nodes})
    return ServicePane(
        service="shop",
        start_ms=START_MS + second * 1_000,
        cohorts=cohorts,
        late_nodes=late or {},
        skewed_nodes=frozenset(skewed),
    )


def context(canary: Sequence[str] = ("a",), control: Sequence[str] = ("b",), **changes: object) -> Context:
    members = (
        CohortMembers(name="canary", version=NEW, nodes=tuple(canary)),
        CohortMembers(name="control", version=OLD, nodes=tuple(control)),
    )
    fields: dict[str, object] = {
        "subject": "svc/shop",
        "service": "shop",
        "epoch": 1,
        "generation": 7,
        "placement": "p1",
        "rollout": "r1",
        "stage": 0,
        "cohorts": members,
        "rest_version": OLD,
        "min_requests": 100,
        "stage_nodes": len(canary),
        "started_ms": START_MS,
    }
    return Context(**(fields | changes))  # type: ignore[arg-type]


def run(
    make: Callable[[int], ServicePane], seconds: int, placement: Context, state: SubjectJudgement | None = None, first: int = 0
) -> tuple[SubjectJudgement, list[Verdict]]:
    """Judge panes one after another."""
    state = state or SubjectJudgement()
    verdicts = []
    for second in range(first, first + seconds):
        state, verdict = judge(state, placement, make(second), START_MS + second * 1_000 + 2_000)
        verdicts.append(verdict)
    return state, verdicts


def rolls_back(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.FAIL and verdict.action is Action.ROLLBACK
