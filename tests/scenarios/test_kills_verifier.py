"""The verifier can fail: whatever is done to honest evidence, it is found, and called what it is."""

import pytest
from msgspec.structs import replace
from tests.scenarios.kills.evidence import Deed, Line, Slot
from tests.scenarios.kills.honest import (
    BACK,
    ON_TRIAL,
    ONE,
    PLANS,
    SUBJECT,
    TWO,
    V1,
    V2,
    at,
    document,
    finish,
    first_epoch,
    honest,
    intent,
)
from tests.scenarios.kills.verify import summary, verify

from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, digest
from tidegate.wire.envelope import seal


def test_nothing_is_found_in_an_honest_story():
    judgement = verify(honest().evidence())
    assert judgement.findings == ()
    assert (judgement.applied, judgement.committed, judgement.questions, judgement.documents) == (4, 4, 3, 4)
    assert (judgement.called_back, judgement.unfinished, judgement.void, judgement.epochs) == (0, 0, 0, 2)
    assert judgement.takeovers_ms == (3_000,)
    assert summary(judgement)["takeovers_ms"] == [3_000]


# what may be


def zombie_writes():
    story = honest(until_second=True)
    story.sign(SUBJECT, document(1, 3, **ON_TRIAL), ONE)
    story.beat(1, "life-1", ONE)
    story.command(2, 3, TWO, **BACK, answers="stop", kind=DecisionKind.ROLLBACK)
    story.run("a", V1, at(2, 3))
    finish(story)
    return story.evidence(), {"void": 2}


def called_back_before_begun():
    story = first_epoch()
    story.write("intents", SUBJECT, intent("stop"))
    story.command(1, 3, ONE, **BACK, answers="stop")
    finish(story)
    return story.evidence(), {"called_back": 1, "applied": 2}


def killed_in_the_middle_of_a_start():
    story = honest()
    start = next(run for run in story.runs if run.version == "v2")
    story.runs.append(replace(start, pid=99, started=99, at_ms=start.at_ms - 500))
    story.runs.append(replace(start, what="end", pid=99, started=99, at_ms=start.at_ms - 100))
    return story.evidence(), {"unfinished": 1, "applied": 4}


def started_late_because_it_slept():
    story = honest(until_second=True)
    del story.runs[-3:]
    story.alive = {run.process for run in story.runs}
    story.command(2, 3, TWO, **BACK, answers="stop", kind=DecisionKind.ROLLBACK)
    asleep_ms = story.now_ms - 2_000
    story.now_ms += 20_000
    story._running.clear()
    story._running["a"] = story.runs[0]
    story.run("a", V2, at(1, 2), "p2.1")
    story.deeds.append(Deed("STOP_NODE", "a", asleep_ms, story.now_ms))
    story.run("a", V1, at(2, 3))
    finish(story)
    return story.evidence(), {"applied": 4}


def a_retreat_is_accepted_between_begin_and_start():
    story = honest()
    start = next(run for run in story.runs if run.version == "v2")
    slots = (*start.slots, Slot(serial=100, order=at(2, 3), begun=("v2", "p2.1")))
    story.runs[story.runs.index(start)] = replace(start, slots=slots)
    return story.evidence(), {"applied": 4}


@pytest.mark.parametrize(
    "happened",
    [
        zombie_writes,
        called_back_before_begun,
        killed_in_the_middle_of_a_start,
        started_late_because_it_slept,
        a_retreat_is_accepted_between_begin_and_start,
    ],
)
def test_what_faults_may_cause_is_counted_and_is_no_finding(happened):
    evidence, counted = happened()
    judgement = verify(evidence)
    assert judgement.findings == ()
    assert {name: getattr(judgement, name) for name in counted} == counted


# what must not be: each returns evidence, and says in its name what was done to it


def without_runs(story, which):
    gone = {run.process for run in story.runs if which(run)}
    story.runs = [run for run in story.runs if run.process not in gone]
    story.alive -= gone
    return story.evidence()


def a_node_never_starts_what_was_committed():
    return without_runs(honest(), lambda run: run.node == "b")


def a_rollback_never_reaches_a_node():
    story = honest()
    story.runs = story.runs[:-3]
    story.alive = {story.runs[-3].process, *(run.process for run in story.runs if run.node == "b")}
    return story.evidence()


def an_advance_was_skipped_by_a_later_advance():
    story = first_epoch()
    story.command(1, 3, ONE, **ON_TRIAL | {"rollout": "p2.2", "cohorts": (replace(ON_TRIAL["cohorts"][0], token="p2.2"),)})
    story.run("a", V2, at(1, 3), "p2.2")
    return story.evidence()


def a_question_has_no_answer():
    story = honest()
    story.write("intents", SUBJECT, intent("forgotten"))
    return story.evidence()


def a_record_is_gone_at_the_end():
    evidence = honest().evidence()
    return replace(evidence, again=tuple(one for one in evidence.again if (one.topic, one.offset) != ("decisions", 4)))


def a_record_says_something_else_at_the_end():
    evidence = honest().evidence()
    again = [replace(one, value=b"{}") if (one.topic, one.offset) == ("plans", 1) else one for one in evidence.again]
    return replace(evidence, seen=evidence.seen, again=tuple(again))


def nothing_runs_at_the_end():
    story = honest()
    story.alive.clear()
    return story.evidence()


def nobody_took_over():
    story = honest()
    story.deeds.append(Deed("KILL_LEADER", "two", story.now_ms, story.now_ms, epoch=2))
    return story.evidence()


def one_order_was_started_twice():
    story = first_epoch()
    story.run("a", V2, at(1, 2), "p2.1")
    story.run("a", V2, at(1, 2), "p2.1")
    return story.evidence()


def one_run_token_was_carried_out_again_by_a_later_document():
    story = first_epoch()
    story.run("a", V2, at(1, 2), "p2.1")
    story.command(1, 3, ONE, **ON_TRIAL)
    story.run("a", V2, at(1, 3), "p2.1")
    return story.evidence()


def something_was_restarted_that_nobody_asked_for():
    story = honest()
    story.run("b", V1, at(2, 4))
    return story.evidence()


def two_copies_run():
    story = honest()
    story.alive.add(story.runs[0].process)
    return story.evidence()


def a_question_was_answered_twice():
    story = honest()
    story.decide(DecisionKind.REFUSE, 2, answers=digest(PLANS[1]))
    return story.evidence()


def what_was_rolled_back_was_started_again():
    story = honest()
    story.run("a", V2, at(1, 2), "p2.1")
    return story.evidence()


def a_start_long_after_the_retreat():
    story = honest(until_second=True)
    del story.runs[-3:]
    story.command(2, 3, TWO, **BACK, answers="stop", kind=DecisionKind.ROLLBACK)
    story.now_ms += 20_000
    story.run("a", V2, at(1, 2), "p2.1")
    story.run("a", V1, at(2, 3))
    return story.evidence()


def a_version_outside_every_plan():
    story = honest()
    story.run("b", replace(V2, version="v9"), at(2, 4))
    return story.evidence()


def other_bytes_under_a_planned_version():
    story = honest()
    story.run("b", replace(V1, sha256=digest(b"other")), at(2, 4))
    return story.evidence()


def a_start_that_was_not_written_down():
    story = first_epoch()
    story.run("a", V2, at(1, 2), "p2.1", slots=(Slot(serial=9, order=at(1, 2)),))
    return story.evidence()


def a_start_under_an_order_that_nobody_said():
    story = honest()
    story.run("a", V2, at(7, 9), "p2.1")
    return story.evidence()


def a_start_on_a_node_that_was_not_asked():
    story = first_epoch()
    story.run("b", V2, at(1, 2), "p2.1")
    return story.evidence()


def two_authors_of_one_epoch():
    story = honest()
    story.command(2, 5, ONE, phase=Phase.DONE)
    return story.evidence()


def two_lives_beat_in_one_epoch():
    story = honest()
    story.beat(2, "life-3", TWO)
    return story.evidence()


def an_epoch_that_nobody_claimed():
    story = honest()
    story.command(3, 5, TWO, phase=Phase.DONE)
    return story.evidence()


def a_takeover_of_an_epoch_that_another_won():
    story = honest(until_second=True)
    story.claim(3, "life-3", ONE)
    story.take_over(3, "life-4")
    return story.evidence()


def a_command_that_no_decider_signed():
    story = honest()
    story.log.append(Line("desired", 99, SUBJECT, seal(document(2, 5, phase=Phase.DONE), ONE).replace(b"desired", b"desirex"), 0))
    return story.evidence()


def a_key_that_nobody_may_write():
    story = honest()
    story.write("desired", "elsewhere", PLANS[0])
    return story.evidence()


def two_bodies_of_one_order():
    story = honest()
    story.sign(SUBJECT, document(2, 4, phase=Phase.DONE, settled=V2), TWO)
    return story.evidence()


def an_order_that_goes_back():
    story = honest()
    story.decide(DecisionKind.RELEASE, 2)
    story.sign(SUBJECT, document(2, 2, **ON_TRIAL), TWO)
    return story.evidence()


def a_command_without_a_record():
    story = honest()
    story.sign(SUBJECT, document(2, 5, phase=Phase.DONE), TWO)
    return story.evidence()


def a_record_that_does_not_follow():
    story = honest()
    story.seq += 1
    story.decide(DecisionKind.SETTING, 2)
    return story.evidence()


def a_stage_that_passed_unjudged():
    story = first_epoch()
    story.command(1, 3, ONE, **ON_TRIAL | {"stage": 1}, kind=DecisionKind.PROMOTE)
    return story.evidence()


def a_slow_takeover():
    story = honest()
    story.deeds[0] = replace(story.deeds[0], at_ms=story.deeds[0].at_ms - 13_000)
    return story.evidence()


WRONG = {
    a_node_never_starts_what_was_committed: "lost: b: v1 of 1.1.1 was committed and never started",
    a_rollback_never_reaches_a_node: "lost: a: after round 1 it runs v2 and owes v1",
    an_advance_was_skipped_by_a_later_advance: "lost: a: v2 of 1.1.2 was committed and never started",
    a_question_has_no_answer: "lost: question forgotten has no answer",
    a_record_is_gone_at_the_end: "lost: 1 records of decisions were read and are gone",
    a_record_says_something_else_at_the_end: "lost: 1 records of plans were read and say something else",
    nothing_runs_at_the_end: "lost: b: v1 does not run at the end",
    nobody_took_over: "lost: nobody took over after the leader of epoch 2 was killed",
    one_order_was_started_twice: "doubled: a: v2 of 1.1.2 was started 2 times, 1 are owed",
    one_run_token_was_carried_out_again_by_a_later_document: "doubled: a: v2 of 1.1.2 was started 2 times, 1 are owed",
    something_was_restarted_that_nobody_asked_for: "doubled: b: v1 of 1.1.1 was started 2 times, 1 are owed",
    two_copies_run: "doubled: a: 2 copies run at the end",
    a_question_was_answered_twice: "was answered 2 times",
    what_was_rolled_back_was_started_again: "contradicting: a: v2 of 1.1.2 was started after 1.2.3 (I1)",
    a_start_long_after_the_retreat: "contradicting: a: v2 was started 21000 ms after 1.2.3 (I2)",
    a_version_outside_every_plan: "contradicting: b: v9 (fb04dcb6970e) runs, and no plan names it (I4)",
    other_bytes_under_a_planned_version: "contradicting: b: v1 (d9298a10d1b0) runs, and no plan names it (I4)",
    a_start_that_was_not_written_down: "contradicting: a: v2 was started, and the node's disk says that None was begun (I11)",
    a_start_under_an_order_that_nobody_said: "contradicting: a: v2 was started under 1.7.9, which no author has said (I6)",
    a_start_on_a_node_that_was_not_asked: "contradicting: b: v2 (token 'p2.1') was started, and",
    two_authors_of_one_epoch: "contradicting: epoch 2 has two authors: two won it, one writes svc/shop",
    two_lives_beat_in_one_epoch: "contradicting: epoch 2 has two authors: two won it, two writes heartbeat",
    an_epoch_that_nobody_claimed: "contradicting: svc/shop is of epoch 3, which nobody has claimed",
    a_takeover_of_an_epoch_that_another_won: "contradicting: I6: life-4 takes over epoch 3, which life-3 has won",
    a_command_that_no_decider_signed: "contradicting: record 99 of desired, svc/shop: payloadType",
    a_key_that_nobody_may_write: "contradicting: nobody may write elsewhere to desired",
    two_bodies_of_one_order: "contradicting: order 1.2.4 is said twice, and not the same",
    an_order_that_goes_back: "contradicting: order 1.2.2 comes after 1.2.4",
    a_command_without_a_record: "contradicting: I11: order 1.2.5 is said, and no record of decisions says so",
    a_record_that_does_not_follow: "contradicting: I10: record 8 at offset 7 does not follow",
    a_stage_that_passed_unjudged: "contradicting: I7: stage 1 of",
    a_slow_takeover: "slow: a takeover took 16000 ms",
}


@pytest.mark.parametrize(("doctored", "sentence"), WRONG.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_what_must_not_be_is_found_and_called_what_it_is(doctored, sentence):
    told = [f"{one.kind}: {one.sentence}" for one in verify(doctored()).findings]
    assert [one for one in told if sentence in one], told
