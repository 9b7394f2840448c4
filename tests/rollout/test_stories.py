"""Whole rollouts, from the plan to the end."""

import pytest
from msgspec.structs import replace
from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.rollout.advance import blockers
from tidegate.rollout.alarms import alarms_of
from tidegate.rollout.events import VerdictArrived
from tidegate.rollout.levels import desired_of
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Move, Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action, ControlMode, GateDefault, Pause, Stage
from tidegate.wire.reasons import Reason


@pytest.fixture
def fleet() -> Fleet:
    """Twelve nodes in three zones, version 1 settled."""
    made = Fleet()
    made.install()
    return made


def gated(duration: str | None, default: GateDefault) -> tuple[Stage, ...]:
    gate = Pause(duration=duration, default=default)
    return Stage(set_nodes=1, bake="5s", min_requests=1, pause=gate), Stage(set_weight=100, bake="5s", min_requests=1)


# The first install (B7)


def test_a_first_install_goes_by_readiness_alone_and_is_settled():
    fleet = Fleet()
    fleet.outcome = None
    fleet.install()
    assert fleet.state().settled.version == "1"
    assert fleet.state().result is Result.PROMOTED
    fleet.check_rebuilt()


def test_a_first_install_that_does_not_start_ends_as_failed_with_an_alarm_and_can_be_tried_again():
    fleet = Fleet()
    fleet.nodes["n03"].broken.add("1")
    fleet.submit(plan("1", None, (Stage(set_weight=100, bake="0s"),), max_unavailable="100%"))
    fleet.until(Phase.DONE)
    assert (fleet.state().result, fleet.state().settled) == (Result.FAILED, None)
    assert [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)] == ["first_install_failed"]
    desired = desired_of(fleet.ledger, SHOP, 1, "test")
    assert (desired.cohorts, desired.settled, desired.move) == ((), None, Move.HOLD)
    fleet.nodes["n03"].broken.clear()
    assert fleet.ask(Verb.RETRY).kind is DecisionKind.START
    fleet.until(Phase.WATCHING)
    assert fleet.state().attempt == 2
    assert len(fleet.on("1")) == 12
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()
    fleet.check_rebuilt()


def test_a_failed_first_install_makes_way_for_another_first_plan():
    fleet = Fleet()
    fleet.submit(plan("1", None))
    fleet.until_stage(0)
    assert fleet.ask(Verb.ABORT).kind is DecisionKind.ROLLBACK
    assert (fleet.state().phase, fleet.state().result) == (Phase.DONE, Result.ABORTED)
    assert [decision.kind for decision in fleet.submit(plan("1.1", None))] == [DecisionKind.ACCEPT, DecisionKind.START]
    fleet.until(Phase.WATCHING)
    assert len(fleet.on("1.1")) == 12


# Forward


def test_a_good_release_goes_one_three_all_and_is_settled_after_the_watch(fleet):
    fleet.submit(plan("2"))
    sizes = []
    for stage in range(3):
        fleet.until_stage(stage)
        sizes.append(len(fleet.on("2")))
    fleet.until(Phase.WATCHING)
    assert sizes == [1, 3, 12]
    assert fleet.state().settled.version == "1"
    watched_from = fleet.now_ms
    fleet.until(Phase.DONE)
    assert fleet.now_ms - watched_from >= 60_000
    assert (fleet.state().settled.version, fleet.state().result) == ("2", Result.PROMOTED)
    fleet.check_rebuilt()


def test_what_a_node_says_of_its_trouble_stands_in_what_the_rollout_waits_for_and_in_its_end(fleet):
    for node in fleet.nodes.values():
        node.unfetchable["2"] = "wrong sha256"
    fleet.submit(plan("2", progress_deadline="30s"))
    fleet.turn()
    assert next(told for _, told in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)).endswith("says: wrong sha256")
    fleet.until(Phase.DONE)
    rollback = next(one for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK)
    assert rollback.message.endswith("says: wrong sha256")


def test_nothing_is_released_before_its_nodes_hold_the_artifact(fleet):
    fleet.submit(plan("2"))
    assert fleet.state().released == 0
    assert desired_of(fleet.ledger, SHOP, 1, "test").prefetch
    assert next(reason for reason, _ in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)) is Reason.PREFETCHING
    fleet.turn()
    assert fleet.state().released == 1


def test_batches_take_at_most_max_unavailable_nodes_with_their_controls(fleet):
    fleet.submit(plan("2", max_unavailable="2"))
    fleet.until(Phase.WATCHING)
    batches = [
        (len(decision.facts["batch"]), len(decision.facts["controls"]))
        for decision in fleet.decisions
        if decision.kind is DecisionKind.RELEASE and decision.subject == SHOP and decision.state.rollout == "to-2.1"
    ]
    assert batches == [(1, 1), (1, 1), (1, 1), (0, 1), (2, 0), (2, 0), (2, 0), (2, 0), (1, 0)]


def test_a_batch_waits_for_the_one_before_it(fleet):
    fleet.submit(plan("2", stages=(Stage(set_weight=100, bake="1s"),), max_unavailable="3"))
    third = None
    while third is None:
        fleet.turn()
        third = fleet.ledger.rosters[SHOP].nodes[3] if fleet.state().released else None
    fleet.nodes[third].slow.add("2")
    fleet.turn(30)
    assert fleet.state().released == 6
    assert (Reason.NOT_READY, f"Not reported ready yet: {third}.") in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)
    fleet.nodes[third].slow.clear()
    fleet.until(Phase.WATCHING)


def test_controls_restart_once_for_each_stage_and_the_canary_once_for_the_attempt(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    nodes = fleet.ledger.rosters[SHOP].nodes
    restarts = {name: fleet.nodes[name].starts[1:] for name in nodes}
    assert [restarts[name] for name in nodes[:1]] == [[("2", "to-2.1")]]
    # The second node was the control of the first stage before it became a canary.
    assert restarts[nodes[1]] == [("1", "to-2.1/0"), ("2", "to-2.1")]
    assert [restarts[name] for name in nodes[3:6]] == [[("1", "to-2.1/1")]] * 3
    assert [restarts[name] for name in nodes[6:]] == [[]] * 6


@pytest.mark.parametrize(("mode", "controls"), [(ControlMode.OBSERVE, 3), (ControlMode.NONE, 0)])
def test_observed_controls_are_named_and_not_restarted(fleet, mode, controls):
    fleet.submit(plan("2", control=mode))
    fleet.until_stage(1)
    members = {cohort.name: cohort.nodes for cohort in fleet.context().cohorts}
    assert len(members.get("control", ())) == controls
    assert all(len(fleet.nodes[name].starts) == 1 for name in members.get("control", ()))


def test_the_context_names_exactly_the_released_nodes(fleet):
    fleet.submit(plan("2"))
    assert fleet.context().placement == ""
    fleet.until_stage(1)
    context, nodes = fleet.context(), fleet.ledger.rosters[SHOP].nodes
    assert [(one.name, one.version, one.nodes) for one in context.cohorts] == [
        ("canary", "2", nodes[:3]),
        ("control", "1", nodes[3:6]),
    ]
    assert (context.rest_version, context.stage_nodes, context.min_requests, context.last_stage) == ("1", 3, 10, False)


# What an advance needs (D4)


def test_no_advance_without_a_verdict(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.outcome = None
    fleet.turn(60)
    assert fleet.state().stage == 0


def test_no_advance_on_a_hold_and_the_reason_is_the_verdicts(fleet):
    fleet.submit(plan("2"))
    fleet.outcome = Outcome.HOLD
    fleet.turn(60)
    assert fleet.state().stage == 0
    assert (Reason.IDLE, "The judge says hold.") in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)


def test_a_pass_of_an_older_placement_never_advances_and_its_fail_never_rolls_back(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    old = fleet.state().placement
    fleet.until_stage(1)
    fleet.outcome = None
    fleet.turn(20)
    fleet.judge(Outcome.PASS, placement=old)
    fleet.judge(Outcome.FAIL, placement=old)
    fleet.turn(5)
    assert (fleet.state().stage, fleet.state().phase) == (1, Phase.RUNNING)
    fleet.judge(Outcome.PASS)
    assert fleet.state().stage == 2


def test_a_pass_given_before_the_stage_was_complete_advances_nothing(fleet):
    fleet.submit(plan("2", stages=(Stage(set_nodes=1, bake="0s"), Stage(set_weight=100))))
    fleet.outcome = None
    fleet.until_stage(0)
    fleet.judge(Outcome.PASS, last_pane_ms=fleet.state().baking_since_ms)
    assert fleet.state().stage == 0
    fleet.turn(1)
    fleet.judge(Outcome.PASS, last_pane_ms=fleet.now_ms)
    assert fleet.state().stage == 1


def test_every_missing_condition_has_a_name_and_none_is_left_at_the_end(fleet):
    fleet.submit(plan("2"))
    while fleet.state().phase is Phase.RUNNING:
        found = blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)
        assert found
        assert all(sentence for _, sentence in found)
        fleet.turn()
    assert blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms) == []


# Gates


def test_promote_ends_a_bake_and_nothing_else(fleet):
    fleet.submit(plan("2", stages=(Stage(set_nodes=1, bake="1h"), Stage(set_weight=100))))
    fleet.until_stage(0)
    fleet.outcome = None
    fleet.turn(10)
    assert fleet.ask(Verb.PROMOTE).kind is DecisionKind.GATE
    assert fleet.state().stage == 0
    fleet.judge(Outcome.PASS)
    assert fleet.state().stage == 1
    fleet.check_rebuilt()


# Back


def test_a_node_that_cannot_start_the_new_version_is_like_a_fail(fleet):
    fleet.submit(plan("2"))
    first = fleet.ledger.rosters[SHOP].nodes[0]
    fleet.nodes[first].broken.add("2")
    fleet.until(Phase.DONE)
    back = next(decision for decision in fleet.decisions if decision.kind is DecisionKind.ROLLBACK)
    assert (back.reason, back.facts["nodes"]) == (Reason.START_FAILED, [first])
    assert len(fleet.on("1")) == 12


def test_a_batch_that_never_becomes_ready_is_rolled_back_at_the_progress_deadline(fleet):
    fleet.submit(plan("2", progress_deadline="2m"))
    first = fleet.ledger.rosters[SHOP].nodes[0]
    fleet.nodes[first].slow.add("2")
    fleet.turn(120)
    assert fleet.state().phase is Phase.RUNNING
    fleet.until(Phase.DONE, seconds=5)
    assert next(one for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK).reason is Reason.DEADLINE


def test_unreachable_nodes_are_named_at_the_end_of_a_retreat_and_alarmed_until_they_are_back(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    lost = fleet.nodes["n05"]
    lost.away = True
    fleet.judge(Outcome.FAIL)
    fleet.outcome = Outcome.HOLD
    fleet.turn(80)
    assert fleet.state().phase is Phase.ROLLING_BACK
    fleet.turn(15)
    assert (fleet.state().phase, fleet.state().missing) == (Phase.DONE, ("n05",))
    assert fleet.last().reason is Reason.FLEET_PARTLY_BACK
    assert [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)] == ["rollback_happened"]
    lost.away = False
    fleet.turn()
    assert lost.running["shop"].version == "1"
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()


def test_a_cordoned_node_is_not_waited_for_in_a_retreat(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    fleet.nodes["n05"].slow.add("1")
    fleet.judge(Outcome.FAIL)
    fleet.outcome = Outcome.HOLD
    fleet.turn(200)
    assert fleet.state().phase is Phase.ROLLING_BACK
    fleet.ask(Verb.CORDON, target="n05")
    fleet.turn()
    assert (fleet.state().phase, fleet.state().missing) == (Phase.DONE, ("n05",))


def test_a_fail_never_goes_stale(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    assert fleet.judge(Outcome.FAIL, last_pane_ms=fleet.now_ms - 600_000)[0].kind is DecisionKind.ROLLBACK


# Pause


def test_judgement_goes_on_while_paused_and_may_roll_back(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    fleet.ask(Verb.PAUSE)
    assert desired_of(fleet.ledger, SHOP, 1, "test").move is Move.HOLD
    fleet.judge(Outcome.FAIL)
    assert fleet.state().phase is Phase.ROLLING_BACK


def test_a_long_pause_uses_up_no_deadline_and_no_gate(fleet):
    fleet.submit(plan("2", stages=gated("30s", GateDefault.ROLLBACK), progress_deadline="1m"))
    fleet.until_stage(0)
    fleet.turn(8)
    fleet.ask(Verb.PAUSE)
    fleet.turn(600)
    fleet.ask(Verb.RESUME)
    fleet.turn(20)
    assert fleet.state().phase is Phase.RUNNING


def test_a_pause_while_watching_goes_on_watching_after_resume(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    fleet.judge(Outcome.FAIL, action=Action.PAUSE)
    assert fleet.state().phase is Phase.PAUSED
    fleet.ask(Verb.RESUME)
    assert fleet.state().phase is Phase.WATCHING
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


def test_an_expired_plan_pauses_and_is_not_resumed(fleet):
    fleet.submit(plan("2", expires_ms=fleet.now_ms + 15_000))
    fleet.turn(20)
    assert (fleet.state().phase, fleet.state().paused_reason) == (Phase.PAUSED, Reason.EXPIRED)
    assert fleet.ask(Verb.RESUME).reason is Reason.EXPIRED
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    assert len(fleet.on("1")) == 12


# Abort, undo, retry


@pytest.mark.parametrize("when", ["prefetching", "releasing", "baking", "gate", "paused", "last stage", "watching"])
def test_abort_wins_in_every_state(fleet, when):
    fleet.submit(plan("2", stages=gated(None, GateDefault.HOLD)))
    if when != "prefetching":
        fleet.turn()
    if when not in ("prefetching", "releasing"):
        fleet.until_stage(0)
    if when not in ("prefetching", "releasing", "baking"):
        fleet.turn(10)
    if when == "paused":
        fleet.ask(Verb.PAUSE)
    if when in ("last stage", "watching"):
        fleet.ask(Verb.PROMOTE)
    if when == "watching":
        fleet.until(Phase.WATCHING)
    stale = fleet.ask(Verb.ABORT, generation=0)
    assert stale.kind is DecisionKind.ROLLBACK
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.ABORTED
    assert len(fleet.on("1")) == 12
    fleet.check_rebuilt()


def test_abort_of_nothing_is_refused(fleet):
    assert fleet.ask(Verb.ABORT).reason is Reason.NOTHING_TO_DO
    assert fleet.ask(Verb.ABORT, "svc/never").reason is Reason.NOTHING_TO_DO


@pytest.mark.parametrize("phase", [Phase.WATCHING, Phase.DONE])
def test_undo_goes_back_at_once_from_what_is_promoted(fleet, phase):
    fleet.submit(plan("2"))
    fleet.until(phase)
    fleet.ask(Verb.UNDO)
    assert desired_of(fleet.ledger, SHOP, 1, "test").settled.version == "1"
    fleet.turn()
    assert len(fleet.on("1")) == 12
    assert (fleet.state().phase, fleet.state().settled.version) == (Phase.DONE, "1")
    assert fleet.ask(Verb.UNDO).reason is Reason.NOTHING_TO_DO
    fleet.check_rebuilt()


def test_retry_is_the_next_attempt_with_tokens_and_placements_of_its_own(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    before = fleet.state().placement
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    fleet.ask(Verb.RETRY)
    assert (fleet.state().rollout, fleet.state().quarantined) == ("to-2.2", ())
    assert fleet.state().placement != before
    fleet.until(Phase.WATCHING)
    assert len(fleet.on("2")) == 12


# Who is there and who is not (B5, B6)


def test_unreachable_nodes_up_to_a_tenth_are_left_out_and_named(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    lost = fleet.ledger.rosters[SHOP].nodes[7]
    fleet.nodes[lost].away = True
    fleet.until(Phase.WATCHING)
    assert len(fleet.on("2")) == 11
    assert next(one for one in reversed(fleet.decisions) if one.kind is DecisionKind.BAKE).facts["unreachable"] == [lost]
    fleet.nodes[lost].away = False
    fleet.turn(2)
    assert len(fleet.on("2")) == 12


def test_a_node_lost_in_a_long_bake_does_not_bring_the_rollout_down_at_once(fleet):
    fleet.submit(plan("2", stages=(Stage(set_nodes=1, bake="1h"), Stage(set_weight=100))))
    fleet.until_stage(0)
    fleet.turn(1_800)
    canary = fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]]
    canary.away = True
    fleet.turn(300)
    assert fleet.state().phase is Phase.RUNNING
    canary.away = False
    fleet.turn(1)
    assert Reason.UNREACHABLE not in [reason for reason, _ in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)]


def test_a_node_that_comes_back_after_the_release_expired_gets_it_anew(fleet):
    fleet.submit(plan("2", stages=(Stage(set_weight=100, bake="1h"),), progress_deadline="5m"))
    lost = fleet.nodes[fleet.ledger.rosters[SHOP].nodes[11]]
    lost.away = True
    fleet.turn(100)
    fleet.until_stage(0)
    fleet.turn(400)
    lost.away = False
    fleet.turn(3)
    assert lost.running["shop"].version == "2"
    assert any(one.kind is DecisionKind.RELEASE and one.reason is Reason.NOT_READY for one in fleet.decisions)


def test_a_late_joiner_is_appended_before_the_last_stage_and_later_ones_take_the_new_version(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    early = fleet.join("n90")
    fleet.turn(2)
    assert early.running["shop"].version == "1"
    before = fleet.ledger.rosters[SHOP].nodes
    fleet.until_stage(2, baking=False)
    assert fleet.ledger.rosters[SHOP].nodes == (*before, "n90")
    late = fleet.join("n91")
    fleet.until(Phase.WATCHING)
    assert (early.running["shop"].version, late.running["shop"].version) == ("2", "2")
    later = fleet.join("n92")
    fleet.turn(2)
    assert later.running["shop"].version == "2"
    fleet.check_rebuilt()


def test_a_newcomer_goes_back_with_the_fleet(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    late = fleet.join("n91")
    fleet.turn(2)
    late.slow.add("1")
    fleet.judge(Outcome.FAIL)
    fleet.turn(5)
    assert fleet.state().phase is Phase.ROLLING_BACK
    late.slow.clear()
    fleet.turn(1)
    assert (fleet.state().phase, late.running["shop"].version) == (Phase.DONE, "1")


# Queues (D7)


def test_a_queued_plan_whose_ground_is_gone_is_refused_when_its_turn_comes(fleet):
    fleet.submit(plan("2"))
    fleet.submit(plan("3", "2"))
    fleet.submit(plan("4", "1"))
    fleet.until_stage(0)
    fleet.judge(Outcome.FAIL)
    fleet.turn(1)
    refused = [one for one in fleet.decisions if one.kind is DecisionKind.REFUSE]
    assert [one.reason for one in refused] == [Reason.WRONG_ROLLBACK_TARGET]
    assert fleet.state().rollout == "to-4.1"


def test_a_new_plan_supersedes_a_watch(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    kinds = [decision.kind for decision in fleet.submit(plan("3", "2"))]
    assert kinds == [DecisionKind.COMPLETE, DecisionKind.ACCEPT, DecisionKind.START]
    assert fleet.state().settled.version == "2"
    fleet.until(Phase.WATCHING)
    assert len(fleet.on("3")) == 12


def test_a_refused_plan_supersedes_nothing(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    assert [one.kind for one in fleet.submit(plan("3", "1"))] == [DecisionKind.REFUSE]
    assert fleet.state().phase is Phase.WATCHING


def test_nodes_in_another_rollout_are_not_taken_and_the_later_plan_waits():
    fleet = Fleet(services=("shop", "cart"))
    fleet.install()
    cart = plan("1", None, (Stage(set_weight=100, bake="0s"),), id="cart-1", service="cart", watch="1s", max_unavailable="100%")
    fleet.submit(cart)
    fleet.until(Phase.DONE, subject="svc/cart")
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.submit(plan("2", id="cart-2", service="cart"))
    shop, other = fleet.ledger.rosters[SHOP].nodes, fleet.ledger.rosters["svc/cart"].nodes
    assert set(other) == set(shop[2:])
    fleet.ask(Verb.ABORT, "svc/cart")
    fleet.until(Phase.DONE, subject="svc/cart")
    fleet.until_stage(2, baking=False)
    assert fleet.submit(plan("3", id="cart-3", service="cart"))[0].reason is Reason.PLAN_QUEUED
    fleet.until(Phase.WATCHING)
    fleet.turn()
    assert fleet.state("svc/cart").rollout == "cart-3.1"


def test_a_decider_that_starts_again_from_the_log_goes_on_as_if_nothing_had_happened(fleet):
    document = plan("2")
    fleet.submit(document)
    while fleet.state().phase is not Phase.DONE:
        fleet.turn()
        fleet.check_rebuilt()
        fleet.submit(document)
    assert fleet.kinds().count(DecisionKind.ACCEPT) == 2
    assert fleet.state().settled.version == "2"


def test_too_few_requests_are_told_once(fleet):
    fleet.outcome, fleet.requests = Outcome.HOLD, 3
    fleet.submit(plan("2"))
    fleet.turn(5)
    judged = fleet.view.verdicts[SHOP]
    fleet.feed(VerdictArrived(replace(judged, reason=Reason.TOO_FEW_REQUESTS, sentence="3 of 10 requests so far."), fleet.now_ms))
    told = [text for reason, text in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms) if reason is Reason.TOO_FEW_REQUESTS]
    assert told == ["The canary has served 3 of the 10 requests that this stage needs."]
