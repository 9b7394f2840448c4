"""A change that has not begun changes what nobody has: neither what pins a flag, nor what is outside of its share (G2, H3)."""

import pytest
from tests.rollout.flags import Story, half_way, on_for_all, ramp, spec

from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.flagspecs import Prerequisite
from tidegate.wire.judgement import Outcome
from tidegate.wire.policies import Freeze
from tidegate.wire.reasons import Reason

THREE = {"on": 1, "off": 0, "new": 2}


def off() -> Story:
    story = half_way(variants=THREE)
    story.verdict(Outcome.FAIL)
    return story


def killed() -> Story:
    story = on_for_all(variants=THREE)
    story.want(Verb.KILL)
    return story


def aborted() -> Story:
    story = half_way(variants=THREE)
    story.want(Verb.ABORT)
    return story


def given_back() -> Story:
    story = on_for_all(variants=THREE)
    story.want(Verb.SHARE, weight=0)
    return story


NOTHING_KEPT = [off, killed, aborted, given_back]


@pytest.mark.parametrize("where", NOTHING_KEPT)
@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (spec("new", variants=THREE, safe_variant="new"), "flag.spec.safeVariant"),
        (spec("new", variants=THREE, safe_variant=None), "flag.spec.safeVariant"),
        (spec("on", variants=THREE | {"off": 7}), "flag.spec.safeVariant"),
        (spec("new", variants=THREE, kill_variant="new"), "flag.spec.killVariant"),
    ],
)
def test_where_everyone_has_the_safe_variant_it_is_no_other_before_its_stages_have_passed(where, wanted, path):
    story = where()
    story.policy(freezes=(Freeze(),))
    seen = story.seen()
    refused = story.put(wanted, ramp())
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.BAD_DOCUMENT)
    assert path in refused.message
    assert story.seen() == seen


@pytest.mark.parametrize("where", NOTHING_KEPT)
def test_the_safe_variant_may_have_another_name_and_every_other_variant_another_value(where):
    story = where()
    assert story.put(spec("on", variants={"on": 5, "no": 0}, safe_variant="no"), ramp()).kind is DecisionKind.ACCEPT
    story.want(Verb.RESTORE) if story.flag().killed else None
    story.grown(10)
    assert set(story.seen().values()) == {"on", "no"}


@pytest.mark.parametrize("where", NOTHING_KEPT)
def test_what_waits_for_a_second_person_is_no_other_safe_variant_either(where):
    story = where()
    story.policy(second_approver=True)
    wanted = spec("new", immediate=True, variants=THREE, safe_variant="new", targeting={"if": [{"var": "x"}, "on", None]})
    assert "safeVariant" in story.put(wanted).message
    story.policy()
    assert story.put(wanted).kind is DecisionKind.COMPLETE


def test_another_safe_variant_comes_by_stages_and_holds_when_they_have_passed():
    story = on_for_all(variants=THREE)
    assert story.put(spec("on", variants=THREE, safe_variant="new"), ramp()).kind is DecisionKind.ACCEPT
    story.grown(100).pass_by(15)
    assert story.flag().phase is Phase.DONE
    story.put(spec("on", variants=THREE, safe_variant="new", metadata={"owner": "ada"}), ramp())
    story.grown(10).verdict(Outcome.FAIL)
    assert story.having("new") == set(story.seen())


@pytest.mark.parametrize("policy", [{"second_approver": True}, {"freezes": (Freeze(),)}])
def test_a_kill_gives_what_the_definition_in_force_says_and_not_one_that_waits(policy):
    story = on_for_all(variants=THREE)
    story.policy(**policy)
    story.put(spec("on", variants=THREE, kill_variant="new"), ramp())
    assert story.flag().phase is Phase.IDLE
    record = story.want(Verb.KILL)
    assert (story.having("off"), record.message) == (set(story.seen()), "Everyone has off from now on.")
    story.want(Verb.RESTORE)
    assert story.having("on") == set(story.seen())
    story.want(Verb.APPROVE, target=story.flag().proposed, actor="ada")
    story.policy()
    story.grown(10)
    story.want(Verb.KILL)
    assert story.having("new") == set(story.seen()), "what has begun was let begin"


@pytest.mark.parametrize("immediate", [False, True])
def test_what_waited_before_a_restore_from_an_archive_waits_for_a_person(immediate):
    story = Story()
    story.policy(second_approver=True)
    story.put(spec(immediate=immediate), None if immediate else ramp())
    story.now_ms += 1_000
    story.restore()
    story.policy()
    story.pass_by(60)
    assert story.flag().phase is Phase.IDLE
    assert story.blockers() == [Reason.RESTORED]
    assert story.want(Verb.RESTORE).kind is DecisionKind.RESTORE
    story.pass_by()
    assert story.having("on")
    assert story.flag().phase is not Phase.IDLE


def test_what_is_set_after_a_restore_begins_like_any_other():
    story = half_way()
    story.want(Verb.ABORT)
    story.now_ms += 1_000
    story.restore()
    assert story.put(spec(), ramp()).reason is Reason.PLAN_ACCEPTED
    story.put(spec(), ramp(), "flag/web/other")
    story.grown(10).grown(10, "flag/web/other")


@pytest.mark.parametrize("changes", [{"guard": ("cart",)}, {"immediate": True}])
@pytest.mark.parametrize(
    ("policy", "reason"), [({"freezes": (Freeze(),)}, Reason.FROZEN), ({"second_approver": True}, Reason.NOT_APPROVED)]
)
def test_a_change_of_the_guard_is_held_by_the_guard_that_is_there(changes, policy, reason):
    story = on_for_all(variants=THREE)
    story.policy(**policy, services=("shop",))
    answer = story.put(spec("new", variants=THREE, **changes), None if "immediate" in changes else ramp())
    story.pass_by(5)
    assert reason in {answer.reason, *story.blockers()}
    assert story.having("on") == set(story.seen())


def test_an_archive_gives_the_safe_variant_of_what_is_there_and_not_of_what_waits():
    story = on_for_all(variants=THREE)
    story.policy(second_approver=True)
    story.put(spec("on", variants=THREE, safe_variant="new"), ramp())
    story.want(Verb.ARCHIVE)
    assert story.having("off") == set(story.seen())


def test_a_share_of_what_is_there_is_lowered_while_a_change_waits():
    story = on_for_all(variants=THREE)
    story.policy(second_approver=True)
    story.put(spec("new", variants=THREE), ramp())
    assert story.want(Verb.SHARE, weight=2_500).kind is DecisionKind.SHARE
    assert 60 <= len(story.having("on")) <= 140
    assert story.want(Verb.SHARE, weight=2_500).reason is Reason.NOTHING_TO_DO
    assert story.want(Verb.SHARE, weight=5_000).reason is Reason.NOT_ALLOWED
    story.want(Verb.ABORT)
    assert (story.flag().weight, story.flag().held) == (2_500, 2_500)


@pytest.mark.parametrize("fields", [{}, {"prerequisites": (Prerequisite(flag="other", variants=("on",)),)}])
@pytest.mark.parametrize("course", [None, ramp()])
def test_what_gives_everyone_the_safe_variant_waits_for_nothing(fields, course):
    story = Story()
    story.put(spec(immediate=True), subject="flag/web/other")
    story.put(spec(**fields), ramp())
    story.grown(100).pass_by(15)
    story.policy(freezes=(Freeze(),))
    assert story.put(spec("off", **fields), course).kind is DecisionKind.COMPLETE
    assert story.having("off") == set(story.seen())


@pytest.mark.parametrize("end", ["abort", "switch-off"])
def test_a_policy_of_a_guarded_service_asks_for_rest_between_ramps(end):
    story = half_way()
    story.policy(dwell="10m", services=("shop",))
    story.want(Verb.PAUSE)
    story.pass_by(700)
    if end == "abort":
        story.want(Verb.ABORT)
    else:
        story.verdict(Outcome.FAIL)
    story.put(spec(metadata={"another": "spec"}), ramp())
    story.pass_by(60)
    assert story.blockers() == [Reason.DWELLING]
    story.pass_by(540)
    assert story.flag().weight == 1_000
