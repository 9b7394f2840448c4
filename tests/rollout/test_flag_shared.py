"""What a set has beside its flags changes what flags give at once: it needs what their own change would need (G2, D4, H3)."""

import pytest
from tests.rollout.flags import Story, on_for_all, ramp, spec

from tidegate.rollout.flag_levels import shared_value
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.flags import METADATA
from tidegate.wire.flagspecs import Layer, Prerequisite
from tidegate.wire.judgement import AlarmState
from tidegate.wire.policies import Freeze
from tidegate.wire.reasons import Reason

NOBODY, EVERYONE = {"==": [1, 2]}, {"==": [1, 1]}
BETA = {"if": [{"$ref": "beta"}, "on", "off"]}
DEEP: object = EVERYONE
for _ in range(48):
    DEEP = {"!": [DEEP]}
SPLIT = {"fractional": [["on", 1], ["off", 1]]}


def by_rule(targeting=BETA, *, rule=NOBODY, **fields) -> Story:
    """A story in which an immediate flag hangs on a shared rule."""
    story = Story()
    story.share({"beta": rule, "unused": NOBODY})
    assert story.put(spec(immediate=True, targeting=targeting, **fields)).kind is DecisionKind.COMPLETE
    return story


def split() -> Story:
    """A story in which half have a flag that shop judges, by its own rule."""
    story = on_for_all(targeting=SPLIT)
    assert 150 <= len(story.having("on")) <= 250
    return story


def test_a_rule_in_use_needs_the_second_approver_that_the_flag_itself_would_need():
    story = by_rule()
    story.policy(second_approver=True)
    seen = story.seen()
    refused = story.share({"beta": EVERYONE, "unused": NOBODY})
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.NOT_APPROVED)
    assert "web/dark" in refused.message
    assert "new name" in refused.message
    assert story.seen() == seen


def test_what_the_refusal_says_is_a_way_on_which_somebody_else_approves():
    story = by_rule()
    story.policy(second_approver=True)
    assert story.share({"beta": NOBODY, "unused": NOBODY, "beta2": EVERYONE}).kind is DecisionKind.SETTING
    waits = story.put(spec(immediate=True, targeting={"if": [{"$ref": "beta2"}, "on", "off"]}))
    assert story.share({"beta": NOBODY, "unused": NOBODY, "beta2": {"!!": [1]}}).reason is Reason.NOT_APPROVED, (
        "it waits as it was"
    )
    assert story.want(Verb.APPROVE, target=waits.answers).reason is Reason.NOT_ALLOWED
    assert story.having("on") == set()
    story.want(Verb.APPROVE, target=waits.answers, actor="ada")
    assert story.having("off") == set()


@pytest.mark.parametrize("policy", [{"second_approver": True}, {"freezes": (Freeze(),)}])
@pytest.mark.parametrize(
    ("targeting", "rule", "safe"),
    [
        (BETA, False, True),
        ({"if": [{"$ref": "beta"}, "on"]}, False, False),
        ({"if": [{"$ref": "beta"}, "off", {"var": "x"}, "on", "off"]}, True, True),
        ({"if": [{"$ref": "beta"}, "on", {"var": "x"}, "on", "off"]}, False, False),
        ({"if": [{"!": [{"$ref": "beta"}]}, "on", "off"]}, False, False),
        ({"if": [{"var": "x"}, {"$ref": "beta"}, "off"]}, "off", True),
        ({"$ref": "beta"}, {"if": [{"$ref": "unused"}, "off", "off"]}, True),
        ({"$ref": "beta"}, {"if": [{"$ref": "unused"}, "off", "on"]}, False),
        ({"$ref": "beta"}, SPLIT, False),
    ],
)
def test_what_gives_everyone_the_safe_variant_is_held_up_by_no_policy(policy, targeting, rule, safe):
    story = by_rule(targeting)
    story.policy(**policy)
    answer = story.share({"beta": rule, "unused": NOBODY})
    assert (answer.kind is DecisionKind.SETTING) is safe
    if safe:
        assert story.having("off") == set(story.seen())


def test_one_of_several_flags_that_is_not_made_safe_is_enough():
    story = by_rule()
    story.put(spec(immediate=True, targeting={"if": [{"$ref": "beta"}, "off", "on"]}), subject="flag/web/other")
    story.policy(second_approver=True)
    refused = story.share({"beta": False, "unused": NOBODY})
    assert refused.reason is Reason.NOT_APPROVED


def test_shared_rules_that_give_one_another_a_great_many_times_are_looked_at_once():
    story = Story()
    rules = {"r0": "off"} | {f"r{n + 1}": {"if": [{"var": "x"}, {"$ref": f"r{n}"}, {"$ref": f"r{n}"}]} for n in range(60)}
    story.share(rules)
    assert story.put(spec(immediate=True, targeting={"if": [True, {"$ref": "r60"}]})).kind is DecisionKind.COMPLETE
    story.policy(freezes=(Freeze(),))
    assert story.share(rules | {"r0": "off", "r1": "off"}).kind is DecisionKind.SETTING


def test_what_no_flag_uses_needs_no_second_person():
    story = by_rule()
    story.policy(second_approver=True)
    assert story.share({"beta": NOBODY, "unused": EVERYONE, "more": NOBODY}).kind is DecisionKind.SETTING
    assert story.share({"owner": "kim", "bucketing": "v3"}, METADATA).kind is DecisionKind.SETTING


@pytest.mark.parametrize(
    ("hindrance", "reason"),
    [
        ({"second_approver": True, "services": ("shop",)}, Reason.NOT_APPROVED),
        ({"freezes": (Freeze(),), "services": ("shop",)}, Reason.FROZEN),
        (None, Reason.ALARM_OPEN),
    ],
)
def test_users_are_dealt_anew_only_where_the_guard_of_each_flag_that_deals_them_lets_it_grow(hindrance, reason):
    story = split()
    story.policy(**hindrance) if hindrance else story.alarm(AlarmState.FIRING)
    refused = story.share({"bucketing": "v3"}, METADATA)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, reason)
    assert "web/dark" in refused.message
    assert shared_value(story.ledger, story.flag().key, METADATA) == b"{}"
    assert story.share({"owner": "kim"}, METADATA).kind is DecisionKind.SETTING, "who is dealt what does not hang on it"
    story.policy() if hindrance else story.alarms_over()
    assert story.share({"bucketing": "v3"}, METADATA).kind is DecisionKind.SETTING


@pytest.mark.parametrize(
    ("fields", "deals"),
    [
        ({"targeting": {"if": [{"var": "staff"}, "on", None]}}, False),
        ({"targeting": {"if": [{"$ref": "beta"}, "on", None]}}, True),
        ({"layer": Layer(name="price", first=0, count=5_000)}, True),
    ],
)
def test_a_flag_that_deals_nobody_is_no_hindrance_to_another_bucketing(fields, deals):
    story = Story()
    story.share({"beta": {"==": [{"fractional": [["in", 1], ["out", 1]]}, "in"]}})
    story.put(spec(immediate=True, **fields))
    story.policy(second_approver=True)
    assert (story.share({"bucketing": "v3"}, METADATA).reason is Reason.NOT_APPROVED) is deals


def test_a_share_at_rest_is_not_dealt_anew_however_it_came_to_be_one():
    story = on_for_all()
    story.want(Verb.SHARE, weight=2_500)
    story.put(spec(metadata={"owner": "ada"}), ramp())
    story.want(Verb.ABORT)
    assert (story.flag().phase, story.flag().weight, story.flag().held) == (Phase.DONE, 2_500, 2_500)
    refused = story.share({"bucketing": "v3"}, METADATA)
    assert (refused.reason, "web/dark" in refused.message) == (Reason.BAD_DOCUMENT, True)


@pytest.mark.parametrize(
    ("name", "value", "targeting"),
    [
        ("$metadata", {"bucketing": "v3"}, SPLIT),
        ("$evaluators", {"beta": DEEP}, BETA),
    ],
)
def test_what_makes_a_flag_unsayable_that_needs_another_is_refused(name, value, targeting):
    """Each rule for itself is sound; written out in the flag that needs it, it is not."""
    story = Story()
    story.share({"beta": NOBODY})
    story.put(spec(immediate=True, targeting=targeting), subject="flag/web/base")
    story.put(spec(immediate=True, prerequisites=(Prerequisite(flag="base", variants=("on",)),)))
    refused = story.share(value, name)
    assert (refused.reason, "could not be published any more" in refused.message) == (Reason.BAD_DOCUMENT, True)
    assert story.level().fault == ""


def test_a_fault_is_told_whatever_else_would_hold_it_up():
    story = by_rule()
    story.policy(freezes=(Freeze(),))
    assert "circle" in story.share({"beta": {"$ref": "beta"}}).message
