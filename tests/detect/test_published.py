"""Missing or thin data as users of other judges met it, each as a rule here, with the issue that it comes from."""

import numpy as np
import pytest
from tests.detect.healthy import NEW, context, pane, row, run
from tests.detect.test_limits import Counts, judged

from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

CLEAN: Counts = [(100, 0)] * 60
WRONG = (Outcome.FAIL, Action.ROLLBACK)


@pytest.mark.parametrize(
    ("sentence", "canary", "control", "seconds"),
    [
        ("a fifth of the requests against none at all", [[(100, 20)] * 60] * 3, [CLEAN] * 3, 5),
        ("one in fifty", [[(100, 2)] * 60] * 3, [CLEAN] * 3, 20),
        ("the control has no requests at all", [[(100, 20)] * 60] * 3, [[(0, 0)] * 60] * 3, 60),
        ("there is no control, and a baseline without errors", [[(100, 20)] * 60] * 3, [], 60),
    ],
)
def test_kayenta_377_799_spinnaker_5622_a_baseline_of_zero_or_none_hides_no_errors(sentence, canary, control, seconds):
    """A ratio to zero is no number there, and the metric was left out: HTTP 307 errors reached production."""
    verdict = judged([one[:seconds] for one in canary], [one[:seconds] for one in control], default_guardrails=True)
    assert verdict.outcome is not Outcome.PASS, verdict.sentence
    if control and control[0] == CLEAN:
        assert (verdict.outcome, verdict.action) == WRONG, verdict.sentence


def test_kayenta_426_sparse_errors_add_up():
    """One error in every fourth second: no pane says anything, a minute does."""
    sparse: Counts = [(100, 1 if second % 2 == 0 else 0) for second in range(90)]
    verdict = judged([sparse] * 3, [[(100, 0)] * 90] * 3, default_guardrails=True)
    assert verdict.outcome is Outcome.FAIL, verdict.sentence


def test_kayenta_633_seven_and_a_half_times_as_slow_fails_within_half_a_minute():
    """+650 % passed there: fewer than 50 points are too few for a rank test."""
    verdict = _timed(30, slower=23)
    assert (verdict.outcome, verdict.action) == WRONG, verdict.sentence


def test_kayenta_420_what_is_far_off_is_no_outlier_to_be_removed():
    """Two nodes of three fail, far from everyone else: that is the news, and nothing leaves it out."""
    verdict = judged([[(100, 90)] * 3, [(100, 90)] * 3, [(100, 0)] * 3], [CLEAN[:3]] * 3, default_guardrails=True)
    assert (verdict.outcome, verdict.action) == WRONG


def test_kayenta_420_one_node_that_is_far_off_is_named_and_never_passed_over():
    verdict = judged([[(100, 90)] * 3, CLEAN[:3], CLEAN[:3]], [CLEAN[:3]] * 3, default_guardrails=True)
    assert (verdict.outcome, verdict.reason) == (Outcome.HOLD, Reason.ONE_NODE_ONLY)


@pytest.mark.parametrize("requests", [0, 1, 5])
def test_suna_3403_flagger_883_1330_1689_191_795_1353_no_values_are_neither_a_pass_nor_a_fail(requests):
    """ "no values found" is the most repeated report there; here a minimum of requests is part of every plan."""
    verdict = judged([[(requests, 0)] * 9], [[(requests, 0)] * 9], default_guardrails=True, min_requests=100)
    assert verdict.outcome is Outcome.HOLD
    assert verdict.reason in (Reason.IDLE, Reason.TOO_FEW_REQUESTS)


def _timed(seconds: int, slower: int):
    """Three canaries whose requests fall so many eighths of an octave higher than those of their controls."""
    old, new = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64), np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)
    old[60], new[60 + slower] = 100, 100
    left = [row(f"a{at}", NEW, requests=100, counts=new) for at in range(3)]
    right = [row(f"b{at}", requests=100, counts=old) for at in range(3)]
    placement = context([one.node for one in left], [one.node for one in right])
    return run(lambda second: pane(second, left, right), seconds, placement)[1][-1]
