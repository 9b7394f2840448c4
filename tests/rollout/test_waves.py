"""Groups: waves in order, back as one in reverse (D7). Fleet holds every record against ``Waves``, which believes no group."""

import pytest
from tests.rollout.fleet import START_MS
from tests.rollout.waves import NAME, QUICK, Mortal, group, installed, member, state, story, until

from tidegate.rollout.alarms import alarms_of
from tidegate.rollout.group_status import group_status
from tidegate.rollout.membership import Standing, standing
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import AlarmState, Outcome
from tidegate.wire.plans import Stage, WhenBusy
from tidegate.wire.policies import Freeze
from tidegate.wire.reasons import Reason


def begun(*waves, bake=None, **plans):
    fleet = installed(*(one if isinstance(one, str) else one.service for wave in waves for one in wave))
    first, *rest = fleet.submit_group(group(fleet, *waves, bake=bake))
    assert (first.kind, first.reason, first.answers != "") == (DecisionKind.ACCEPT, Reason.PLAN_ACCEPTED, True)
    assert all(one.subject != NAME for one in rest)
    return fleet


def given(fleet, service):
    """Let time pass until some node has a service's new version."""
    while not fleet.state(f"svc/{service}").released:
        fleet.turn()


def waits(fleet):
    return [one.reason for one in group_status(fleet.ledger, fleet.view, NAME, fleet.now_ms).waits]


def test_a_wave_begins_when_the_one_before_is_promoted_and_watched():
    fleet = begun(["a", "b"], ["c"])
    until(fleet, Phase.DONE)
    assert state(fleet).result is Result.PROMOTED
    assert {fleet.versions(one)["n00"] for one in "abc"} == {"2"}
    starts = story(fleet, DecisionKind.START, DecisionKind.COMPLETE)[-7:]
    assert [starts[:2], starts[-2:]] == [["start a", "start b"], ["complete c", "complete all"]]
    assert sorted(starts[2:4]) == ["complete a", "complete b"]
    fleet.check_rebuilt()


def test_every_member_is_accepted_at_once_and_says_what_it_waits_for():
    fleet = begun(["a"], ["b"])
    assert len(fleet.state("svc/b").queue) == 1
    assert fleet.last("svc/b").reason is Reason.PLAN_QUEUED
    assert "wave 2 of 2 of group/all" in fleet.last("svc/b").message
    assert waits(fleet) == [Reason.NOT_READY]


def test_a_bad_second_wave_takes_back_all_in_reverse():
    fleet = begun(["a", "b"], ["c", "d"])
    given(fleet, "d")
    fleet.judge(Outcome.FAIL, "svc/d")
    assert state(fleet).cause is Reason.MEMBER_FAILED
    until(fleet, Phase.DONE)
    back = story(fleet, DecisionKind.ROLLBACK, DecisionKind.RETURNED)
    assert back[:3] == ["rollback d", "rollback all", "rollback c"]
    assert sorted(back[3:5]) == ["returned c", "returned d"]
    assert back[5:] == ["rollback a", "rollback b", "returned a", "returned b", "returned all"]
    assert {fleet.versions(one)[node] for one in "abcd" for node in fleet.nodes} == {"1"}
    assert (state(fleet).result, fleet.last(NAME).reason) == (Result.ROLLED_BACK, Reason.FLEET_BACK)
    assert len(fleet.ledger.retreats) == 1, "one failure spends a budget once"
    fleet.check_rebuilt()


def test_a_first_wave_that_fails_withdraws_the_plans_of_those_behind_it():
    fleet = begun(["a"], ["b"], ["c"])
    given(fleet, "a")
    fleet.judge(Outcome.FAIL, "svc/a")
    assert [fleet.state(one).queue for one in ("svc/b", "svc/c")] == [(), ()]
    until(fleet, Phase.DONE)
    assert story(fleet, DecisionKind.START)[-1] == "start a"


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.UNDO])
def test_a_person_takes_back_one_member_and_the_group_follows(verb):
    fleet = begun(["a"], ["b"])
    until(fleet, Phase.RUNNING, wave=1)
    fleet.turn(2)
    fleet.ask(verb, "svc/b" if verb is Verb.ABORT else "svc/a")
    until(fleet, Phase.DONE)
    assert set(fleet.versions("a").values()) | set(fleet.versions("b").values()) == {"1"}
    assert state(fleet).result is (Result.ABORTED if verb is Verb.ABORT else Result.ROLLED_BACK)


def test_retreat_waits_for_no_freeze_no_alarm_and_no_approval():
    fleet = begun(["a"], ["b"])
    until(fleet, Phase.RUNNING, wave=1)
    fleet.policy(freezes=(Freeze(),), second_approver=True)
    fleet.ask(Verb.ABORT, NAME)
    until(fleet, Phase.DONE, seconds=20)
    assert set(fleet.versions("a").values()) | set(fleet.versions("b").values()) == {"1"}


def test_abort_undo_and_their_limits():
    fleet = begun(["a"], ["b"])
    assert fleet.ask(Verb.UNDO, NAME).reason is Reason.NOTHING_TO_DO
    assert fleet.ask(Verb.RETRY, NAME).reason is Reason.NOT_ALLOWED
    until(fleet, Phase.DONE)
    assert fleet.ask(Verb.ABORT, NAME).reason is Reason.NOTHING_TO_DO
    assert fleet.ask(Verb.UNDO, NAME, generation=1).reason is Reason.STALE_GENERATION
    assert fleet.ask(Verb.UNDO, NAME).kind is DecisionKind.ROLLBACK
    until(fleet, Phase.DONE)
    back = story(fleet, DecisionKind.ROLLBACK, DecisionKind.RETURNED)
    assert back == ["rollback all", "rollback b", "returned b", "rollback a", "returned a", "returned all"]
    assert fleet.ask(Verb.UNDO, NAME).reason is Reason.NOTHING_TO_DO


def test_a_group_is_undone_as_one_or_not_at_all():
    fleet = begun(["a"], ["b"])
    until(fleet, Phase.DONE)
    fleet.submit(member("b", "3", "2"))
    refused = fleet.ask(Verb.UNDO, NAME)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.NOT_ALLOWED)
    assert "b has moved on to b-3.1" in refused.message


def test_a_paused_group_starts_nothing_and_advances_nothing_but_is_judged():
    two = (Stage(set_nodes=1, bake="2s", min_requests=10), Stage(set_weight=100, bake="2s", min_requests=10))
    fleet = installed("a", "b")
    fleet.submit_group(group(fleet, [member("a", stages=two)], ["b"]))
    fleet.turn(2)
    fleet.ask(Verb.PAUSE, NAME)
    fleet.turn(60)
    assert fleet.state("svc/a").stage == 0
    assert fleet.state("svc/a").phase is Phase.RUNNING
    fleet.ask(Verb.RESUME, NAME)
    given(fleet, "b")
    fleet.ask(Verb.PAUSE, NAME)
    fleet.judge(Outcome.FAIL, "svc/b")
    until(fleet, Phase.DONE)
    assert state(fleet).result is Result.ROLLED_BACK


def test_between_waves_it_bakes_and_a_person_may_end_that():
    fleet = begun(["a"], ["b"], ["c"], bake="50s")
    assert fleet.ask(Verb.PROMOTE, NAME).reason is Reason.NOTHING_TO_DO
    while not state(fleet).baking_since_ms:
        fleet.turn()
    fleet.turn(49)
    assert state(fleet).wave == 0
    fleet.turn(2)
    assert state(fleet).wave == 1
    while not state(fleet).baking_since_ms:
        fleet.turn()
    assert fleet.ask(Verb.PROMOTE, NAME).reason is Reason.ASKED
    assert state(fleet).wave == 2
    until(fleet, Phase.DONE)


def test_a_critical_alarm_of_an_earlier_wave_holds_the_next():
    fleet = installed("shop", "b")
    fleet.submit_group(group(fleet, ["shop"], ["b"]))
    while standing(fleet.ledger, state(fleet).members[0]) is not Standing.UNDER_WAY:
        fleet.turn()
    while fleet.state("svc/shop").phase is not Phase.WATCHING:
        fleet.turn()
    fleet.alarm(AlarmState.FIRING)
    fleet.turn(60)
    assert state(fleet).wave == 0
    assert Reason.ALARM_OPEN in waits(fleet)
    fleet.alarm(AlarmState.RESOLVED)
    fleet.turn(2)
    assert state(fleet).wave == 1


def test_a_member_that_cannot_start_pauses_the_group_for_a_person():
    fleet = begun(["a"], [member("b", expires_ms=START_MS + 10_000)])
    until(fleet, Phase.PAUSED)
    assert (state(fleet).cause, state(fleet).wave) == (Reason.EXPIRED, 1)
    assert set(fleet.versions("a").values()) == {"2"}
    (alarm,) = alarms_of(fleet.ledger, fleet.view, fleet.now_ms)
    assert (alarm.name, alarm.summary) == ("group_stopped", "group/all has stopped at wave 2 of 2: expired.")
    assert fleet.ask(Verb.RESUME, NAME).reason is Reason.EXPIRED
    fleet.ask(Verb.ABORT, NAME)
    assert "group_stopped" not in {one.name for one in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)}
    until(fleet, Phase.DONE)
    assert set(fleet.versions("a").values()) == {"1"}
    assert fleet.state("svc/b").queue == ()


@pytest.mark.parametrize("written", range(4))
def test_whoever_dies_while_a_group_is_replaced_is_continued(written):
    fleet = installed("a", "b", "c", kind=Mortal)
    fleet.submit_group(group(fleet, ["a"], [member("b", expires_ms=START_MS + 10_000)], ["c"]))
    until(fleet, Phase.PAUSED)
    fleet.now_ms += 1
    fleet.dies_at = {len(fleet.records) + written}
    fleet.submit_group(group(fleet, [member("b", id="b-again")], [member("c", id="c-again")]))
    assert not fleet.dies_at
    until(fleet, Phase.DONE)
    assert {fleet.versions(one)["n00"] for one in "abc"} == {"2"}
    answers = [one.answers for one in fleet.decisions if one.answers]
    assert len(answers) == len(set(answers)) == 3 + 4 + 3


def test_a_paused_group_is_replaced_by_one_of_its_name_and_what_it_promoted_stays():
    fleet = begun(["a"], [member("b", expires_ms=START_MS + 10_000)], ["c"])
    running = group(fleet, [member("b", "3")], ["c"])
    assert fleet.submit_group(running)[0].reason is Reason.ALREADY_RUNNING
    until(fleet, Phase.PAUSED)
    late = fleet.submit_group(group(fleet, [member("b", "2", id="b-again")], [member("a", "2", "1", id="a-again")]))
    assert [one.kind for one in late] == [DecisionKind.REFUSE]
    assert len(fleet.state("svc/b").queue) == 1, "refused, it has withdrawn nothing"
    fleet.now_ms += 1
    found = fleet.submit_group(group(fleet, [member("b", id="b-again")], [member("c", id="c-again")]))
    told = [(one.kind, one.subject, one.reason, one.part) for one in found[:3]]
    assert told == [
        (DecisionKind.REFUSE, "svc/b", Reason.SUPERSEDED, True),
        (DecisionKind.REFUSE, "svc/c", Reason.SUPERSEDED, True),
        (DecisionKind.ACCEPT, NAME, Reason.PLAN_ACCEPTED, False),
    ]
    until(fleet, Phase.DONE)
    assert state(fleet).result is Result.PROMOTED
    assert {fleet.versions(one)["n00"] for one in "abc"} == {"2"}
    fleet.check_rebuilt()


def test_a_paused_group_of_which_something_is_under_way_is_not_replaced():
    fleet = begun(["a"], ["b"])
    given(fleet, "a")
    fleet.ask(Verb.PAUSE, NAME)
    fleet.now_ms += 1
    (refused,) = fleet.submit_group(group(fleet, [member("b", id="b-again")]))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.ALREADY_RUNNING)
    assert "none of its members under way" in refused.message


def test_what_nodes_do_not_bring_back_in_time_is_not_waited_for():
    fleet = begun(["a"], [member("b", progress_deadline="30s")])
    until(fleet, Phase.RUNNING, wave=1)
    fleet.turn(3)
    for node in fleet.nodes.values():
        node.slow.add("1")
    fleet.judge(Outcome.FAIL, "svc/b")
    fleet.turn(20)
    assert fleet.state("svc/a").phase is Phase.DONE
    for node in fleet.nodes.values():
        node.slow.clear()
        node.running["b"], node.slow = node.running["b"], {"1"}
    fleet.turn(15)
    assert fleet.state("svc/a").phase is Phase.ROLLING_BACK
    assert "Not waited for any longer: b." in fleet.last(NAME).message


def test_first_installs_have_nothing_to_go_back_to_and_are_named():
    fleet = installed("a")
    fleet.services = ("a", "b")
    fleet.turn()
    fleet.submit_group(group(fleet, [member("b", "1", None, id="b-first")], ["a"]))
    given(fleet, "a")
    fleet.judge(Outcome.FAIL, "svc/a")
    until(fleet, Phase.DONE)
    assert set(fleet.versions("b").values()) == {"1"}
    assert fleet.last(NAME).reason is Reason.FLEET_PARTLY_BACK
    assert "nothing to go back to: b" in fleet.last(NAME).message


def test_a_first_install_that_fails_is_named_too():
    fleet = installed("a")
    fleet.services = ("a", "b")
    fleet.turn()
    fleet.submit_group(group(fleet, ["a"], [member("b", "3", None)]))
    fleet.nodes["n00"].broken.add("3")
    until(fleet, Phase.DONE)
    assert (fleet.state("svc/a").result, fleet.state("svc/b").result) == (Result.ROLLED_BACK, Result.FAILED)
    assert "nothing to go back to: b" in fleet.last(NAME).message


def test_plans_of_others_wait_until_the_group_has_ended():
    fleet = begun(["a"], ["b"])
    (queued,) = fleet.submit(member("a", "3", "2"))
    assert (queued.kind, queued.reason) == (DecisionKind.ACCEPT, Reason.PLAN_QUEUED)
    (refused,) = fleet.submit(member("b", "3", "2", when_busy=WhenBusy.REFUSE))
    assert refused.reason is Reason.ALREADY_RUNNING
    until(fleet, Phase.RUNNING, wave=1)
    fleet.turn(3)
    assert fleet.state("svc/a").rollout == "a-2.1"
    (refused,) = fleet.submit(member("a", "4", "2", when_busy=WhenBusy.REFUSE))
    assert refused.reason is Reason.ALREADY_RUNNING
    until(fleet, Phase.DONE)
    fleet.turn(2)
    assert fleet.state("svc/a").rollout == "a-3.1"


def test_a_watch_within_a_group_is_not_superseded():
    fleet = begun(["a"], ["b"])
    fleet.until(Phase.WATCHING, subject="svc/a")
    fleet.submit(member("a", "3", "2"))
    assert fleet.state("svc/a").phase is Phase.WATCHING


def test_a_member_that_went_back_is_not_retried_while_its_group_goes_back():
    fleet = begun(["a"], ["b"])
    given(fleet, "b")
    fleet.judge(Outcome.FAIL, "svc/b")
    fleet.until(Phase.DONE, subject="svc/b")
    assert fleet.ask(Verb.RETRY, "svc/b").reason is Reason.ALREADY_RUNNING
    until(fleet, Phase.DONE)
    assert fleet.ask(Verb.RETRY, "svc/b").kind is DecisionKind.START


def test_a_second_approver_lets_each_member_go_and_may_do_so_before_its_wave():
    fleet = begun(["a"], [member("b", second_approver=True)])
    assert fleet.ask(Verb.APPROVE, "svc/b", actor="lee", target="b-2").kind is DecisionKind.SETTING
    until(fleet, Phase.DONE)
    assert state(fleet).result is Result.PROMOTED


def test_after_a_restore_a_group_waits_for_a_person():
    fleet = begun(["a"], ["b"])
    fleet.turn(2)
    fleet.restore()
    fleet.turn(2)
    assert (state(fleet).phase, state(fleet).cause) == (Phase.PAUSED, Reason.RESTORED)
    fleet.ask(Verb.ABORT, NAME)
    until(fleet, Phase.DONE)


@pytest.mark.parametrize("verb", Verb)
def test_every_verb_about_a_group_is_answered_once_whether_there_is_one_or_not(verb):
    fleet = begun(["a"], ["b"])
    nobody = fleet.ask(verb, "group/none")
    assert (nobody.kind, nobody.reason, nobody.answers) == (DecisionKind.REFUSE, Reason.UNKNOWN, "i1")
    assert fleet.ask(verb, NAME).answers == "i2"


REFUSED = [
    ("a service twice", [["a"], ["a"]], Reason.BAD_DOCUMENT, "waves[1].plans[0]: a is in waves[0].plans[0] already"),
    (
        "unknown service",
        [["a"], [member("x", "1", None)]],
        Reason.NO_ELIGIBLE_NODES,
        "waves[1].plans[0]: none of the 4",
    ),
    ("wrong way back", [[member("a", "3", "2")]], Reason.WRONG_ROLLBACK_TARGET, "waves[0].plans[0]: rollback.artifact"),
    ("other fleet", [[member("a", fleet="other")]], Reason.WRONG_FLEET, "waves[0].plans[0]: fleet"),
    ("expired", [[member("a", expires_ms=1)]], Reason.EXPIRED, "waves[0].plans[0]: expiresMs"),
    ("used id", [[member("a", id="a-1")]], Reason.DUPLICATE, "waves[0].plans[0]: id: a-1 was used before"),
]


@pytest.mark.parametrize(("waves", "reason", "told"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_group_is_refused_as_a_whole_and_says_where(waves, reason, told):
    fleet = installed("a", "b")
    (refused,) = fleet.submit_group(group(fleet, *waves))
    assert (refused.kind, refused.reason, refused.subject) == (DecisionKind.REFUSE, reason, NAME)
    assert told in refused.message
    assert fleet.state("svc/a").queue == ()
    assert not fleet.ledger.groups


def test_all_faults_of_a_group_are_named_at_once():
    fleet = installed("a", "b")
    (refused,) = fleet.submit_group(group(fleet, [member("a", "1", "1")], [member("b", "3", "2")]))
    assert "waves[0].plans[0]: " in refused.message
    assert "waves[1].plans[0]: " in refused.message


def test_a_plan_that_was_answered_alone_is_not_answered_again_in_a_group():
    fleet = installed("a", "b")
    refused = member("a", "2", "7")
    assert fleet.submit(refused)[0].kind is DecisionKind.REFUSE
    (answer,) = fleet.submit_group(group(fleet, ["b"], [refused]))
    assert (answer.kind, answer.reason) == (DecisionKind.REFUSE, Reason.DUPLICATE)
    assert "waves[1].plans[0]: this plan was answered before" in answer.message


def test_groups_that_share_a_service_or_a_busy_one_or_a_name_are_refused():
    fleet = begun(["a"], ["b"])
    for other, name in ((group(fleet, [member("b", "3", "2")], name="two"), "group/two"), (group(fleet, ["b"]), NAME)):
        (refused,) = fleet.submit_group(other)
        assert (refused.subject, refused.reason) == (name, Reason.ALREADY_RUNNING)
    until(fleet, Phase.DONE)
    fleet.submit(member("a", "3", "2", stages=(*QUICK[:0], Stage(set_weight=100, bake="60s"))))
    (refused,) = fleet.submit_group(group(fleet, [member("a", "4", "2")], name="two"))
    assert refused.reason is Reason.ALREADY_RUNNING
    assert "a is busy (a-3.1 is running)" in refused.message


def test_a_group_is_answered_once_and_an_older_one_of_its_name_does_not_come_back():
    fleet = begun(["a"])
    until(fleet, Phase.DONE)
    again = group(fleet, [member("a", "3", "2")])
    older = group(fleet, [member("a", "4", "2")])
    assert fleet.submit_group(again)[0].kind is DecisionKind.ACCEPT
    assert fleet.submit_group(again) == ()
    until(fleet, Phase.DONE)
    (refused,) = fleet.submit_group(older)
    assert refused.reason is Reason.DUPLICATE


def test_who_aborts_a_group_stops_what_waits_behind_its_members_too():
    fleet = installed("a", "b")
    fleet.submit_group(group(fleet, ["a"], ["b"]))
    fleet.turn(2)
    for name in ("a", "b"):
        fleet.submit(member(name, "3", "1", id=f"{name}-3"))
    fleet.ask(Verb.ABORT, NAME)
    fleet.turn(60)
    assert {fleet.state(f"svc/{name}").queue for name in ("a", "b")} == {()}
    assert not [one for one in fleet.decisions if one.kind == "start" and "-3" in one.message]


def test_people_are_told_of_a_group_that_stops_after_they_let_it_go_on_after_a_restore():
    fleet = installed("a", "b")
    fleet.submit_group(group(fleet, ["a"], ["b"]))
    fleet.turn(4)
    fleet.restore()
    fleet.turn(2)
    assert [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)] == []
    fleet.ask(Verb.RESUME, NAME)
    fleet.turn(120)
    assert (state(fleet).phase, [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)]) == (
        Phase.PAUSED,
        ["group_stopped"],
    )
