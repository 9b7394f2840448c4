"""Outgoing gates (I2, H1): what is asked, what an answer does, what a gate's key is not good for."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.rollout.outgoing import open_gates
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import KeyRole, Phase, PublicKey, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import GateDefault, Pause, Stage, faults
from tidegate.wire.reasons import Reason

KEY = PublicKey(id="gate", role=KeyRole.GATE, public="0" * 64)
ASK = Pause(ask="load-test", duration="10m", default=GateDefault.ROLLBACK)
STAGES = (Stage(set_nodes=1, bake="5s", min_requests=1, pause=ASK), Stage(set_weight=100, bake="5s", min_requests=1))


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.install()
    made.submit(plan("2", stages=STAGES))
    return made


def opened(fleet: Fleet) -> Fleet:
    fleet.until_stage(0)
    while not fleet.state().gate_since_ms:
        assert open_gates(fleet.ledger) == []
        fleet.turn()
    return fleet


def answer(fleet: Fleet, verb: Verb, **fields):
    return fleet.ask(verb, **({"target": "load-test", "actor": "load-test", "key": KEY} | fields))


def test_the_question_says_what_waits_where_and_until_when(fleet):
    (gate,) = open_gates(opened(fleet).ledger)
    assert (gate.gate, gate.service, gate.rollout, gate.stage, gate.stages) == ("load-test", "shop", "to-2.1", 1, 2)
    assert (gate.version, gate.before, gate.canaries) == ("2", "1", fleet.ledger.rosters[SHOP].nodes[:1])
    assert (gate.ends_ms - gate.opened_ms, gate.default) == (600_000, "rollback")


def test_a_pass_lets_the_rollout_go_on_under_the_other_conditions(fleet):
    decision = answer(opened(fleet), Verb.PROMOTE, reason="p95 is 80 ms")
    assert (decision.kind, decision.reason) == (DecisionKind.GATE, Reason.GATE_PASSED)
    assert "p95 is 80 ms" in decision.message
    assert open_gates(fleet.ledger) == []
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


def test_a_refusal_rolls_back_and_says_why(fleet):
    decision = answer(opened(fleet), Verb.ABORT, reason="p95 is 800 ms")
    assert (decision.kind, decision.reason) == (DecisionKind.ROLLBACK, Reason.GATE_REFUSED)
    fleet.until(Phase.DONE)
    assert (fleet.state().result, fleet.on("2")) == (Result.ROLLED_BACK, [])


def test_flagger_1432_guardrails_judge_while_a_gate_is_asked(fleet):
    opened(fleet)
    fleet.judge(Outcome.FAIL)
    assert fleet.state().phase is Phase.ROLLING_BACK
    assert open_gates(fleet.ledger) == []


def test_what_is_paused_asks_nobody(fleet):
    opened(fleet)
    fleet.ask(Verb.PAUSE)
    assert open_gates(fleet.ledger) == []
    assert answer(fleet, Verb.PROMOTE).reason is Reason.NOT_ALLOWED


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb not in (Verb.PROMOTE, Verb.ABORT)])
def test_a_gates_key_is_good_for_no_other_verb(fleet, verb):
    opened(fleet)
    before = fleet.ledger.subjects
    assert answer(fleet, verb).reason is Reason.NOT_ALLOWED
    assert (fleet.ledger.subjects, fleet.ledger.cordoned, fleet.ledger.silences) == (before, (), ())


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.ABORT])
@pytest.mark.parametrize("when", ["baking", "another gate", "an older question", "nothing runs"])
def test_an_answer_counts_only_for_the_gate_that_asks_now(fleet, verb, when):
    fields = {}
    match when:
        case "baking":
            fleet.until_stage(0)
        case "another gate":
            opened(fleet)
            fields["target"] = "smoke-test"
        case "an older question":
            opened(fleet)
            fields["generation"] = fleet.state().generation - 1
        case "nothing runs":
            fleet.ask(Verb.ABORT)
            fleet.until(Phase.DONE)
    before = fleet.state()
    refused = answer(fleet, verb, **fields)
    assert refused.kind is DecisionKind.REFUSE
    assert refused.reason is (Reason.STALE_GENERATION if when == "an older question" else Reason.NOT_ALLOWED)
    assert fleet.state() == before


def test_a_question_without_an_end_is_a_faulty_plan():
    stages = (Stage(set_nodes=1, pause=Pause(ask="load-test")), Stage(set_weight=100))
    assert "stages[0].pause.duration" in [at for at, _ in faults(plan("2", stages=stages))]
