"""What a rule may come to is told without a user: nobody gets anything else."""

from hypothesis import given
from hypothesis import strategies as st
from tests.flags.kit import definition, got

from tidegate.flags.leaves import results
from tidegate.wire.flagrules import operation

VARIANTS = {"a": 1, "b": 2, "c": 3, "d": 4}
VALUES = st.sampled_from([*VARIANTS, None])
CONDITIONS = st.sampled_from(
    [True, False, None, {"var": "x"}, {"!": [{"var": "x"}]}, {"$ref": "yes"}, {"$ref": "no"}, {"$ref": "x"}]
)
CONSTANT = {"yes": True, "no": False, "x": {"var": "x"}}


def branching(inner):
    pairs = st.lists(st.tuples(CONDITIONS, inner), min_size=1, max_size=3)
    last = st.one_of(st.just([]), inner.map(lambda rule: [rule]))
    return st.builds(lambda pairs, last: {"if": [part for pair in pairs for part in pair] + last}, pairs, last)


RULES = st.recursive(
    st.one_of(VALUES, st.just({"$ref": "other"}), st.just({"or": [{"var": "y"}, "a"]})), branching, max_leaves=12
)


@given(rule=RULES, other=RULES.filter(lambda rule: "other" not in str(rule)), x=st.booleans(), y=st.sampled_from([*VARIANTS, ""]))
def test_nobody_gets_what_a_rule_does_not_come_to(rule, other, x, y):
    shared = {"other": other, **CONSTANT}
    targeting = {"if": [True, rule]}
    given_ = list(results(targeting, shared))
    answer = got(definition(targeting, "d", variants=VARIANTS), {"x": x, "y": y}, **shared)
    named = ["d" if one is None else one for one in given_ if operation(one) is None]
    assert answer.variant in named or len(named) < len(given_)
    assert answer.error_code is None


def test_a_condition_that_is_constant_leads_to_one_place():
    assert list(results({"if": [False, "a", {"$ref": "yes"}, "b", {"var": "x"}, "c", "d"]}, CONSTANT)) == ["b"]
    assert list(results({"if": [{"var": "x"}, "a", None, "b"]}, CONSTANT)) == ["a", None]
