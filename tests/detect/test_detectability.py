"""What a stage can see before it begins."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tidegate.detect.detectability import LITTLE, seconds_to_see, sight
from tidegate.detect.drift import past as history
from tidegate.detect.drift.state import Drift, begin, learn, observe
from tidegate.detect.expected import Nodes, Service, errors_of, latency_at, latency_of, slower_than
from tidegate.sim import WORLDS, Episode, Fault, FaultKind, Run

SERVICE = Service(rate=50.0)
FIVE = Nodes(canaries=5, controls=5, others=25)
MINUTES_5 = 300.0


@pytest.mark.parametrize(
    ("nodes", "service", "least", "most"),
    [
        (FIVE, SERVICE, 0.0015, 0.004),
        (Nodes(canaries=20, controls=20, others=40), SERVICE, 0.001, 0.0025),
        (Nodes(canaries=1, controls=1, others=11), SERVICE, 0.002, 0.02),
        (FIVE, Service(rate=0.5), 0.01, 0.5),
        (FIVE, Service(rate=50.0, error_ratio=0.05), 0.06, 0.15),
    ],
    ids=["five", "twenty", "one", "little traffic", "many errors"],
)
def test_the_smallest_error_ratio_that_five_minutes_catch(nodes, service, least, most):
    found = sight(nodes, service, MINUTES_5).error_ratio
    assert found is not None
    assert least < found < most


def test_a_graver_fault_is_seen_sooner():
    seconds = sight(FIVE, SERVICE, MINUTES_5).seconds
    assert None not in seconds
    assert sorted(seconds, reverse=True) == [*seconds]
    assert seconds[2] <= 2


def test_a_latency_shift_is_seen_in_the_shares_above_quantiles():
    found = sight(FIVE, SERVICE, MINUTES_5).latency_shift
    assert found is not None
    assert 0.05 < found < 0.5
    assert latency_of(SERVICE, 0.5).bad[2] > 1.5 * latency_of(SERVICE, 0.5).healthy[2]


@pytest.mark.parametrize("share", [0.5, 0.75, 0.9, 0.95, 0.99, 0.999])
def test_shares_and_latencies_are_each_others_inverse(share):
    assert slower_than(SERVICE, latency_at(SERVICE, share)) == pytest.approx(1 - share)


def test_no_fault_is_never_seen():
    assert seconds_to_see(FIVE, SERVICE, errors_of(SERVICE, SERVICE.error_ratio)) is None
    assert seconds_to_see(FIVE, SERVICE, latency_of(SERVICE, 0.0)) is None


def test_errors_that_are_usual_have_no_time():
    assert sight(FIVE, Service(rate=50.0, error_ratio=0.03), MINUTES_5).seconds[0] is None


WARNINGS = [
    (FIVE, SERVICE, MINUTES_5, ()),
    (Nodes(canaries=1, controls=1, others=11), SERVICE, MINUTES_5, ("controls say little", "incident of one host")),
    (Nodes(canaries=5, controls=0, others=5), SERVICE, 60.0, ("cold start hides everything for 120 s",)),
    (Nodes(canaries=5, controls=0, others=5), SERVICE, MINUTES_5, ("is seen late",)),
    (Nodes(canaries=12, controls=0, others=0), SERVICE, MINUTES_5, ("no node of the old version is left",)),
    (FIVE, Service(rate=0.01), 60.0, ("too little to judge by, 3 requests",)),
    (FIVE, Service(rate=0.0), 60.0, ("too little to judge by, 0 requests",)),
]


@pytest.mark.parametrize(("nodes", "service", "bake_s", "told"), WARNINGS)
def test_what_a_stage_cannot_see_is_said_with_its_remedy(nodes, service, bake_s, told):
    warnings = sight(nodes, service, bake_s).warnings
    assert len(warnings) == len(told)
    assert all(part in text for part, text in zip(told, warnings, strict=True))


def test_without_anybody_to_compare_with_only_what_is_gross_is_seen():
    found = sight(Nodes(canaries=12, controls=0, others=0), SERVICE, MINUTES_5)
    assert found.error_ratio == pytest.approx(LITTLE, rel=0.01)
    assert found.latency_shift is None


stages = st.builds(
    lambda canaries, controls, others, order: Nodes(canaries=canaries, controls=controls, others=controls + others, order=order),
    st.integers(3, 40),
    st.integers(3, 20),
    st.integers(1, 100),
    st.integers(1, 6),
)
services = st.builds(lambda rate, ratio: Service(rate=rate, error_ratio=ratio), st.floats(0.5, 300), st.floats(1e-5, 0.05))


def sees(nodes: Nodes, service: Service, bake_s: float) -> tuple[float, float]:
    found = sight(nodes, service, bake_s)
    return found.error_ratio or 2.0, found.latency_shift or 100.0


def no_worse(more: tuple[float, float], less: tuple[float, float]) -> bool:
    return all(one <= 1.02 * other for one, other in zip(more, less, strict=True))


Stage = tuple[Nodes, Service, float]
MORE: dict[str, Callable[[Nodes, Service, float], Stage]] = {
    "a longer bake": lambda nodes, service, bake_s: (nodes, service, 2 * bake_s),
    "more old nodes and controls": lambda nodes, service, bake_s: (
        replace(nodes, controls=nodes.controls + 2, others=nodes.others + 7),
        service,
        bake_s,
    ),
    "more canaries": lambda nodes, service, bake_s: (replace(nodes, canaries=2 * nodes.canaries), service, bake_s),
    "more traffic": lambda nodes, service, bake_s: (nodes, replace(service, rate=2 * service.rate), bake_s),
}


@settings(max_examples=8, deadline=None)
@given(stages, services, st.integers(30, 900))
@pytest.mark.thorough
def test_more_of_anything_never_sees_less_and_a_later_stage_has_less_of_the_budget(nodes, service, bake_s):
    seen = sees(nodes, service, bake_s)
    for what, more in MORE.items():
        assert no_worse(sees(*more(nodes, service, bake_s)), seen), what
    assert no_worse(seen, sees(replace(nodes, order=nodes.order + 3), service, bake_s)), "a later stage"


# As foretold, so it comes.

FAULTS = (Fault(FaultKind.ERRORS, 0.01), Fault(FaultKind.ERRORS, 0.05), Fault(FaultKind.LATENCY, 0.5))
HORIZON_S = 150


def step(drift: Drift, second) -> tuple[Drift, float]:
    """The state after a second, and how far the strongest family is beyond its threshold."""
    pane = second.pane(tuple(drift.past.edges))
    if not second.context.placement:
        return learn(drift, pane), -1.0
    ages_s = {
        node.node: (pane.end_ms - node.changed_ms) / 1_000
        for name in ("canary", "control")
        for node in pane.cohorts[name].nodes.values()
        if node.changed_ms
    }
    drift, weighed = observe(begin(drift, second.context.rollout, "v2"), pane, second.context.placement, ages_s)
    return drift, max((family.log_e - family.threshold for family in weighed.families), default=-1.0)


def seen_after(run: Run, drift: Drift, fault: Fault) -> float:
    forked = run.fork(fault)
    for second in forked.rollout(HORIZON_S):
        drift, beyond = step(drift, second)
        if beyond >= 0:
            return (second.start_ms + 1_000 - (forked.onset_ms or 0)) / 1_000
    return float(HORIZON_S)


def test_the_time_to_see_a_fault_is_foretold_within_a_factor_of_two():
    """In a world with every nuisance; the median of a few rollouts of a service that was never seen to restart."""
    found, scatters = [], []
    for seed in range(5):
        run, drift = Run(Episode(world=WORLDS["everything"], past=None), np.random.default_rng(seed)), Drift()
        for second in run.prelude():
            drift, _ = step(drift, second)
        found.append([seen_after(run, drift, fault) for fault in FAULTS])
        scatters.append(history.dispersion(drift.past))
    scatter = np.mean(scatters, axis=0)
    service = Service(
        rate=50.0,
        error_ratio=0.00115,
        p50_ms=41,
        p95_ms=88,
        p99_ms=230,
        past_s=1_500,
        dispersion=(scatter[0], np.median(scatter[2:])),
    )
    foretold = [
        seconds_to_see(FIVE, service, fault)
        for fault in (errors_of(service, 0.01), errors_of(service, 0.05), latency_of(service, 0.5))
    ]
    assert None not in foretold
    for simulated, expected in zip(np.median(found, axis=0), foretold, strict=True):
        assert 0.5 <= expected / simulated <= 2, (simulated, expected)
