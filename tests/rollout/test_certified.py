"""C5: a stage that asks for a licence waits for a pass that has one, and the decision names the gate that was used."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.rollout.advance import blockers
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Evidence, Outcome
from tidegate.wire.plans import Action, Gate, Stage
from tidegate.wire.reasons import Reason

STAGES = (
    Stage(set_nodes=3, bake="10s", min_requests=10, gate=Gate.CERTIFIED),
    Stage(set_weight=100, bake="10s", min_requests=10),
)
SOME = Evidence(family="errors", metric="errors", log_e=-1.0, threshold=5.3, log_licence=2.1, licence_threshold=3.9)
ENOUGH = Evidence(family="latency", metric="slow@p90", log_e=-1.0, threshold=5.3, log_licence=4.5, licence_threshold=3.9)


def baked() -> Fleet:
    """A fleet whose first stage has baked for long enough."""
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2", stages=STAGES))
    fleet.until_stage(0)
    fleet.turn(15)
    assert fleet.state().stage == 0
    return fleet


def missing(fleet: Fleet) -> dict[Reason, str]:
    return dict(blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms))


@pytest.mark.parametrize(
    ("evidence", "words"),
    [((SOME, ENOUGH), "errors 2.1 of 3.9"), ((), "nothing yet that could be weighed")],
)
def test_a_pass_without_a_licence_waits_and_says_what_is_missing(evidence, words):
    fleet = baked()
    fleet.judge(Outcome.PASS, evidence=evidence)
    assert [*missing(fleet)] == [Reason.NOT_CERTIFIED]
    assert words in missing(fleet)[Reason.NOT_CERTIFIED]
    assert "latency" not in missing(fleet)[Reason.NOT_CERTIFIED]
    assert missing(fleet)[Reason.NOT_CERTIFIED].endswith("rollout promote shop overrules it.")


def test_a_licensed_pass_promotes_and_the_decision_names_the_gate():
    fleet = baked()
    fleet.judge(Outcome.PASS, certified=True)
    (promoted,) = [one for one in fleet.decisions if one.kind is DecisionKind.PROMOTE]
    assert promoted.facts["gate"] == "certified"
    fleet.until(Phase.WATCHING)
    *_, watched = [one for one in fleet.decisions if one.kind is DecisionKind.WATCH]
    assert watched.facts["gate"] == "noEvidence"
    fleet.check_rebuilt()


@pytest.mark.parametrize("outcome", [Outcome.HOLD, Outcome.FAIL])
def test_a_licence_carries_nothing_but_a_pass(outcome):
    fleet = baked()
    fleet.judge(outcome, certified=True, **({"action": Action.PAUSE} if outcome is Outcome.FAIL else {}))
    assert fleet.state().stage == 0


def test_a_person_who_promotes_overrules_a_missing_licence_and_the_record_does_not_claim_one():
    fleet = baked()
    fleet.ask(Verb.PROMOTE)
    fleet.judge(Outcome.PASS)
    (promoted,) = [one for one in fleet.decisions if one.kind is DecisionKind.PROMOTE]
    assert promoted.facts["gate"] == "noEvidence"


def test_a_rollback_on_evidence_copies_its_numbers_into_the_record():
    fleet = baked()
    strong = Evidence(
        family="errors",
        metric="errors",
        log_e=9.5,
        threshold=5.3,
        share=0.7,
        expected_share=0.1,
        onset_ms=fleet.now_ms - 9_000,
        deleted=("n1",),
    )
    fleet.judge(Outcome.FAIL, reason=Reason.EVIDENCE, evidence=(strong, ENOUGH))
    facts = next(one.facts for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK)
    assert (facts["family"], facts["log_e"], facts["threshold"], facts["left_out"]) == ("errors", 9.5, 5.3, ["n1"])
    assert facts["expected_share"] == 0.1
