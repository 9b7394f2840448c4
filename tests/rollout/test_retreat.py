"""Stop and back: fails, pauses, aborts, deadlines (D5, D6, B5, B7)."""

import pytest
from msgspec.structs import replace
from tests.rollout.fleet import Fleet, artifact, plan

from tidegate.rollout.alarms import alarms_of
from tidegate.rollout.levels import desired_of
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Move, Phase, Verb
from tidegate.wire.judgement import AlarmState, Evidence, Outcome, Severity
from tidegate.wire.plans import Action, GateDefault, Pause, Rollback, Stage
from tidegate.wire.reasons import Reason


def running(stage: int = 0, **fields) -> Fleet:
    """A fleet whose release 2 bakes in a stage."""
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2", **fields))
    fleet.until_stage(stage)
    fleet.outcome = Outcome.HOLD
    return fleet


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_fail_in_any_stage_brings_back_every_node_that_had_it(stage):
    fleet = running(stage)
    assert fleet.judge(Outcome.FAIL)[0].kind is DecisionKind.ROLLBACK
    assert desired_of(fleet.ledger, "svc/shop", 1, "test").move is Move.RETREAT
    fleet.until(Phase.DONE)
    assert fleet.on("2") == []
    assert fleet.state().result is Result.ROLLED_BACK
    fleet.check_rebuilt()


def paused_by_silence(**fields) -> Fleet:
    fleet = running(1, **fields)
    fleet.judge(Outcome.FAIL, reason=Reason.SILENT, action=Action.PAUSE, silent_nodes=("n1",))
    assert (fleet.state().phase, fleet.state().paused_reason) == (Phase.PAUSED, Reason.SILENT)
    return fleet


@pytest.mark.parametrize(
    ("after_s", "verdict", "phase"),
    [
        (5, {"outcome": Outcome.PASS}, Phase.RUNNING),
        (5, {"outcome": Outcome.HOLD, "reason": Reason.TOO_FEW_REQUESTS}, Phase.RUNNING),
        (4, {"outcome": Outcome.PASS}, Phase.PAUSED),
        (9, {"outcome": Outcome.PASS, "silent_nodes": ("n1",)}, Phase.PAUSED),
        (9, {"outcome": Outcome.HOLD, "reason": Reason.PARTLY_SILENT}, Phase.PAUSED),
        (9, {"outcome": Outcome.HOLD, "reason": Reason.TELEMETRY_DOWN}, Phase.PAUSED),
        (9, {"outcome": Outcome.PASS, "placement": "another"}, Phase.PAUSED),
        (9, {"outcome": Outcome.FAIL, "reason": Reason.SILENT, "action": Action.ROLLBACK}, Phase.ROLLING_BACK),
    ],
)
def test_a_pause_for_silence_lifts_itself_when_everyone_has_reported_for_five_seconds(after_s, verdict, phase):
    fleet = paused_by_silence()
    fleet.now_ms += after_s * 1_000
    fleet.judge(**verdict)
    assert fleet.state().phase is phase
    if phase is Phase.RUNNING:
        assert fleet.decisions[-1].reason is Reason.REPORTING_AGAIN
        fleet.outcome = Outcome.PASS
        fleet.until(Phase.DONE)
        assert fleet.state().result is Result.PROMOTED
    fleet.check_rebuilt()


BURNS = {"outcome": Outcome.HOLD, "reason": Reason.ENVIRONMENT}


@pytest.mark.parametrize(
    ("after_s", "verdict", "phase"),
    [
        (30, {"outcome": Outcome.PASS}, Phase.RUNNING),
        (30, {"outcome": Outcome.HOLD, "reason": Reason.TOO_FEW_REQUESTS}, Phase.RUNNING),
        (29, {"outcome": Outcome.PASS}, Phase.PAUSED),
        (60, BURNS, Phase.PAUSED),
        (60, {"outcome": Outcome.HOLD, "reason": Reason.BOTH_SILENT}, Phase.PAUSED),
        (60, {"outcome": Outcome.FAIL, "reason": Reason.LIMIT_BROKEN, "action": Action.PAUSE}, Phase.PAUSED),
        (60, {"outcome": Outcome.FAIL, "reason": Reason.GROSS_ERRORS, "action": Action.ROLLBACK}, Phase.ROLLING_BACK),
    ],
)
def test_a_pause_because_the_whole_service_burned_lifts_itself_half_a_minute_after_and_bakes_anew(after_s, verdict, phase):
    fleet = running(1)
    fleet.judge(Outcome.FAIL, reason=Reason.ENVIRONMENT, action=Action.PAUSE)
    assert (fleet.state().phase, fleet.state().paused_reason) == (Phase.PAUSED, Reason.ENVIRONMENT)
    fleet.now_ms += after_s * 1_000
    fleet.judge(**verdict)
    assert fleet.state().phase is phase
    if phase is Phase.RUNNING:
        reasons = [decision.reason for decision in fleet.decisions]
        assert Reason.BURNED_OUT in reasons[-3:]
        fleet.outcome, lifted_ms = Outcome.PASS, fleet.now_ms
        fleet.until_stage(2, baking=False)
        assert fleet.now_ms - lifted_ms >= 10_000
        fleet.until(Phase.DONE)
        assert fleet.state().result is Result.PROMOTED
    fleet.check_rebuilt()


def spoken(log_e: float) -> tuple[Evidence, ...]:
    return (Evidence(family="errors", metric="errors", log_e=0.0, threshold=5.3, log_e_pause=log_e),)


@pytest.mark.parametrize(
    ("after_s", "verdict", "phase"),
    [
        (60, {"outcome": Outcome.PASS, "evidence": spoken(2.0)}, Phase.RUNNING),
        (60, {"outcome": Outcome.PASS, "evidence": spoken(2.5)}, Phase.PAUSED),
        (59, {"outcome": Outcome.PASS, "evidence": spoken(0.0)}, Phase.PAUSED),
        (60, {"outcome": Outcome.FAIL, "reason": Reason.EVIDENCE, "action": Action.ROLLBACK}, Phase.ROLLING_BACK),
    ],
)
def test_a_pause_for_what_one_server_did_lifts_itself_when_that_has_faded_for_a_minute(after_s, verdict, phase):
    fleet = running(1)
    fleet.judge(Outcome.FAIL, reason=Reason.EVIDENCE, action=Action.PAUSE, evidence=spoken(6.0))
    assert (fleet.state().phase, fleet.state().paused_reason) == (Phase.PAUSED, Reason.EVIDENCE)
    fleet.now_ms += after_s * 1_000
    fleet.judge(**verdict)
    assert fleet.state().phase is phase
    if phase is Phase.RUNNING:
        assert Reason.EVIDENCE_FADED in [decision.reason for decision in fleet.decisions]
    fleet.check_rebuilt()


def test_a_pause_for_anything_else_waits_for_a_person():
    fleet = paused_by_silence()
    fleet.judge(Outcome.FAIL, reason=Reason.CRASHED, action=Action.PAUSE)
    fleet.now_ms += 60_000
    assert fleet.judge(Outcome.PASS) == ()
    assert fleet.state().phase is Phase.PAUSED


def test_where_the_plan_pauses_on_a_fail_no_silence_lifts_it():
    fleet = paused_by_silence(on_fail=Action.PAUSE)
    fleet.judge(Outcome.FAIL, reason=Reason.SILENT)
    fleet.now_ms += 60_000
    fleet.judge(Outcome.PASS)
    assert fleet.state().phase is Phase.PAUSED


def test_a_rollout_that_nobody_judges_raises_an_alarm_that_ends_with_the_next_verdict():
    fleet = running(1)
    fleet.judge(Outcome.HOLD)
    judged_ms = fleet.now_ms - 1_000
    open_at = {}
    for after_s in (14, 17):
        open_at[after_s] = [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, judged_ms + after_s * 1_000)]
    assert open_at == {14: [], 17: ["pipeline_stale"]}
    fleet.now_ms += 20_000
    fleet.judge(Outcome.HOLD)
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()


def test_a_fail_while_watching_is_a_rollback_too():
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    fleet.judge(Outcome.FAIL)
    fleet.outcome = Outcome.HOLD
    fleet.until(Phase.DONE)
    assert len(fleet.on("1")) == 12


def test_a_fail_of_an_older_placement_moves_nothing():
    fleet = running(1)
    old = next(decision.state.placement for decision in fleet.decisions if decision.state and decision.state.stage == 0)
    assert old != fleet.state().placement
    assert fleet.judge(Outcome.FAIL, placement=old) == ()
    assert fleet.state().phase is Phase.RUNNING


def test_a_stale_pass_of_an_older_placement_never_advances():
    fleet = running(1)
    before = fleet.state()
    old = "another placement"
    for _ in range(30):
        fleet.turn()
        fleet.judge(Outcome.PASS, placement=old)
    assert fleet.state().stage == before.stage


def test_a_pass_older_than_five_seconds_does_not_advance():
    fleet = running(0)
    fleet.outcome = None
    fleet.turn(12)
    fleet.judge(Outcome.PASS, last_pane_ms=fleet.now_ms - 5_001)
    assert fleet.state().stage == 0
    fleet.judge(Outcome.PASS, last_pane_ms=fleet.now_ms - 5_000)
    assert fleet.state().stage == 1


def test_too_few_requests_hold_an_advance():
    fleet = running(0)
    fleet.requests, fleet.outcome = 9, Outcome.PASS
    fleet.turn(20)
    assert fleet.state().stage == 0
    fleet.requests = 10
    fleet.turn(2)
    assert fleet.state().stage == 1


@pytest.mark.parametrize(("severity", "stage"), [(Severity.CRITICAL, 0), (Severity.WARNING, 1)])
def test_an_open_critical_alarm_holds_an_advance_and_a_warning_does_not(severity, stage):
    fleet = running(0)
    fleet.alarm(AlarmState.FIRING, severity)
    fleet.outcome = Outcome.PASS
    fleet.turn(14)
    assert fleet.state().stage == stage
    fleet.alarm(AlarmState.RESOLVED, severity)
    fleet.turn(3)
    assert fleet.state().stage == 1


def test_a_fail_that_asks_for_a_pause_pauses_and_judgement_goes_on():
    fleet = running(0)
    assert fleet.judge(Outcome.FAIL, action=Action.PAUSE)[0].kind is DecisionKind.PAUSE
    fleet.turn(30)
    assert fleet.state().phase is Phase.PAUSED
    assert fleet.judge(Outcome.FAIL)[0].kind is DecisionKind.ROLLBACK


def test_on_fail_pause_keeps_a_one_way_release_where_it_is():
    fleet = running(1, on_fail=Action.PAUSE)
    assert fleet.judge(Outcome.FAIL)[0].kind is DecisionKind.PAUSE
    fleet.turn(5)
    assert len(fleet.on("2")) == 3


def test_a_person_resumes_over_a_pause_and_the_same_pause_does_not_come_again():
    fleet = running(0)
    fleet.judge(Outcome.FAIL, action=Action.PAUSE)
    assert fleet.ask(Verb.RESUME).kind is DecisionKind.RESUME
    fleet.outcome = Outcome.PASS
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


@pytest.mark.parametrize(("verb", "kind"), [(Verb.PROMOTE, "refuse"), (Verb.RESUME, "refuse"), (Verb.PAUSE, "pause")])
def test_an_intent_that_saw_an_older_generation_is_refused_except_pause_and_abort(verb, kind):
    fleet = running(0)
    decision = fleet.ask(verb, generation=fleet.state().generation - 1)
    assert decision.kind == kind
    if kind == "refuse":
        assert decision.reason is Reason.STALE_GENERATION


def test_promote_by_a_person_ends_a_bake_but_never_a_fail():
    fleet = running(0)
    fleet.judge(Outcome.PASS)
    fleet.ask(Verb.PROMOTE)
    fleet.outcome = Outcome.PASS
    fleet.turn(2)
    assert fleet.state().stage == 1
    fleet.until_stage(1)
    fleet.outcome = Outcome.HOLD
    fleet.judge(Outcome.FAIL)
    assert fleet.ask(Verb.PROMOTE).kind is DecisionKind.REFUSE
    assert fleet.state().phase is Phase.ROLLING_BACK


@pytest.mark.parametrize(
    ("default", "stage", "result"),
    [
        (GateDefault.PROMOTE, 1, Result.NONE),
        (GateDefault.ROLLBACK, 0, Result.ROLLED_BACK),
        (GateDefault.HOLD, 0, Result.NONE),
    ],
)
def test_a_gate_that_nobody_answers_ends_by_its_default(default, stage, result):
    stages = (
        Stage(set_nodes=1, bake="5s", min_requests=1, pause=Pause(duration="30s", default=default)),
        Stage(set_weight=100, bake="60s", min_requests=1),
    )
    fleet = running(0, stages=stages)
    fleet.outcome = Outcome.PASS
    fleet.turn(30)
    assert (fleet.state().stage, fleet.state().phase) == (0, Phase.RUNNING)
    fleet.turn(8)
    assert (fleet.state().stage, fleet.state().result) == (stage, result)


def test_a_gate_without_an_end_waits_for_a_person():
    stages = (Stage(set_nodes=1, bake="5s", min_requests=1, pause=Pause()), Stage(set_weight=100, bake="5s", min_requests=1))
    fleet = running(0, stages=stages)
    fleet.outcome = Outcome.PASS
    fleet.turn(500)
    assert fleet.state().stage == 0
    fleet.ask(Verb.PROMOTE)
    fleet.turn(2)
    assert fleet.state().stage == 1


def test_guardrails_judge_on_while_a_gate_waits():
    stages = (Stage(set_nodes=1, bake="5s", min_requests=1, pause=Pause()), Stage(set_weight=100, bake="5s", min_requests=1))
    fleet = running(0, stages=stages)
    fleet.outcome = Outcome.PASS
    fleet.turn(30)
    assert fleet.judge(Outcome.FAIL)[0].kind is DecisionKind.ROLLBACK


def test_a_version_that_does_not_start_on_a_node_is_a_fail():
    fleet = Fleet()
    fleet.install()
    for node in fleet.nodes.values():
        node.broken.add("2")
    fleet.submit(plan("2"))
    fleet.outcome = Outcome.HOLD
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.ROLLED_BACK
    assert [decision.reason for decision in fleet.decisions if decision.kind is DecisionKind.ROLLBACK] == [Reason.START_FAILED]


def test_a_version_that_never_gets_ready_is_rolled_back_at_the_deadline():
    fleet = Fleet()
    fleet.install()
    for node in fleet.nodes.values():
        node.slow.add("2")
    fleet.submit(plan("2", progress_deadline="30s"))
    fleet.outcome = Outcome.HOLD
    fleet.until(Phase.DONE, seconds=60)
    assert [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK] == [Reason.DEADLINE]


def test_one_unreachable_node_of_twelve_is_tolerated_and_named_and_converges_when_it_comes_back():
    fleet = running(1)
    lost = fleet.nodes[next(name for name in fleet.nodes if name not in fleet.on("2"))]
    lost.away = True
    fleet.outcome = Outcome.PASS
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED
    assert lost.name in fleet.state().missing
    lost.away = False
    fleet.turn(2)
    assert lost.running["shop"] == artifact("2")


def test_too_many_unreachable_nodes_hold_the_stage_and_end_it_at_the_deadline():
    fleet = running(1)
    for name in [name for name in fleet.nodes if name not in fleet.on("2")][:4]:
        fleet.nodes[name].away = True
    fleet.outcome = Outcome.PASS
    fleet.turn(200)
    assert fleet.state().stage == 2
    assert fleet.state().phase is not Phase.WATCHING
    fleet.until(Phase.DONE, seconds=900)
    assert fleet.state().result is Result.ROLLED_BACK


def test_a_retreat_goes_to_everyone_at_once_unless_the_plan_says_otherwise():
    fleet = running(2)
    fleet.judge(Outcome.FAIL)
    assert desired_of(fleet.ledger, "svc/shop", 1, "test").released == 0
    gentle = Fleet()
    gentle.install()
    document = plan("2")
    gentle.submit(
        type(document)(
            **{name: getattr(document, name) for name in document.__struct_fields__ if name != "rollback"},
            rollback=Rollback(artifact=artifact("1"), max_unavailable="4"),
        )
    )
    gentle.until_stage(2)
    gentle.outcome = Outcome.HOLD
    gentle.judge(Outcome.FAIL)
    assert desired_of(gentle.ledger, "svc/shop", 1, "test").released == 8
    gentle.until(Phase.DONE)
    assert gentle.on("2") == []


def test_the_alarm_rollback_happened_is_open_until_the_fleet_is_back():
    fleet = running(1)
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()
    fleet.judge(Outcome.FAIL)
    assert [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)] == ["rollback_happened"]
    fleet.until(Phase.DONE)
    fleet.turn()
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()


def test_a_rolled_back_version_is_quarantined_until_a_person_says_otherwise():
    fleet = running(0)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    assert fleet.submit(plan("2", id="again"))[0].reason is Reason.QUARANTINED
    fleet.ask(Verb.RELEASE, target="2")
    assert fleet.submit(plan("2", id="once-more"))[0].kind is DecisionKind.ACCEPT


def test_a_first_install_that_does_not_start_stops_and_raises_an_alarm():
    fleet = Fleet()
    for node in fleet.nodes.values():
        node.broken.add("1")
    fleet.outcome = None
    fleet.submit(plan("1", None))
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.FAILED
    assert [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)] == ["first_install_failed"]


def test_undo_goes_back_without_the_slow_path():
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    fleet.outcome = Outcome.HOLD
    assert fleet.ask(Verb.UNDO).kind in (DecisionKind.ROLLBACK, DecisionKind.START)
    for _ in range(60):
        fleet.turn()
    assert len(fleet.on("1")) == 12


def test_nodes_outside_the_roster_come_after_everyone_in_it():
    """B6: whoever is on no roster overtakes neither the batches of the last stage nor its bake."""
    fleet = Fleet()
    fleet.install()
    fleet.ask(Verb.CORDON, target="n00")
    fleet.submit(plan("2", max_unavailable="2"))
    fleet.until_stage(2, baking=False)
    while fleet.state().phase is Phase.RUNNING:
        assert "n00" not in fleet.on("2")
        fleet.turn()
    fleet.turn()
    assert len(fleet.on("2")) == 12


def test_a_node_on_which_a_one_way_release_does_not_start_is_let_go_by_cordoning_it():
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2", on_fail=Action.PAUSE))
    fleet.until_stage(0)
    sick = next(node for node in fleet.ledger.rosters["svc/shop"].nodes if node not in fleet.on("2"))
    fleet.nodes[sick].broken.add("2")
    fleet.until(Phase.PAUSED)
    fleet.ask(Verb.RESUME)
    fleet.turn()
    assert fleet.state().phase is Phase.PAUSED
    fleet.ask(Verb.CORDON, target=sick)
    fleet.ask(Verb.RESUME)
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.PROMOTED


def test_a_node_that_did_not_come_back_keeps_the_alarm_open_over_the_next_rollout():
    fleet = running(1)
    lost = fleet.on("2")[0]
    fleet.nodes[lost].away = True
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    fleet.submit(plan("3"))
    fleet.turn(3)
    assert fleet.state().phase is Phase.RUNNING
    assert [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)] == ["rollback_happened"]
    fleet.nodes[lost].away = False
    fleet.turn(3)
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()


@pytest.mark.parametrize("how", ["undo", "fail in the watch"])
def test_newcomers_go_back_in_the_batches_of_the_others(how):
    """An autoscaled fleet may be newcomers for the most part: all of them went back in one second (D6)."""
    fleet = Fleet(nodes=4)
    fleet.install()
    wanted = plan("2", watch="1h")
    fleet.submit(replace(wanted, rollback=replace(wanted.rollback, max_unavailable="1")))
    fleet.until(Phase.WATCHING)
    for number in range(12):
        fleet.join(f"m{number:02}")
    fleet.turn(5)
    assert len(fleet.on("2")) == 16
    if how == "undo":
        fleet.ask(Verb.ABORT)
    else:
        fleet.judge(Outcome.FAIL)
    before = len(fleet.decisions) - 1
    fleet.until(Phase.DONE)
    assert [one.state.released for one in fleet.decisions[before:-1]] == list(range(15, -1, -1))
    assert fleet.on("2") == []
    fleet.check_rebuilt()
