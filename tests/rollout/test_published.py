"""What users of other systems met, each as a rule here, with the issue that it comes from."""

import pytest
from msgspec.structs import replace
from tests.rollout.fleet import SHOP, Fleet, plan, wake_at

from tidegate.rollout.alarms import alarms_of
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Gate, GateDefault, Pause, Rollback, Stage
from tidegate.wire.policies import Freeze
from tidegate.wire.reasons import Reason

EVERYONE = Stage(set_weight=100, bake="10s", min_requests=10)
WAITING = ("batch", "bake", "requests", "licence", "gate", "timed gate", "pause", "freeze", "watch")


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet(nodes=12)
    made.install()
    return made


def wait_in(fleet: Fleet, where: str) -> None:
    """Bring a release to where it waits for something."""
    pause = {"gate": Pause(), "timed gate": Pause(duration="1h", default=GateDefault.PROMOTE)}.get(where)
    first = Stage(
        set_nodes=3,
        bake="1h" if where == "bake" else "5s",
        min_requests=10_000 if where == "requests" else 10,
        gate=Gate.CERTIFIED if where == "licence" else Gate.NO_EVIDENCE,
        pause=pause,
    )
    fleet.submit(plan("2", stages=(first, EVERYONE), max_unavailable="2"))
    if where == "batch":
        for node in fleet.nodes.values():
            node.slow.add("2")
        fleet.turn(5)
    elif where == "watch":
        fleet.until(Phase.WATCHING)
    else:
        fleet.until_stage(0)
        if where == "freeze":
            fleet.policy(freezes=(Freeze(),))
        if where == "pause":
            fleet.ask(Verb.PAUSE)
        fleet.turn(20)
    assert fleet.state().phase in (Phase.RUNNING, Phase.PAUSED, Phase.WATCHING)


# Rollback itself breaks


@pytest.mark.parametrize("where", WAITING)
def test_flagger_1801_guardrails_roll_back_whatever_a_release_waits_for(fleet, where):
    wait_in(fleet, where)
    fleet.outcome = None
    fleet.judge(Outcome.FAIL)
    assert fleet.state().phase is Phase.ROLLING_BACK
    fleet.until(Phase.DONE, seconds=60)
    assert len(fleet.on("1")) == 12


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.PAUSE])
def test_flagger_1432_an_open_gate_hears_whoever_wants_back_or_a_stop(fleet, verb):
    """There the rollback hook is not polled while a release waits for approval."""
    wait_in(fleet, "gate")
    fleet.outcome = None
    fleet.ask(verb)
    fleet.turn(5)
    assert fleet.state().phase is (Phase.PAUSED if verb is Verb.PAUSE else Phase.DONE)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE, seconds=60)
    assert len(fleet.on("1")) == 12


@pytest.mark.parametrize("default", GateDefault)
def test_flagger_1450_738_a_gate_with_an_end_ends(fleet, default):
    gate = Pause(duration="30s", default=default)
    fleet.submit(plan("2", stages=(Stage(set_nodes=1, bake="5s", min_requests=1, pause=gate), EVERYONE)))
    fleet.until_stage(0)
    fleet.turn(45)
    ended = {GateDefault.PROMOTE: 1, GateDefault.ROLLBACK: 0, GateDefault.HOLD: 0}
    assert fleet.state().stage == ended[default]
    rolled_back = [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK]
    assert rolled_back == ([Reason.GATE_TIMED_OUT] if default is GateDefault.ROLLBACK else [])


@pytest.mark.parametrize("where", WAITING)
def test_flagger_724_413_a_person_fails_it_now_whatever_it_waits_for(fleet, where):
    wait_in(fleet, where)
    fleet.outcome = None
    assert fleet.ask(Verb.ABORT, generation=1).kind is DecisionKind.ROLLBACK
    fleet.until(Phase.DONE, seconds=60)
    assert (len(fleet.on("1")), fleet.state().result) == (12, Result.ABORTED)


def test_flagger_237_1152_a_failed_release_is_retried_as_it_is(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    assert fleet.ask(Verb.RETRY).kind is DecisionKind.START
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_argo_4898_4926_3020_2119_an_abort_at_any_size_brings_everyone_back_and_leaves_nobody_without_a_version(fleet, stage):
    """There the old side had been scaled down with the stages: an abort deadlocked, or was served by too few."""
    fleet.submit(plan("2"))
    fleet.until_stage(stage)
    fleet.outcome = None
    fleet.ask(Verb.ABORT)
    for _ in range(10):
        fleet.turn()
        assert len(fleet.versions()) == 12
    assert (fleet.state().phase, len(fleet.on("1"))) == (Phase.DONE, 12)


def test_argo_3669_a_way_back_that_is_fast_waits_for_no_analysis(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    fleet.outcome = None
    fleet.submit(plan("1", "2", (Stage(set_weight=100, bake="1h", min_requests=1_000),), id="back", fast=True))
    fleet.until(Phase.WATCHING, seconds=60)
    assert len(fleet.on("1")) == 12


def test_argo_3888_a_way_back_may_be_gradual(fleet):
    back = Rollback(artifact=fleet.state().settled, max_unavailable="2")
    fleet.submit(replace(plan("2"), rollback=back))
    fleet.until(Phase.WATCHING)
    fleet.outcome = None
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    released = [one.state.released for one in fleet.decisions if one.state and one.state.phase is Phase.ROLLING_BACK]
    assert (released, len(fleet.on("1"))) == ([10, 8, 6, 4, 2, 0], 12)


def test_argo_1292_an_abort_with_nothing_in_progress_moves_nothing(fleet):
    before = fleet.versions()
    refused = fleet.ask(Verb.ABORT)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.NOTHING_TO_DO)
    fleet.turn(60)
    assert fleet.versions() == before


def test_argo_3774_841_3120_a_second_abort_or_retry_sticks_nowhere(fleet):
    fleet.submit(plan("2"))
    for _ in range(3):
        fleet.until_stage(0)
        assert fleet.ask(Verb.ABORT).kind is DecisionKind.ROLLBACK
        assert fleet.ask(Verb.ABORT).reason is Reason.NOTHING_TO_DO
        fleet.until(Phase.DONE, seconds=60)
        assert len(fleet.on("1")) == 12
        assert fleet.ask(Verb.RETRY).kind is DecisionKind.START
        assert fleet.ask(Verb.RETRY).reason is Reason.NOTHING_TO_DO
    fleet.until(Phase.DONE)
    assert len(fleet.on("2")) == 12


def test_argo_2929_what_was_aborted_does_not_retry_itself(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    fleet.check_rebuilt()
    fleet.turn(200)
    assert fleet.on("2") == []
    assert fleet.submit(plan("2", id="again"))[0].reason is Reason.QUARANTINED


def test_argo_1774_995_3110_1416_a_broken_old_version_does_not_keep_out_the_fix(fleet):
    """Everywhere the settled version has stopped to start; the fix must get onto the roster nevertheless."""
    for node in fleet.nodes.values():
        node.broken.add("1")
        node.running.clear()
        node.failed["shop"] = "1"
    fleet.turn(2)
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    assert len(fleet.on("2")) == 12


def test_argo_1774_a_way_back_to_what_does_not_start_any_more_ends_and_makes_way_for_the_fix(fleet):
    fleet.submit(plan("2", progress_deadline="60s"))
    fleet.until_stage(1)
    first = fleet.ledger.rosters[SHOP].nodes[0]
    fleet.nodes[first].broken.add("1")
    fleet.outcome = None
    fleet.judge(Outcome.FAIL)
    fleet.turn(55)
    assert fleet.state().phase is Phase.ROLLING_BACK
    fleet.until(Phase.DONE, seconds=10)
    assert fleet.state().missing == (first,)
    assert f"does not start on {first}" in fleet.last().message
    assert "rollback_happened" in [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)]
    fleet.outcome = Outcome.PASS
    fleet.submit(plan("3"))
    fleet.until(Phase.DONE)
    assert len(fleet.on("3")) == 12


def test_nomad_10882_a_way_back_goes_through_no_canary_and_leaves_nobody_behind(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    fleet.outcome = None
    fleet.judge(Outcome.FAIL)
    fleet.turn(2)
    assert len(fleet.on("1")) == 12
    assert fleet.kinds()[-2:] == ["rollback", "returned"]


@pytest.mark.parametrize("ill", ["slow", "away", "cannot fetch"])
def test_nomad_10465_hawkbit_693_a_canary_that_never_answers_ends_at_the_deadline(fleet, ill):
    fleet.submit(plan("2", progress_deadline="100s"))
    for node in fleet.ledger.rosters[SHOP].nodes[:2]:
        match ill:
            case "slow":
                fleet.nodes[node].slow.add("2")
            case "away":
                fleet.nodes[node].away = True
            case "cannot fetch":
                fleet.nodes[node].unfetchable["2"] = "404"
    fleet.until(Phase.DONE, seconds=400)
    assert [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK] == [Reason.DEADLINE]


def test_nomad_20308_what_promotes_itself_still_does_after_a_pause_and_a_retry(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    fleet.ask(Verb.PAUSE)
    fleet.ask(Verb.RESUME)
    fleet.until_stage(1)
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    fleet.ask(Verb.RETRY)
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED
    assert "gate" not in fleet.kinds()


def test_nomad_5619_a_version_that_failed_reappears_on_no_newcomer(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    fleet.join("new")
    fleet.turn(5)
    assert fleet.versions()["new"] == "1"


def test_codedeploy_a_way_back_that_stalls_on_some_nodes_leaves_no_split_fleet(fleet):
    """There a rollback is a deployment that runs the same hooks: where they hang, the rest waits (bitsfolio.com, "Fixing AWS
    CodeDeploy Rollbacks That Stall"). Here even a gradual one goes on without them, and says who is not back.
    """
    back = Rollback(artifact=fleet.state().settled, max_unavailable="2")
    fleet.submit(replace(plan("2", progress_deadline="60s"), rollback=back))
    fleet.until(Phase.WATCHING)
    stalling = fleet.ledger.rosters[SHOP].nodes[-1]
    fleet.nodes[stalling].slow.add("1")
    fleet.outcome = None
    fleet.judge(Outcome.FAIL)
    fleet.turn(55)
    assert len(fleet.on("2")) == 11
    fleet.turn(30)
    assert fleet.on("2") == [stalling]
    assert fleet.state().phase is Phase.ROLLING_BACK
    assert wake_at(fleet.ledger, fleet.view, fleet.now_ms) is not None
    fleet.nodes[stalling].slow.clear()
    fleet.until(Phase.DONE, seconds=5)
    assert len(fleet.on("1")) == 12


# Missing or thin data decides the wrong way


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_argo_1466_flagger_1035_no_verdict_at_all_neither_advances_nor_rolls_back(fleet, stage):
    fleet.submit(plan("2", progress_deadline="60s"))
    fleet.until_stage(stage)
    fleet.outcome = None
    fleet.turn(150)
    assert (fleet.state().phase, fleet.state().stage) == (Phase.RUNNING, stage)


@pytest.mark.parametrize("reason", [Reason.IDLE, Reason.TOO_FEW_REQUESTS, Reason.BOTH_SILENT, Reason.TELEMETRY_DOWN])
def test_argo_1945_4864_3258_before_there_is_traffic_nothing_passes_and_nothing_is_aborted(fleet, reason):
    fleet.outcome = None
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    for _ in range(120):
        fleet.judge(Outcome.HOLD, reason=reason, canary_requests=0)
        fleet.turn()
    assert (fleet.state().phase, fleet.state().stage) == (Phase.RUNNING, 0)
    fleet.outcome = Outcome.PASS
    fleet.until(Phase.DONE)


def test_flagger_1011_traffic_that_stops_midway_stops_the_advance(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    fleet.judge(Outcome.PASS)
    fleet.outcome = Outcome.HOLD
    fleet.turn(100)
    assert fleet.state().stage == 1


def test_flagger_361_a_service_without_requests_may_say_so_in_its_plan(fleet):
    stages = (Stage(set_nodes=1, bake="5s", min_requests=0), Stage(set_weight=100, bake="5s", min_requests=0))
    fleet.requests = 0
    fleet.submit(plan("2", stages=stages))
    fleet.until(Phase.DONE)
    assert len(fleet.on("2")) == 12


@pytest.mark.parametrize("reason", [Reason.WARMING_UP, Reason.ENVIRONMENT, Reason.ONE_NODE_ONLY, Reason.LATE])
def test_argo_3850_what_is_inconclusive_is_never_promoted(fleet, reason):
    fleet.submit(plan("2"))
    fleet.until_stage(2)
    fleet.outcome = None
    for _ in range(120):
        fleet.judge(Outcome.HOLD, reason=reason)
        fleet.turn()
    assert (fleet.state().phase, fleet.state().result) == (Phase.RUNNING, Result.NONE)


def test_argo_1329_2158_what_was_ended_early_is_no_success(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    assert (fleet.state().result, fleet.state().settled.version) == (Result.ABORTED, "1")


# After promotion nobody watches


def test_argo_1978_what_is_everywhere_is_still_judged_and_goes_back(fleet):
    fleet.submit(plan("2", watch="10m"))
    fleet.until(Phase.WATCHING)
    fleet.turn(100)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    assert len(fleet.on("1")) == 12
