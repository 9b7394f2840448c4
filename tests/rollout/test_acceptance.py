"""What becomes of plans and intents as they arrive (D3, D7): one record each, and nothing moves where it is a refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rollout.fleet import SHOP, START_MS, Fleet, envelope, plan

from tidegate.rollout.acceptance import QUEUE_MAX
from tidegate.rollout.events import IntentArrived, PlanArrived
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Stage, WhenBusy
from tidegate.wire.reasons import Reason


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.install()
    return made


@pytest.mark.parametrize(
    ("document", "reason", "path"),
    [
        (plan("2", fleet="other"), Reason.WRONG_FLEET, "fleet"),
        (plan("2", expires_ms=START_MS), Reason.EXPIRED, "expiresMs"),
        (plan("2", id="to-1"), Reason.DUPLICATE, "id"),
        (plan("2", None), Reason.WRONG_ROLLBACK_TARGET, "rollback.artifact"),
        (plan("2", "0"), Reason.WRONG_ROLLBACK_TARGET, "rollback.artifact"),
        (plan("1", "0", id="again"), Reason.SAME_VERSION, "artifact.version"),
        (plan("2", stages=(Stage(set_nodes=1),)), Reason.BAD_DOCUMENT, "stages[0].setWeight"),
        (plan("2", stages=(Stage(set_nodes=5), Stage(set_weight=10), Stage(set_weight=100))), Reason.BAD_DOCUMENT, "stages[1]"),
    ],
)
def test_a_plan_is_refused_with_the_path_of_its_fault_before_anything_moves(fleet, document, reason, path):
    before = fleet.state()
    (refused,) = fleet.submit(document)
    assert (refused.kind, refused.reason, refused.state) == (DecisionKind.REFUSE, reason, None)
    assert refused.message.startswith(f"{path}:")
    assert fleet.state() == before


def test_every_fault_of_a_plan_is_named(fleet):
    (refused,) = fleet.submit(plan("2", "2", stages=(Stage(), Stage(set_nodes=1))))
    assert {part.split(":")[0] for part in refused.message.split("; ")} >= {"stages[0]", "stages[1].setWeight"}


def test_the_first_plan_of_a_service_names_no_rollback():
    (refused,) = Fleet().submit(plan("2"))
    assert refused.reason is Reason.WRONG_ROLLBACK_TARGET


def test_a_fleet_without_an_eligible_node_gets_no_rollout(fleet):
    for node in fleet.nodes.values():
        node.away = True
    fleet.turn(91)
    (refused,) = fleet.submit(plan("2"))
    assert refused.reason is Reason.NO_ELIGIBLE_NODES
    assert f"{len(fleet.nodes)} did not report within 90 s" in refused.message


def test_a_service_that_no_node_names_is_told_apart_from_a_silent_fleet(fleet):
    (refused,) = fleet.submit(plan("1", None, service="till"))
    assert refused.reason is Reason.NO_ELIGIBLE_NODES
    assert f"{len(fleet.nodes)} do not name till" in refused.message


@pytest.mark.parametrize("why", ["cordoned", "silent", "other version", "frozen"])
def test_who_is_cordoned_silent_frozen_or_on_another_version_is_not_on_the_roster(fleet, why):
    node = fleet.nodes["n04"]
    match why:
        case "cordoned":
            fleet.ask(Verb.CORDON, target="n04")
        case "silent":
            node.away = True
            fleet.turn(91)
        case "other version":
            node.running.clear()
            fleet.say(node)
        case "frozen":
            node.frozen = "two documents of one order"
            fleet.say(node)
    fleet.submit(plan("2"))
    assert set(fleet.ledger.rosters[SHOP].nodes) == set(fleet.nodes) - {"n04"}


def test_a_plan_that_refuses_to_wait_is_refused_while_another_runs(fleet):
    fleet.submit(plan("2"))
    (refused,) = fleet.submit(plan("3", "2", when_busy=WhenBusy.REFUSE))
    assert refused.reason is Reason.ALREADY_RUNNING


def test_the_queue_is_bounded(fleet):
    fleet.submit(plan("2"))
    for number in range(QUEUE_MAX):
        assert fleet.submit(plan("3", "2", id=f"q{number}"))[0].reason is Reason.PLAN_QUEUED
    assert fleet.submit(plan("3", "2", id="one-more"))[0].reason is Reason.ALREADY_RUNNING


def test_a_queued_plan_that_can_never_fit_is_refused_at_once(fleet):
    fleet.submit(plan("2"))
    assert fleet.submit(plan("3", "0"))[0].reason is Reason.WRONG_ROLLBACK_TARGET


def test_the_same_bytes_are_answered_once_and_another_plan_of_that_id_is_a_duplicate(fleet):
    document = plan("2")
    assert len(fleet.submit(document)) == 2
    assert fleet.submit(document) == ()
    assert fleet.submit(plan("2", reason="other words"))[0].reason is Reason.DUPLICATE


def test_an_intent_is_answered_once(fleet):
    intent = Intent(id="i9", fleet="test", subject=SHOP, verb=Verb.PAUSE, generation=0, actor="kim", issued_ms=fleet.now_ms)
    assert len(fleet.feed(IntentArrived(intent))) == 1
    assert fleet.feed(IntentArrived(intent)) == ()


@pytest.mark.parametrize("fault", [Reason.BAD_SIGNATURE, Reason.BAD_DOCUMENT])
def test_what_the_shell_could_not_accept_is_refused_for_the_record(fleet, fault):
    (plan_refused,) = fleet.feed(PlanArrived(None, b"noise", fault, "signed by nobody", fleet.now_ms, SHOP))
    (intent_refused,) = fleet.feed(IntentArrived(None, fault, "signed by nobody", fleet.now_ms, b"other noise", SHOP))
    for refused in (plan_refused, intent_refused):
        assert (refused.kind, refused.reason, refused.message) == (DecisionKind.REFUSE, fault, "signed by nobody")
        assert refused.answers
    assert fleet.feed(PlanArrived(None, b"noise", fault, "signed by nobody", fleet.now_ms, SHOP)) == ()


@pytest.mark.parametrize(
    ("verb", "reason"),
    [
        (Verb.PAUSE, Reason.NOTHING_TO_DO),
        (Verb.RESUME, Reason.NOTHING_TO_DO),
        (Verb.PROMOTE, Reason.NOTHING_TO_DO),
        (Verb.ABORT, Reason.UNKNOWN),
        (Verb.UNDO, Reason.NOT_ALLOWED),
        (Verb.RETRY, Reason.NOTHING_TO_DO),
        (Verb.RELEASE, Reason.NOTHING_TO_DO),
        (Verb.CORDON, Reason.UNKNOWN),
        (Verb.UNCORDON, Reason.UNKNOWN),
    ],
)
def test_what_makes_no_sense_after_a_first_install_is_refused_and_moves_nothing(fleet, verb, reason):
    before = fleet.ledger.subjects
    refused = fleet.ask(verb, target="nobody")
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, reason)
    assert fleet.ledger.subjects == before


def test_a_cordon_is_recorded_once_and_lifted(fleet):
    assert fleet.ask(Verb.CORDON, target="n01").cordoned == ("n01",)
    assert fleet.ask(Verb.CORDON, target="n01").reason is Reason.NOTHING_TO_DO
    assert fleet.ask(Verb.UNCORDON, target="n01").cordoned == ()
    fleet.check_rebuilt()


def test_a_plan_that_expired_while_it_waited_is_refused_when_its_turn_comes(fleet):
    fleet.submit(plan("2"))
    fleet.submit(plan("3", "2", expires_ms=fleet.now_ms + 30_000))
    fleet.until(Phase.DONE)
    assert fleet.last().reason is Reason.EXPIRED
    assert fleet.state().queue == ()


def test_a_node_given_back_by_an_abort_lets_the_next_plan_start_in_the_same_step():
    fleet = Fleet(nodes=4, services=("shop", "cart"))
    for service in fleet.services:
        first = plan("1", None, (Stage(set_weight=100, bake="0s"),), id=f"{service}-1", service=service, watch="1s")
        fleet.submit(first)
        fleet.until(Phase.DONE, subject=f"svc/{service}")
    fleet.submit(plan("2"))
    fleet.until_stage(2, baking=False)
    fleet.submit(plan("2", id="cart-2", service="cart"))
    assert fleet.state("svc/cart").phase is Phase.DONE
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    assert fleet.state("svc/cart").phase is Phase.RUNNING


@settings(deadline=None)
@given(st.binary(max_size=64), st.sampled_from(list(Reason)), st.text(max_size=20))
def test_any_bytes_yield_exactly_one_refusal(data, fault, problem):
    fleet = Fleet(nodes=1)
    assert [one.kind for one in fleet.feed(PlanArrived(None, data, fault, problem))] == [DecisionKind.REFUSE]
    assert fleet.feed(PlanArrived(None, data, fault, problem)) == ()
    fleet.check_rebuilt()


def test_the_operators_envelope_is_kept_verbatim(fleet):
    document = plan("2")
    accepted = fleet.submit(document)[0]
    assert accepted.plan.encode() == envelope(document)
