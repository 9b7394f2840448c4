"""What evidence asks for: a retreat, a pause or nothing; in sentences that a person can check."""

import pytest
from msgspec.structs import replace

from tidegate.detect.drift.learned import RESTARTS_MIN, Learned
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.state import Drift
from tidegate.detect.drift.weigh import Family, Weighed
from tidegate.detect.evidence import BURNING_S, FEW, evidence_of, judge_evidence
from tidegate.kpi.buckets import UPPER_EDGES_S
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

ERRORS = Family(
    family="errors",
    metric="errors",
    log_e=7.0,
    log_e_pause=9.0,
    threshold=5.3,
    threshold_pause=5.3,
    onset_ms=1_700_000_000_000,
    canary_events=40.0,
    control_events=60.0,
    share=0.4,
    expected_share=0.16,
    variance=0.02,
    deleted=("c3",),
    cold=False,
)
LATENCY = replace(ERRORS, family="latency", metric="slow@p95", log_e=-3.0, log_e_pause=-2.0, deleted=())
KNOWN = Drift(learned=Learned(restarts=RESTARTS_MIN), past=Past(edges=(40, 44, 48, 52, 56, 60)))
NEW = Drift()


def weighed(*families: Family, canaries: int = 5) -> Weighed:
    return Weighed(families=families, canaries=canaries)


@pytest.mark.parametrize(
    ("drift", "canaries", "compared", "action"),
    [
        (KNOWN, 5, True, Action.ROLLBACK),
        (KNOWN, 1, False, Action.ROLLBACK),
        (NEW, FEW, True, Action.ROLLBACK),
        (NEW, FEW - 1, True, Action.PAUSE),  # what restarting one server does is a guess
        (NEW, 20, False, Action.PAUSE),
    ],
)
def test_evidence_rolls_back_where_it_is_known_what_a_restart_does_and_pauses_elsewhere(drift, canaries, compared, action):
    found = judge_evidence(weighed(ERRORS, LATENCY, canaries=canaries), drift, compared=compared)
    assert (found.outcome, found.reason, found.action) == (Outcome.FAIL, Reason.EVIDENCE, action)


@pytest.mark.parametrize(
    ("log_e", "log_e_pause", "action"),
    [(5.3, 5.3, Action.ROLLBACK), (5.29, 5.3, Action.PAUSE), (5.29, 5.29, None), (-1_390.0, -1_390.0, None)],
)
def test_the_threshold_decides_and_what_one_server_carries_is_a_pause(log_e, log_e_pause, action):
    found = judge_evidence(weighed(replace(ERRORS, log_e=log_e, log_e_pause=log_e_pause)), KNOWN, compared=True)
    assert (found.action if found else None) is action


def test_a_retreat_of_any_family_goes_before_a_pause_of_another():
    carried = replace(LATENCY, log_e_pause=50.0)
    found = judge_evidence(weighed(carried, ERRORS), KNOWN, compared=True)
    assert (found.action, found.metric) == (Action.ROLLBACK, "errorRatio")


def test_while_all_servers_are_in_trouble_for_a_minute_nothing_passes_and_a_retreat_goes_first():
    calm = replace(weighed(LATENCY), burning_s=BURNING_S - 1.0)
    burning = replace(calm, burning_s=BURNING_S)
    assert judge_evidence(calm, KNOWN, compared=True) is None
    found = judge_evidence(burning, KNOWN, compared=True)
    assert (found.outcome, found.reason, found.action) == (Outcome.HOLD, Reason.ENVIRONMENT, None)
    assert "for 60 s" in found.sentence
    bad = replace(burning, families=(ERRORS,))
    assert judge_evidence(bad, KNOWN, compared=True).action is Action.ROLLBACK


def test_without_canaries_there_is_nothing_to_ask_for():
    assert judge_evidence(Weighed(), KNOWN, compared=True) is None
    assert evidence_of(Weighed(), KNOWN) == ()


def test_the_sentence_of_errors_has_shares_counts_who_was_left_out_and_how_sure_it_is():
    assert judge_evidence(weighed(ERRORS), KNOWN, compared=True).sentence == (
        "40.0 % of all errors are the canary's, 16.0 % would be fair beside the old version "
        "(40 to 60, c3 left out): e^7.0 against chance, e^5.3 is enough."
    )


def test_the_sentence_of_slow_requests_names_the_time_in_milliseconds():
    told = judge_evidence(weighed(replace(LATENCY, log_e=8.0, cold=True)), KNOWN, compared=True).sentence
    bound_ms = 1_000.0 * UPPER_EDGES_S[52]
    assert f"all requests slower than {bound_ms:.0f} ms are the canary's" in told
    assert "beside servers of the same age" in told
    assert "left out" not in told


def test_the_sentence_of_a_pause_says_that_one_server_or_half_minute_carries_it():
    told = judge_evidence(weighed(replace(ERRORS, log_e=0.0)), KNOWN, compared=True).sentence
    assert "e^9.0 against chance" in told
    assert told.endswith("one server or one half minute alone makes it so much, so a person looks at it.")


def test_the_verdict_carries_all_families_in_six_digits():
    first, second = evidence_of(weighed(replace(ERRORS, log_e=1.23456789), replace(LATENCY, cold=True, log_licence=4.5)), KNOWN)
    assert (first.family, first.log_e, first.threshold, first.bound_ms) == ("errors", 1.23457, 5.3, 0.0)
    assert (first.deleted, first.compared_with, first.log_licence) == (("c3",), "fleet", None)
    assert (second.compared_with, second.log_licence) == ("controls", 4.5)
    assert second.bound_ms == pytest.approx(1_000.0 * UPPER_EDGES_S[52], rel=1e-5)
    assert second.log_e_pause == -2.0


def test_without_edges_a_slow_request_has_no_bound():
    (told,) = evidence_of(weighed(LATENCY), NEW)
    assert told.bound_ms == 0.0
