"""What is known of a service, told: what was learned beside what is a prior."""

import msgspec
import pytest
from msgspec.structs import replace
from tests.detect.drift.kit import Fleet, learnt, quiet

from tidegate.detect.detectability import sight
from tidegate.detect.drift.learned import AGES_S, Learned, Spread
from tidegate.detect.drift.metrics import METRICS
from tidegate.detect.drift.state import Drift
from tidegate.detect.expected import HOUR_S, Nodes, Service
from tidegate.detect.known import SPREADS, known_of, service_of
from tidegate.kpi.buckets import UPPER_EDGES_S

FLEET = Fleet(canaries=0, controls=0, rest=20)
EDGES = (100, 104, 108, 112, 116, 120)
CURVE = {name: (6.0, 4.0, 2.0, *(1.0,) * (len(AGES_S) - 3)) for name in METRICS}
LEARNED = Learned(
    revision=3,
    restarts=30,
    rollouts=2,
    placebos=(2.5, 1.0),
    placebos_pause=(3.5, 1.5),
    cold_s=45.0,
    curve=CURVE,
    spreads={"errors": Spread(node=0.31, common=0.07)},
)


@pytest.fixture(scope="module")
def drift() -> Drift:
    return Drift(past=replace(quiet(FLEET), edges=EDGES), learned=LEARNED)


def test_of_a_service_never_seen_every_number_is_a_prior():
    known = known_of(Drift())
    assert not known.anything
    assert not known.cold_learned
    assert (known.revision, known.restarts, known.rollouts, known.nodes, known.minutes) == (0, 0, 0, 0, 0)
    assert [one.metric for one in known.metrics] == [*METRICS]
    assert all(one.rate is None and one.slower_than_ms is None for one in known.metrics)
    assert all(one.priors == ("dispersion", "wander", *SPREADS) for one in known.metrics)


def test_quiet_time_is_told_as_rates_and_what_nobody_has_learned_stays_marked(drift):
    known = known_of(drift)
    assert known.anything
    assert (known.nodes, known.minutes) == (20, drift.past.minutes)
    errors = known.metrics[0]
    assert errors.rate == pytest.approx(FLEET.errors, rel=0.05)
    assert "dispersion" not in errors.priors
    assert (errors.node, errors.common, errors.host) == (0.31, 0.07, 0.5)
    assert {"host", "restart", "warm"} <= {*errors.priors}
    assert not {"node", "common"} & {*errors.priors}
    assert {*SPREADS} <= {*known.metrics[1].priors}


def test_slow_requests_are_told_in_milliseconds(drift):
    told = {one.metric: one.slower_than_ms for one in known_of(drift).metrics}
    assert told["errors"] is None
    assert told["slow@p90"] == pytest.approx(1_000 * UPPER_EDGES_S[EDGES[2]], rel=1e-3)


def test_the_cold_start_is_told_by_age_as_far_as_it_lasts(drift):
    known = known_of(drift)
    assert (known.cold_s, known.cold_learned) == (45.0, True)
    assert [one.age_s for one in known.ages] == [0, 5, 10, 15, 20, 30, 45]
    assert [one.times["errors"] for one in known.ages] == [6.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    prior = known_of(Drift())
    assert prior.ages[0].times["errors"] == pytest.approx(5.0)
    assert prior.ages[-1].age_s == 120
    assert prior.ages[-1].times["errors"] == 1.0


def test_a_plans_own_metrics_are_told_too():
    own = known_of(Drift(learned=Learned(spreads={"gauge.saturation": Spread(node=0.4)}))).metrics[-1]
    assert (own.metric, own.rate, own.dispersion, own.node) == ("gauge.saturation", None, None, 0.4)


def test_the_record_is_plain_data(drift):
    assert msgspec.json.decode(msgspec.json.encode(known_of(drift)))["metrics"][0]["metric"] == "errors"


def test_what_was_learned_takes_the_place_of_priors_and_the_rate_stays_as_it_was(drift):
    found = service_of(drift, Service(rate=7.0))
    assert (found.rate, found.learned) == (7.0, LEARNED)
    assert found.error_ratio == pytest.approx(FLEET.errors, rel=0.05)
    assert found.dispersion[0] == pytest.approx(known_of(drift).metrics[0].dispersion, rel=1e-3)
    assert (found.p50_ms, found.p95_ms) == (1_000 * UPPER_EDGES_S[EDGES[0]], 1_000 * UPPER_EDGES_S[EDGES[3]])
    assert 0 < found.past_s < HOUR_S / 2


def test_a_service_never_seen_is_taken_as_it_is_given():
    assert service_of(Drift(), Service(rate=7.0, error_ratio=0.02)) == replace(
        Service(rate=7.0, error_ratio=0.02), learned=Drift().learned
    )


def test_a_long_past_counts_as_far_as_it_is_remembered():
    past = replace(learnt(FLEET, 6), minutes=100_000)
    assert service_of(Drift(past=past), Service(rate=7.0)).past_s == pytest.approx(HOUR_S, rel=0.01)


def test_servers_that_are_known_to_differ_less_let_smaller_faults_be_seen():
    nodes, service = Nodes(canaries=5, controls=5, others=25), Service(rate=50.0)
    alike = Learned(revision=1, restarts=20, spreads={name: Spread(node=0.05, common=0.02) for name in METRICS})
    better = sight(nodes, service_of(Drift(learned=alike), service), 300.0).error_ratio
    assert better < sight(nodes, service, 300.0).error_ratio
