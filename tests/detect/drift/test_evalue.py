"""The e-value: what it is under its own null, at its limits, and against what others computed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detect.drift.evalue import RATIOS, WEIGHTS, log_evidence, log_gamma, log_licence, log_marginals

shares = st.floats(0.01, 0.9)
variances = st.floats(1e-4, 0.5)


def splits(n: int) -> tuple[np.ndarray, np.ndarray]:
    """All splits of n events."""
    return np.arange(n + 1.0), n - np.arange(n + 1.0)


def filled(number: int, value: float) -> np.ndarray:
    return np.full(number, value)


def null(n: int, share: float, variance: float) -> np.ndarray:
    """Log probability of each split of n events under a beta-binomial of this share and variance of its logit."""
    size = max(1.0, 1.0 / max(variance * share * (1.0 - share), 1e-9) - 1.0)
    one, other = size * share, size * (1.0 - share)
    lgamma = math.lgamma
    return np.array(
        [
            math.log(math.comb(n, x))
            + (lgamma(one + x) + lgamma(other + n - x) - lgamma(size + n))
            - (lgamma(one) + lgamma(other) - lgamma(size))
            for x in range(n + 1)
        ]
    )


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=20))
def test_the_gamma_function_is_that_of_the_standard_library(values):
    found = log_gamma(np.array(values))
    for value, mine in zip(values, found.tolist(), strict=True):
        assert mine == pytest.approx(math.lgamma(value), rel=1e-12, abs=2e-8)


@given(st.integers(1, 60), shares, st.floats(1e-3, 0.5))
def test_marginals_are_those_of_a_beta_binomial_by_brute_force(n, share, variance):
    """Drawn to a grid of shares, weighed by the density of the beta distribution."""
    size = max(1.0, 1.0 / (variance * share * (1.0 - share)) - 1.0)
    one, other = size * share, size * (1.0 - share)
    x, y = n // 3, n - n // 3
    # Substituted p = 1 / (1 + e^-z), where ends of the interval do no harm.
    z = np.linspace(-60.0, 60.0, 60_001)
    log_p, log_q = -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)
    log_density = one * log_p + other * log_q - (math.lgamma(one) + math.lgamma(other) - math.lgamma(size))
    brute = np.exp(log_density + x * log_p + y * log_q).sum() * (z[1] - z[0])
    found = log_marginals(np.ones(1), filled(1, x), filled(1, y), filled(1, share), filled(1, variance))
    assert found[0, 0] == pytest.approx(math.log(brute), abs=1e-3)


@given(st.integers(0, 80), shares, variances)
def test_under_its_own_null_the_e_value_is_one_on_average(n, share, variance):
    x, y = splits(n)
    log_e = log_evidence(x, y, filled(n + 1, share), filled(n + 1, variance))
    assert np.exp(null(n, share, variance) + log_e).sum() == pytest.approx(1.0, abs=1e-6)


@given(st.integers(0, 80), shares, variances, st.floats(0.3, 1.0))
def test_a_canary_that_is_better_gives_no_evidence_on_average(n, share, variance, ratio):
    """The null is composite: any canary that is not worse."""
    odds = ratio * share / (1.0 - share)
    at = odds / (1.0 + odds)
    size = max(1.0, 1.0 / (variance * share * (1.0 - share)) - 1.0)
    x, y = splits(n)
    log_e = log_evidence(x, y, filled(n + 1, share), filled(n + 1, variance))
    # Its share is spread as that of an equal canary: a beta distribution of the same size, with a smaller mean.
    probability = null(n, at, 1.0 / ((size + 1.0) * at * (1.0 - at)))
    assert np.exp(probability + log_e).sum() <= 1.0 + 1e-6


@given(st.integers(0, 80), shares, variances, st.floats(1.1, 3.0))
def test_a_licence_against_a_canary_as_bad_as_tolerated_is_one_on_average(n, share, variance, tolerated):
    odds = tolerated * share / (1.0 - share)
    x, y = splits(n)
    log_e = log_licence(x, y, filled(n + 1, share), filled(n + 1, variance), np.array([tolerated]))
    assert np.exp(null(n, odds / (1.0 + odds), variance) + log_e).sum() == pytest.approx(1.0, abs=1e-6)


@given(st.integers(1, 400), st.integers(0, 400), shares)
def test_without_spread_it_is_the_likelihood_ratio_of_lindon_and_malek(x, y, share):
    log_e = log_evidence(filled(1, x), filled(1, y), filled(1, share), np.zeros(1))[0]
    ratios = np.array(RATIOS)
    at = ratios * share / (ratios * share + 1.0 - share)
    simple = x * np.log(at / share) + y * np.log((1.0 - at) / (1.0 - share))
    top = simple.max()
    assert log_e == pytest.approx(top + math.log((np.array(WEIGHTS) * np.exp(simple - top)).sum()), abs=0.05, rel=1e-3)


@given(st.floats(1.0, 30.0), shares, st.floats(0.005, 0.3))
def test_however_many_events_one_cohort_says_no_more_than_its_spread_allows(ratio, share, variance):
    """(r - 1 - log r) / v for a gamma, which the beta of a small share is; (log r)^2 / 2v while r is small."""
    odds = ratio * share / (1.0 - share)
    at = odds / (1.0 + odds)
    million, milliard = (
        log_evidence(filled(1, n * at), filled(1, n * (1.0 - at)), filled(1, share), filled(1, variance))[0] for n in (1e6, 1e9)
    )
    assert milliard == pytest.approx(million, rel=0.1, abs=0.5)
    assert milliard <= (ratio - 1.0 - math.log(ratio)) / variance + 0.1
    if ratio <= 2.0:
        assert milliard <= 1.3 * math.log(ratio) ** 2 / (2.0 * variance) + 0.1


def test_without_spread_evidence_grows_for_ever():
    small, large = (log_evidence(filled(1, n), filled(1, 4 * n), filled(1, 0.1), np.zeros(1))[0] for n in (100.0, 1_000.0))
    assert large > 8 * small > 0


@given(st.integers(0, 300), st.integers(0, 300), shares, variances)
def test_a_wider_null_or_one_more_event_of_the_others_never_adds_to_a_strong_case(x, y, share, variance):
    more = log_evidence(filled(1, x), filled(1, y + 1.0), filled(1, share), filled(1, variance))[0]
    assert more <= log_evidence(filled(1, x), filled(1, y), filled(1, share), filled(1, variance))[0] + 1e-9
    plain = log_evidence(filled(1, x), filled(1, y), filled(1, share), filled(1, variance))[0]
    if plain > 5.0:
        assert log_evidence(filled(1, x), filled(1, y), filled(1, share), filled(1, 2.0 * variance))[0] < plain


def test_masses_of_ratios_sum_to_one_and_all_are_worse_than_equal():
    assert sum(WEIGHTS) == pytest.approx(1.0)
    assert len(WEIGHTS) == len(RATIOS)
    assert min(RATIOS) > 1.0


def test_it_is_the_same_for_one_split_and_for_many_at_once():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 50, (3, 4)).astype(float), rng.integers(0, 500, (3, 4)).astype(float)
    share, variance = rng.uniform(0.05, 0.5, (3, 4)), rng.uniform(0.001, 0.3, (3, 4))
    whole = log_evidence(x, y, share, variance)
    for at in np.ndindex(3, 4):
        one = log_evidence(*(part[at].reshape(1) for part in (x, y, share, variance)))
        assert one[0] == pytest.approx(whole[at])
