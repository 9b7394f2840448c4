"""A flag on a simulated fleet: how soon a bad variant is off, and what never switches one off. Seeded, figures printed."""

import copy

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.variants import ERRORS, Ramp, fleet_of, known, verdicts

from tidegate.detect import paired
from tidegate.detect.drift import past as history
from tidegate.kpi.flags import SERVERS_MAX, as_control
from tidegate.sim.world import WORLDS
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action, Guardrail
from tidegate.wire.reasons import Reason

CALM = replace(WORLDS["everything"], bursts=0.0, incidents=0.0)
SERVERS, RATE = 4, 200.0
FROM_S = 20


@pytest.fixture(scope="module")
def service():
    """A fleet of 200 requests/s, and what six quiet minutes taught of it."""
    fleet = fleet_of(replace(CALM, rate=RATE / SERVERS), SERVERS, 1)
    return fleet, known(fleet, 420)


def delays_s(service, ramp: Ramp, runs: int, most_s: int = 60) -> list[float]:
    """Return panes from the first bad one to the one whose verdict switches off, run by run; infinity: none."""
    found = []
    for seed in range(runs):
        fleet, own = copy.deepcopy(service[0]), service[1]
        fleet.rng = np.random.default_rng(seed)
        told = enumerate(verdicts(fleet, own, replace(ramp, from_s=FROM_S), FROM_S + most_s))
        off = next((at for at, one in told if one.outcome is Outcome.FAIL and one.action is Action.ROLLBACK), None)
        assert off is None or off >= FROM_S, "healthy until then"
        found.append(float("inf") if off is None else off + 1.0 - FROM_S)
    return found


@pytest.mark.parametrize(
    ("share", "of", "median_most", "most"),
    [
        (0.5, "2/3", 2.0, 5.0),
        (0.1, "2/3", 12.0, 40.0),
        (0.1, "2/5", 8.0, 25.0),
    ],
)
def test_five_percent_errors_of_one_variant_switch_it_off(service, share, of, median_most, most):
    """At a tenth of 200 requests/s there is one error a second: four of them, which is what is asked for, take that long."""
    taken = delays_s(service, Ramp(share=share, errors=0.05, guardrails=(replace(ERRORS, of=of),)), 10)
    print(f"\n5 % errors, {share:.0%} of {RATE:.0f}/s, of {of}: median {np.median(taken):.0f} s, max {max(taken):.0f} s")  # noqa: T201
    assert np.median(taken) <= median_most
    assert max(taken) <= most


def test_gross_errors_need_no_guardrail(service):
    taken = delays_s(service, Ramp(share=0.2, errors=0.5, guardrails=()), 5)
    assert max(taken) <= 2.0


def test_evidence_finds_what_no_limit_sees(service):
    """Ten times as many errors as usual are 1 %: far below any limit that is declared."""
    ramp = Ramp(share=0.5, errors=0.01, guardrails=(), default_guardrails=False)
    fleet = copy.deepcopy(service[0])
    told = [one for one in verdicts(fleet, service[1], ramp, 120) if one.outcome is Outcome.FAIL]
    assert {one.reason for one in told} == {Reason.EVIDENCE}
    off = next(one for one in told if one.action is Action.ROLLBACK)
    assert "would be fair beside the control" in off.sentence
    assert not any("=" in name for one in off.evidence for name in one.deleted)


def test_a_slower_variant_is_found(service):
    """Nine percent slower a bucket: four are 41 %."""
    limit = Guardrail(metric="p95", max_ratio_to_control=1.2, of="3/5")
    taken = delays_s(service, Ramp(share=0.5, slower=4, guardrails=(limit,)), 3)
    assert max(taken) <= 10.0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_fault_of_both_sides_switches_nothing_off(service, share):
    """A burst that all requests feel, near the limit and above it (C2)."""
    fleet = copy.deepcopy(service[0])
    for ratio in (0.015, 0.02, 0.03, 0.1):
        fleet.world = replace(fleet.world, error_ratio=ratio)
        found = [*verdicts(fleet, service[1], Ramp(share=share), 60)]
        assert not [one for one in found if one.action is Action.ROLLBACK], ratio


def test_both_sides_of_a_server_have_the_same_past_and_nothing_restarts(service):
    own = service[1].drift
    begun = paired.begin(service[1])
    past, learned = begun.drift.past, begun.drift.learned
    nodes = own.past.nodes
    factors, _ = history.host_factors(past, (*nodes, *map(as_control, nodes)), learned)
    assert np.array_equal(factors[: len(nodes)], factors[len(nodes) :])
    assert history.rate(past) == pytest.approx(history.rate(own.past), rel=0.01)
    assert np.array_equal(history.dispersion(past), history.dispersion(own.past))
    assert past.edges == own.past.edges
    assert history.wander(past).max() < 1e-6, "it takes both sides along"
    assert learned.cold_s == 0.0


def test_what_is_known_of_a_large_service_stays_small(service):
    past = service[1].drift.past
    names = tuple(f"n{number:05}" for number in range(3_000))
    large = replace(past, nodes=names, strata=("",) * 3_000, sums=np.tile(past.sums[:1], (3_000, 1)))
    begun = paired.begin(replace(service[1], drift=replace(service[1].drift, past=large)))
    assert len(begun.drift.past.nodes) == 2 * SERVERS_MAX + 1
    assert history.rate(begun.drift.past) == pytest.approx(history.rate(large), rel=0.01)
