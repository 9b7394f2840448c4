from random import Random

import pytest
from tests.flags.kit import asked, definition, flag_set, load
from tests.flags.matrix import cases, flags

from tidegate.flags.evaluate import Asked, evaluate
from tidegate.flags.explain import STEPS_MAX, explain, shown

RULE = {
    "if": [
        {"and": [{"$ref": "staff"}, {"in": [{"var": "country"}, ["nl", "de"]]}]},
        {"fractional": [["on", 1], ["off", 99]]},
        None,
    ]
}
STAFF = {"staff": {"ends_with": [{"var": "email"}, "@example.com"]}}


def steps(context):
    told = explain(flag_set("v2", STAFF, **{"checkout-v2": definition(RULE)}), "checkout-v2", asked(context))
    return [(step.path, step.value, step.note) for step in told.steps]


def test_each_condition_that_was_needed_is_told_with_what_it_came_to():
    assert steps({"targetingKey": "u4", "email": "kim@example.com", "country": "nl"}) == [
        ("$evaluators.staff.ends_with[0].var", '"kim@example.com"', ""),
        ("$evaluators.staff.ends_with", "true", ""),
        ("targeting.if[0].and[0].$ref", "true", ""),
        ("targeting.if[0].and[1].in[0].var", '"nl"', ""),
        ("targeting.if[0].and[1].in", "true", ""),
        ("targeting.if[0].and", "true", ""),
        ("targeting.if[1].fractional", '"off"', "bucket 4 of 100"),
        ("targeting.if", '"off"', ""),
    ]
    assert steps({"email": "kim@other.org"})[-1] == ("targeting.if", "null", "")
    assert not any("country" in path for path, *_ in steps({"email": "kim@other.org"}))


def test_a_failure_is_told_where_it_happened():
    told = explain(flag_set(f=definition({"if": [{"/": [1, 0]}, "on"]})), "f", asked())
    assert [(step.path, step.value) for step in told.steps] == [
        ("targeting.if[0]./", "failed: ZeroDivisionError"),
        ("targeting.if", "failed: ZeroDivisionError"),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_it_explains_what_evaluate_gives(seed):
    chance = Random(seed)
    file = flags(chance)
    flag_set = load(file)
    for case in cases(chance, file, 1_000):
        question = Asked(context=case.context, now_s=1, kind=case.kind, default=case.default)
        assert explain(flag_set, case.key, question).resolution == evaluate(flag_set, case.key, question)


def test_a_long_evaluation_is_told_up_to_a_bound_and_how_much_is_missing():
    told = explain(flag_set(f=definition({"if": [{"map": [list(range(2_000)), {"+": [1, 1]}]}, "on"]})), "f", asked())
    assert (len(told.steps), told.more) == (STEPS_MAX, 1_002)
    assert told.resolution.variant == "on"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("x" * 200, '"' + "x" * 159 + "..."),
        ([1], "a list of 1"),
        ({}, "an object of 0 keys"),
        (1 << 300, "int"),
    ],
)
def test_values_are_shown_in_few_words(value, text):
    assert shown(value) == text
