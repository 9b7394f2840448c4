"""Evidence that a person accepts: what ``rollout explain`` tells of a verdict's numbers."""

import re

import msgspec
import pytest
from msgspec.structs import replace
from tests.cli.test_words import FAIL, NOW_MS

from tidegate.cli.rollout_evidence import evidence_lines, sentences
from tidegate.cli.rollout_explain import Explained, text
from tidegate.cli.tell import clock
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.judgement import Evidence, Verdict
from tidegate.wire.reasons import Reason

ERRORS = Evidence(
    family="errors",
    metric="errors",
    log_e=7.31,
    threshold=5.3,
    canary_events=41,
    control_events=12,
    canary_requests=812,
    control_requests=24_310,
    share=0.774,
    expected_share=0.032,
    onset_ms=NOW_MS - 26_500,
    deleted=("n3",),
    compared_with="controls",
    log_e_pause=9.9,
    log_licence=-2.0,
    licence_threshold=3.9,
)
SLOW = Evidence(
    family="latency",
    metric="slow@p90",
    log_e=1.2,
    threshold=5.3,
    canary_events=80.5,
    control_events=700,
    canary_requests=812,
    control_requests=24_310,
    share=0.1,
    expected_share=0.09,
    bound_ms=83.2,
    compared_with="fleet",
    log_e_pause=5.9,
)
VERDICT = replace(
    FAIL, reason=Reason.EVIDENCE, evidence=(ERRORS, SLOW), deviating=("zone b: 9.1 % errors, elsewhere 0.1 %",), log_e=7.31
)


DECISION = Decision(
    seq=7,
    prev="x",
    epoch=1,
    kind=DecisionKind.ROLLBACK,
    subject="svc/shop",
    generation=5,
    now_ms=NOW_MS,
    reason=Reason.EVIDENCE,
    message=FAIL.sentence,
)


def line_of(metric: str, verdict: Verdict = VERDICT) -> str:
    return next(line for line in evidence_lines(verdict) if line.strip().startswith(metric))


def test_a_line_has_every_number_of_a_family():
    told = line_of("errors ")
    onset = f"{clock(ERRORS.onset_ms)} (25 s)"
    for part in (
        "41",
        "12 (controls)",
        "812 / 24310",
        "77.4 % (3.2 % expected)",
        onset,
        "7.31 of 5.30",
        "9.90",
        "-2.00 of 3.90",
        "n3",
    ):
        assert part in told, part


def test_a_sentence_says_what_the_numbers_mean():
    errors, slow, deviating, licence = sentences(VERDICT)
    assert errors == (
        f"errors: since {clock(ERRORS.onset_ms)}, 25 s before the verdict, 77.4 % of all errors are the canary's; "
        "beside the controls of the same age 3.2 % would be its part (n3 left out). That is no chance."
    )
    assert slow == (
        "latency: 10 % of all requests slower than 83 ms are the canary's; beside the old version's nodes 9 % would be its part. "
        "Only with every node counted is that no chance: one node or one moment makes it."
    )
    assert deviating == "deviates: zone b: 9.1 % errors, elsewhere 0.1 %"
    assert licence == "licence: not given yet; lacking: errors."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"log_e": 5.29, "log_e_pause": 5.29}, "That may be chance."),
        ({"log_e": -1.0, "log_e_pause": 0.0, "share": 0.03}, "Nothing speaks against the canary."),
        ({"log_e": 5.3}, "part (n3 left out). That is no chance."),
        ({"log_e": 5.2, "log_e_pause": 5.3}, "one moment makes it."),
    ],
)
def test_the_weight_is_told_by_the_threshold(change, words):
    assert sentences(replace(VERDICT, evidence=(replace(ERRORS, **change),)))[0].endswith(words)


def test_a_licence_that_is_given_is_told():
    assert sentences(replace(VERDICT, certified=True))[-1] == "licence: the canary is certified to be no worse than is tolerated."


def test_a_verdict_without_evidence_says_nothing_more():
    assert evidence_lines(FAIL) == []
    assert sentences(FAIL) == ()


def test_explain_shows_it_behind_the_verdicts_numbers_and_json_has_it_all():
    told = text([(NOW_MS, DECISION)], VERDICT)
    assert next(at for at, line in enumerate(told) if "812 requests" in line) < told.index(evidence_lines(VERDICT)[0])
    found = msgspec.json.decode(
        msgspec.json.encode(Explained(service="shop", decisions=(), verdict=VERDICT, evidence=sentences(VERDICT)))
    )
    assert found["verdict"]["evidence"][0]["log_e"] == 7.31
    assert found["verdict"]["evidence"][0]["deleted"] == ["n3"]
    assert found["verdict"]["deviating"] == [*VERDICT.deviating]
    assert re.match(r"errors: since ", found["evidence"][0])
