"""Sequential evidence: valid under its null, silent on too little, and never carried by one node (C4, B8)."""

import math

import numpy as np
import pytest
from tests.detect.healthy import NEW, row

from tidegate.detect.binomial import LOG_E_MIN, TOLERATED_FEW, Binomial, judge_evidence
from tidegate.detect.evidence import Evidence, Look
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason


def look(canary: list[tuple[int, int]], control: list[tuple[int, int]]) -> Look:
    left = [row(f"a{index}", NEW, requests=requests, errors=errors) for index, (requests, errors) in enumerate(canary)]
    right = [row(f"b{index}", requests=requests, errors=errors) for index, (requests, errors) in enumerate(control)]
    return Look(0, left, right)


def gathered(looks: list[Look]) -> Binomial:
    evidence = Binomial()
    for one in looks:
        evidence = evidence.update(one)
    return evidence


def test_the_test_is_an_implementation_of_the_interface() -> None:
    evidence: Evidence = Binomial()
    assert evidence.weight().log_e == 0.0


def test_under_the_worst_of_its_null_the_evidence_rarely_ever_grows_large() -> None:
    """Ville: with as much as the null tolerates, P(log e ever >= log 20) <= 1/20, looked at 300 times. 400 runs."""
    rng = np.random.default_rng(4)
    crossed = 0
    for _ in range(400):
        evidence, most = Binomial(), 0.0
        for _ in range(300):
            bad, fine = int(rng.binomial(50, 0.005 * TOLERATED_FEW)), int(rng.binomial(50, 0.005))
            evidence = evidence.update(look([(50, bad)], [(50, fine)]))
            most = max(most, evidence.weight().log_e)
        crossed += most >= math.log(20)
    print(f"\nevidence e >= 20 under the null: {crossed} of 400 runs")  # noqa: T201
    assert crossed <= 20 + 13  # three standard deviations of the count itself


def test_a_real_difference_is_found_in_seconds() -> None:
    found = gathered([look([(50, 3)], [(50, 0)])] * 20).weight()
    assert found.log_e > LOG_E_MIN
    finding = judge_evidence(found, 1)
    assert finding is not None
    assert (finding.reason, finding.action) == (Reason.EVIDENCE, Action.ROLLBACK)


@pytest.mark.parametrize(
    ("sentence", "looks"),
    [
        ("nothing seen", []),
        ("no control to share the errors with", [look([(50, 50)], [])] * 50),
        ("a control that has no requests", [look([(50, 50)], [(0, 0)])] * 50),
        ("errors on both sides alike", [look([(50, 5)], [(50, 5)])] * 200),
        ("less than twice the errors", [look([(50, 9)], [(50, 5)])] * 200),
        ("nine errors", [look([(1, 1)], [(10_000, 0)])] * 9),
    ],
)
def test_what_is_no_evidence(sentence: str, looks: list[Look]) -> None:
    assert judge_evidence(gathered(looks).weight(), 1) is None


def test_one_burst_of_retries_on_one_node_counts_as_little() -> None:
    calm, burst = look([(50, 0)], [(50, 0)]), look([(50, 45)], [(50, 0)])
    assert gathered([calm] * 60 + [burst]).weight().log_e < LOG_E_MIN / 2


def test_one_node_of_three_carries_no_fail() -> None:
    found = judge_evidence(gathered([look([(50, 5), (50, 0), (50, 0)], [(50, 0)] * 3)] * 60).weight(), 3)
    assert found is not None
    assert (found.reason, found.action) == (Reason.ONE_NODE_ONLY, None)


def test_the_load_does_not_matter() -> None:
    """A load curve changes both sides' requests and not the share of the errors."""
    flat = gathered([look([(100, 4)], [(100, 1)])] * 20).weight()
    waves = gathered([look([(load, 4)], [(load, 1)]) for load in (50, 150) * 10]).weight()
    assert flat.log_e == pytest.approx(waves.log_e)
