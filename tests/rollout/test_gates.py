"""Gates of services beside what else holds a stage: bakes that begin anew, and nodes that go away (B5, C2, D4)."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan
from tests.rollout.test_time import slept

from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action, GateDefault, Pause, Stage
from tidegate.wire.reasons import Reason

PROMOTE, HOLD, BACK = GateDefault.PROMOTE, GateDefault.HOLD, GateDefault.ROLLBACK


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.install()
    return made


def gated(fleet: Fleet, bake: str = "10s", gate: str | None = "20s", default: GateDefault = PROMOTE, **fields) -> None:
    """Begin a release whose first stage of three has a gate, and turn until that is open."""
    pause = Pause(duration=gate, default=default)
    first = Stage(set_nodes=3, bake=bake, min_requests=10, pause=pause)
    fleet.submit(plan("2", stages=(first, Stage(set_weight=100, bake="10s", min_requests=10)), **fields))
    for _ in range(1_000):
        if fleet.state().gate_since_ms:
            return
        fleet.turn()
    raise AssertionError(f"no gate: {fleet.state()}")


def canary(fleet: Fleet):
    return fleet.nodes[fleet.ledger.rosters[SHOP].nodes[0]]


def passed_without_a_pass(fleet: Fleet) -> None:
    """Let a person answer the gate while the judge has no pass: the stage goes on, and ends with the next pass."""
    fleet.outcome = Outcome.HOLD
    fleet.turn()
    fleet.ask(Verb.PROMOTE)
    assert (fleet.state().stage, fleet.state().gate_passed) == (0, True)


def ill(fleet: Fleet, how: str) -> None:
    """Let one of the canaries be unready, or away, from now on."""
    node = canary(fleet)
    if how == "away":
        node.away = True
    else:
        del node.running["shop"]
        node.slow.add("2")


def rolled_back(fleet: Fleet) -> list[Reason]:
    return [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK]


# A bake that begins anew


def burn(fleet: Fleet, seconds: int) -> None:
    """Everyone burns for a moment; then the judge says pass for so long."""
    fleet.judge(Outcome.FAIL, action=Action.PAUSE, reason=Reason.ENVIRONMENT)
    fleet.outcome = Outcome.PASS
    assert fleet.state().phase is Phase.PAUSED
    fleet.turn(seconds)


@pytest.mark.parametrize("answered", [False, True])
def test_after_a_burn_a_whole_bake_is_waited_for_though_its_gate_was_open_or_passed(fleet, answered):
    gated(fleet, bake="120s")
    if answered:
        passed_without_a_pass(fleet)
    burn(fleet, 35)
    resumed = next(one for one in fleet.decisions if one.kind is DecisionKind.RESUME)
    assert resumed.reason is Reason.BURNED_OUT
    assert (fleet.state().gate_since_ms, fleet.state().gate_passed) == (0, False)
    fleet.until_stage(1, baking=False)
    assert fleet.now_ms - resumed.now_ms >= 140_000, "a whole bake, and the gate after it"


def test_a_restored_rollout_bakes_anew_and_is_asked_at_its_gate_anew(fleet):
    gated(fleet, bake="60s", gate=None, default=HOLD)
    passed_without_a_pass(fleet)
    fleet.outcome = None
    fleet.restore()
    fleet.turn()
    assert (fleet.state().phase, fleet.state().gate_since_ms, fleet.state().gate_passed) == (Phase.PAUSED, 0, False)
    fleet.outcome = Outcome.PASS
    fleet.ask(Verb.RESUME)
    fleet.turn(50)
    assert (fleet.state().stage, fleet.state().gate_since_ms) == (0, 0)
    fleet.turn(150)
    assert fleet.state().stage == 0
    assert fleet.state().gate_since_ms


# Nodes that go away beside a gate


@pytest.mark.parametrize("how", ["unready", "away"])
@pytest.mark.parametrize("ended", ["by a person", "by its default"])
def test_a_stage_whose_gate_has_ended_does_not_wait_for_ever_for_a_node(fleet, ended, how):
    """B5: it is rolled back at the deadline, counted from the end of the gate or from the node's going away."""
    gated(fleet, progress_deadline="60s")
    if ended == "by a person":
        passed_without_a_pass(fleet)
    fleet.outcome = Outcome.HOLD
    ill(fleet, how)
    since = fleet.now_ms + (90_000 if how == "away" else 0)
    if ended == "by its default":
        since = max(since, fleet.state().gate_since_ms + 20_000)
    while fleet.state().phase is Phase.RUNNING and fleet.now_ms < since + 200_000:
        fleet.turn()
    assert rolled_back(fleet) == [Reason.DEADLINE]
    assert 60_000 <= fleet.now_ms - since <= 65_000


@pytest.mark.parametrize("how", ["unready", "away"])
def test_who_answers_a_gate_late_leaves_a_node_that_went_away_before_the_whole_deadline(fleet, how):
    gated(fleet, gate=None, default=HOLD, progress_deadline="60s")
    ill(fleet, how)
    fleet.turn(300)
    assert fleet.state().phase is Phase.RUNNING
    fleet.ask(Verb.PROMOTE)
    fleet.turn(58)
    assert fleet.state().phase is Phase.RUNNING
    fleet.turn(4)
    assert rolled_back(fleet) == [Reason.DEADLINE]


@pytest.mark.parametrize(("gate", "default"), [(None, HOLD), ("20s", HOLD), ("1h", PROMOTE), ("1h", BACK)])
def test_a_gate_that_waits_for_people_is_not_ended_by_a_node(fleet, gate, default):
    gated(fleet, gate=gate, default=default, progress_deadline="60s")
    ill(fleet, "unready")
    fleet.turn(300)
    assert fleet.state().phase is Phase.RUNNING
    node = canary(fleet)
    node.slow.clear()
    fleet.turn(2)
    fleet.ask(Verb.PROMOTE)
    fleet.until_stage(1, baking=False)


def test_a_gate_whose_default_is_rollback_says_so_though_a_node_is_away(fleet):
    gated(fleet, gate="100s", default=BACK, progress_deadline="60s")
    ill(fleet, "unready")
    fleet.until(Phase.DONE)
    assert rolled_back(fleet) == [Reason.GATE_TIMED_OUT]


def test_a_fleet_that_falls_silent_at_a_gate_goes_back_at_the_time_to_wake(fleet):
    gated(fleet, gate="100s", progress_deadline="60s")
    opened_ms = fleet.state().gate_since_ms
    slept(fleet, 300)
    assert rolled_back(fleet) == [Reason.DEADLINE]
    rollback = next(one for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK)
    assert opened_ms + 160_000 <= rollback.now_ms <= opened_ms + 161_000
